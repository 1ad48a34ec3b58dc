"""Ways to compute what devices learn. All give the same updates for the same randomness, but for rounding.

`sequential` is the reference: any module, one device after the other, by the client's own trainer and so by Opacus.
`vectorised` trains many devices at once.
"""

from simulations.training.engines.base import Engine, Participant
from simulations.training.engines.choice import Choice, EngineError, choose

__all__ = ["Choice", "Engine", "EngineError", "Participant", "choose"]
