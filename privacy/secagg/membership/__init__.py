"""Who may take part, under which thresholds, and what a device insists on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
