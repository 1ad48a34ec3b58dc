"""From texts to the numbers that models read, the same in every language and on every machine.

Devices, simulations and scorers share it, so it needs numpy and nothing else. What a token is, and how the table of
Unicode is read: docs/features.md.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
