"""The privacy ledger: charged, durably, before anything is unmasked; append-only, signed, witnessed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
