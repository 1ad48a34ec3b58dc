"""A reviewer's library: evidence in, a list of checks out. It reads files, and believes nothing in them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
