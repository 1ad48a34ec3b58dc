"""A population's devices, and three kinds of rounds over them: the protocol, its sum, a trusted aggregator."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
