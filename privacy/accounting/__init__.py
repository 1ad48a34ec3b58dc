"""What happened (events), and what it cost one device (epsilon): two accountants, calibration, sampling."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
