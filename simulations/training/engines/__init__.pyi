from .base import (
    ClippedUpdate as ClippedUpdate,
    Engine as Engine,
    Participant as Participant,
    Scale as Scale,
    TrainResult as TrainResult,
    add_dense as add_dense,
)
from .choice import Choice as Choice, choose as choose
from .kernel import KernelEngine as KernelEngine
from .reference import EngineError as EngineError
from .sequential import SequentialEngine as SequentialEngine
