"""What happened (events), and what it cost one device (epsilon): two accountants, calibration, sampling."""
