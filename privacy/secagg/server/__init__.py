"""The server's side of a round: cohort, shards, recovery, and the record that a reviewer checks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
