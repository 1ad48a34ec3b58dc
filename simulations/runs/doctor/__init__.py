"""What was wrong with a finished run, from its own numbers, and which flag to change."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
