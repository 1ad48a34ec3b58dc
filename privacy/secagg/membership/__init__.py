"""Who may take part, under which thresholds, and what a device insists on."""
