"""All rounds of a task: cohort, round, ledger, strategy, checkpoint, records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
