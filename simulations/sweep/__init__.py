"""Many runs of one configuration: every combination of some keys' values, several seeds each, and what came of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
