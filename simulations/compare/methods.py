"""What is compared, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

METRICS = {"auroc": "AUROC", "macro_f1": "macro-F1", "recall_at_fpr_1pct": "recall at 1% FPR"}
"""On test users; what people call them."""


@dataclass(frozen=True)
class Method:
    """One way to a model.

    Attributes:
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
"""In the order in which they are shown."""


@dataclass(frozen=True)
class Quartiles:
    """Of a metric over devices."""

    lower: float
    median: float
    upper: float


@dataclass(frozen=True)
class Trial:
    """What came of a contender with one seed.

    Attributes:
        metrics: by the names of `METRICS`; of devices alone, their means. None where a number means nothing.
        epsilon: at the configuration's delta, for the contender's unit; None where there is none.
        seconds: of training, at the chosen setting.
        setting: how it was trained.
        tuning_seconds: of training and judging every setting of the grid.
        at_edge: whether the best of the grid lies at its edge, so that a better one may lie beyond.
        quartiles: of devices alone, by the names of `METRICS`.
        devices: how many models, where there is more than one.
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
