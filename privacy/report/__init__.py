"""The epsilon report: JSON from the task and the verified ledger, HTML drawn from the JSON alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
