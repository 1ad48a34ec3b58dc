"""Training of the known architectures, compiled: one device after the other, each within the cache.

A kernel trains on a packed table of the rows that the device touches, and a small dense part. One device at a time
means that what it learns does not depend on who trains beside it, to the bit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
