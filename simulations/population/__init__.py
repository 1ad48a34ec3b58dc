"""A federation's data: who holds which messages, and what is held out from them.

Devices are users of a file, or made up from its rows (`partition`), or generated one by one when they are drawn
(`generator`, `generated`), so that a million of them cost no more memory than a thousand.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
