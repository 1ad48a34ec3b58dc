"""Ways to compute what devices learn. All give the same updates for the same randomness, but for rounding.

`sequential` is the reference: any module, one device after the other, by the client's own trainer and so by Opacus.
`vectorised` trains many devices at once.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
