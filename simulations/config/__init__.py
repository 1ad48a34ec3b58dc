"""The configuration of a run: a TOML file, and flags over it. Unknown keys are refused by name."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
