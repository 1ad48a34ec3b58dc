"""Flower on the server: the transport over its message API, its app, its command line and its servers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
