"""Where the devices of ideal rounds are trained: in this process, in several on this machine, or on a Ray cluster.

Sums of integers do not depend on who adds them, so neither does the model, whoever joins or dies on the way.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
