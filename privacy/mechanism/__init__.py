"""The distributed discrete Gaussian mechanism: clipping, rotation, rounding, noise on devices, and correlated noise."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
