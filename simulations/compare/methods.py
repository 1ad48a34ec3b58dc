"""The methods that are compared, and a method's result with one seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Method:
    """A way to a model.

    Attributes:
        key: its name in files for machines.
        label: its name for people.
        unit: what its epsilon protects, or why it has none.
        sees: who gets to see messages.
    """

    key: str
    label: str
    unit: str
    sees: str


FEDERATED = Method("federated", "federated", "one whole device", "nobody")
NOISELESS = Method("federated_without_noise", "federated, no noise", "no guarantee", "nobody")
CENTRAL = Method("central", "central", "no guarantee", "the server, all of them")
CENTRAL_DP = Method("central_dp_sgd", "central, DP-SGD", "one message", "the server, all of them")
LOCAL_ONLY = Method("alone", "each device alone", "nothing is released", "nobody")

METHODS = (FEDERATED, NOISELESS, CENTRAL, CENTRAL_DP, LOCAL_ONLY)
"""All methods, in the order in which they are shown."""


@dataclass(frozen=True)
class Quartiles:
    """Quartiles of a metric over devices."""

    lower: float
    median: float
    upper: float


@dataclass(frozen=True)
class Trial:
    """A method's result with one seed.

    Attributes:
        method: the method.
        seed: the seed.
        metrics: by the names of `HEADLINE_METRICS`; of devices alone, their means. None where a number means nothing.
        epsilon: at the configuration's delta, for the method's unit; None where there is none.
        seconds: how long training took at the chosen setting.
        setting: how it was trained.
        tuning_seconds: how long it took to train and evaluate every setting of the grid.
        at_edge: whether the best of the grid lies at its edge, so that a better setting may lie beyond.
        quartiles: of devices alone, by the names of `HEADLINE_METRICS`.
        devices: how many models there are.
    """

    method: Method
    seed: int
    metrics: Mapping[str, float | None]
    epsilon: float | None
    seconds: float
    setting: str
    tuning_seconds: float = 0.0
    at_edge: bool = False
    quartiles: Mapping[str, Quartiles] = field(default_factory=dict)
    devices: int = 1
