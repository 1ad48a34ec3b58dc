"""The bottom: canonical JSON, digests, signatures, randomness, and what errors of others say to people."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
