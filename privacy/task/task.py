"""The signed statement of what devices are asked to do, and under which privacy parameters.

Everything that a device's behaviour, the noise and the accounting depend on is in here and public. In particular
the local sampling rate, the number of local steps and the gradient's normaliser are constants of the task: derived
from a device's own example count they would leak it.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import from_json, to_json

from privacy.base.canonical import Frozen, sha256
from privacy.base.randomness import Origin
from privacy.base.signing import SIGNATURE_BYTES, SignatureError, Signer, verify
from privacy.features.unicode import UNICODE_VERSION
from privacy.task.correlation import Correlation
from privacy.task.fleet import Fleet
from privacy.task.notice import Notice
from privacy.task.participation import (
    AggregationPolicy,
    BoundedParticipation,
    Participation,
    PoissonParticipation,
    counted_devices,
    largest_draw,
    largest_shard,
)
from privacy.task.purpose import Purpose

__all__ = [
    "AdaptiveClip",
    "AggregationPolicy",
    "BoundedParticipation",
    "Budget",
    "DeviceMechanism",
    "FeatureSpec",
    "Fleet",
    "InitialModel",
    "LocalTraining",
    "ModelSpec",
    "Notice",
    "ParameterSpec",
    "Participation",
    "PoissonParticipation",
    "Purpose",
    "ServerOptimiser",
    "SimulationOnly",
    "Statistic",
    "TaskError",
    "TaskSpec",
    "Window",
    "largest_draw",
    "largest_shard",
    "open_task",
    "sign_task",
]

_DOMAIN = "havenfl/task/2"

FEATURES_VERSION: Final = 2
"""Of what docs/features.md says. Version 1 cut words at combining marks, and followed each runtime's own Unicode."""

_LONGEST_NGRAM = 16


def _rising(lengths: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= lengths[0] <= lengths[1] <= _LONGEST_NGRAM:
        raise ValueError(f"expected lengths from 1 to {_LONGEST_NGRAM}, the shorter one first, got {lengths}")
    return lengths


NgramRange = Annotated[tuple[int, int], AfterValidator(_rising)]
"""Shortest and longest n-gram."""


class TaskError(ValueError):
    """Bytes that are not a task signed by the pinned operator."""


class _Encoded(Frozen):
    """What both kinds of features state: how texts are read, by docs/features.md."""

    version: Literal[2] = FEATURES_VERSION
    unicode: Literal["17.0.0"] = UNICODE_VERSION
    """The version of Unicode whose folding, composition and categories decide what a token is."""
    max_characters: int = Field(default=4_096, ge=1, le=1 << 20)
    """Code points read of a text, the first ones: the bound of what one message costs."""

    @model_validator(mode="after")
    def _states_its_version(self, info: ValidationInfo) -> Self:
        if info.mode == "json" and "version" not in self.model_fields_set:
            raise ValueError(f"version: expected {FEATURES_VERSION}, got none: in version 1 texts became other numbers")
        return self


class FeatureSpec(_Encoded):
    """Text to hashed n-grams: enough for another language to reproduce every bucket."""

    kind: Literal["ngrams"] = "ngrams"
    buckets: int = Field(default=16_384, ge=16, le=1 << 24)
    word_ngrams: NgramRange = (1, 2)
    char_ngrams: NgramRange = (3, 5)
    compact_ngrams: NgramRange = (1, 4)
    """Of n-grams with a character of a compact script, in which few characters say much, or no spaces part words."""
    bias_input: float = Field(default=0.3, gt=0, le=1)
    """The constant that a linear model's intercept multiplies, beside rows of norm 1: the smaller it is, the less of an
    update's clip the intercept takes."""


class SequenceSpec(_Encoded):
    """Text to the sequence of its hashed words or characters, for models that read in order."""

    kind: Literal["sequence"] = "sequence"
    unit: Literal["words", "characters"]
    vocabulary: int = Field(ge=16, le=1 << 24)
    """Tokens are numbered from 1 to `vocabulary` - 1; 0 is padding."""
    length: int = Field(ge=1, le=4_096)
    """Tokens read of a text, the first ones."""


InputSpec = Annotated[FeatureSpec | SequenceSpec, Field(discriminator="kind")]
"""How a text becomes what the model reads."""


class ParameterSpec(Frozen):
    """One named tensor of the model; the flat vector holds them in this order, row-major."""

    name: str
    shape: tuple[Annotated[int, Field(ge=1)], ...]

    @property
    def size(self) -> int:
        """Number of the tensor's coordinates."""
        return math.prod(self.shape)


class ModelSpec(Frozen):
    """The architecture by its registered name, and the layout of its parameters."""

    architecture: str
    parameters: tuple[ParameterSpec, ...] = Field(min_length=1)

    @property
    def dimension(self) -> int:
        """Length d of the flat parameter vector."""
        return sum(parameter.size for parameter in self.parameters)


class InitialModel(Frozen):
    """The model before the first round: devices refuse a first round that begins with another.

    Attributes:
        digest: hex SHA-256 of its flat vector in little-endian float32.
        seed: of the architecture's own initialisation, which gives this model; None where it is kept in a file.
        base_rate: the fraction of positive messages, a public guess, that the intercept of that initialisation stands
            for; None for one half.
    """

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    seed: int | None = Field(default=None, ge=0, lt=1 << 53)
    base_rate: float | None = Field(default=None, gt=0, lt=1)


class LocalTraining(Frozen):
    """DP-SGD on the device (Abadi et al. 2016) with Poisson batches; all constants are public."""

    kind: Literal["dp-sgd"] = "dp-sgd"
    steps: int = Field(ge=1, le=10_000)
    sampling_rate: float = Field(gt=0, le=1)
    expected_batch: float = Field(gt=0)
    """Normaliser of every step's summed gradient, the same for all devices."""
    learning_rate: float = Field(gt=0)
    message_clip: float = Field(gt=0)
    """L2 bound C of one message's gradient."""
    message_noise: float = Field(ge=0)
    """Noise multiplier: each step's summed gradient gets N(0, (message_noise * C)^2)."""


class LocalSgd(Frozen):
    """Plain SGD over the device's messages in random order (McMahan et al. 2017), clipped as a whole afterwards.

    The device-level guarantee is that of every task. Nothing is promised for a single message, and from one device's
    own update its number of steps could be told.
    """

    kind: Literal["sgd"] = "sgd"
    epochs: int = Field(ge=1, le=1_000)
    batch_size: int = Field(ge=1, le=100_000)
    """Messages a step; the last batch of an epoch holds what is left, and steps along its mean gradient too."""
    learning_rate: float = Field(gt=0)

    @property
    def message_noise(self) -> float:
        """Noise multiplier of the local training: 0, as there is no noise in it."""
        return 0.0


Training = Annotated[LocalTraining | LocalSgd, Field(discriminator="kind")]


class AdaptiveClip(Frozen):
    """The clip follows a quantile of the updates' norms (Andrew et al. 2021, Algorithm 1).

    Each device adds one bit, whether its update was within the clip, centred to plus or minus one half, to its masked
    vector: it is under the same noise and in the same charge as everything else.
    """

    quantile: float = Field(default=0.5, gt=0, lt=1)
    """Fraction of updates that should be within the clip."""
    learning_rate: float = Field(default=0.2, gt=0, le=1)
    """The clip is multiplied by exp(-learning_rate * (fraction within - quantile)) after each round."""
    sensitivity_fraction: float = Field(default=0.1, gt=0, le=1)
    """L2 sensitivity of the scaled bit, over `clip`."""


class DeviceMechanism(Frozen):
    """Clip of one device's update, and noise on the sum of a round."""

    clip: float = Field(gt=0)
    """L2 bound of a device's whole update; that of the first round, if it adapts."""
    adaptive: AdaptiveClip | None = None
    correlation: Correlation | None = None
    """Noise that the server adds, correlated from round to round, where devices would add their own. Then the claim
    does not hold against the server: it sees the exact sum of every round."""
    noise_multiplier: float = Field(ge=0)
    """Standard deviation of the honest survivors' noise in the sum, over what a device may contribute: `clip`, and the
    statistics and the clip's own bit if there are any. With a correlation, that of the independent z behind the
    noise."""


class ServerOptimiser(Frozen):
    """The server's steps: FedAvg with momentum (Hsu, Qi and Brown 2019).

    No device needs them. They are stated because they decide, with the noise, what becomes of the model.
    """

    learning_rate: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)


class Statistic(Frozen):
    """A figure that each device adds to its masked vector, under the same noise and the same charge as its update."""

    name: str = Field(min_length=1, max_length=32)
    bound: float = Field(gt=0)
    """A device's value is cut to 0 to `bound`."""
    sensitivity_fraction: float = Field(gt=0, le=1)
    """L2 sensitivity of the scaled value, over `clip`: more means less noise here and more in the model."""


class Window(Frozen):
    """What may be spent within any so many days. It forgets what is older: not a lifetime guarantee."""

    epsilon: float = Field(gt=0)
    days: int = Field(ge=1, le=36_500)

    @property
    def seconds(self) -> int:
        """Length of the window in seconds."""
        return self.days * 86_400


class Budget(Frozen):
    """What one population may spend over its life, at device level. No epsilon means: report, do not limit."""

    epsilon: float | None = Field(default=None, gt=0)
    delta: float = Field(gt=0, lt=1)
    window: Window | None = None

    @property
    def limited(self) -> bool:
        """Whether there is anything that a charge could exceed."""
        return self.epsilon is not None or self.window is not None


class SimulationOnly(Frozen):
    """What a task may ask of simulated devices alone; in a real task nothing of it is set."""

    fleet: Fleet | None = None
    """The fleet that the simulation extrapolates to. Real devices refuse such a task."""
    trusted_aggregator: bool = False
    """Whether the simulation leaves secure aggregation out: one party sees every update, adds them up and adds all
    noise. Real devices refuse such a task."""


class TaskSpec(Frozen):
    """One training task; its identity is the hash of its canonical bytes.

    In JSON the fields of `simulation` stand beside the others, each by its own name.
    """

    version: Literal[2] = 2
    name: str = Field(min_length=1, max_length=64)
    population: str = Field(min_length=1, max_length=64)
    """Whose devices these are; all tasks of a population have one ledger and one budget."""
    purpose: Purpose = "training"
    notice: Notice = Notice()
    """What people are told: which data, and whom they can ask."""
    model: ModelSpec
    initial: InitialModel
    features: InputSpec
    training: Training
    mechanism: DeviceMechanism
    optimiser: ServerOptimiser
    statistics: tuple[Statistic, ...] = ()
    """What devices report beside their update, in this order."""
    participation: Participation
    aggregation: AggregationPolicy
    budget: Budget
    rounds: int = Field(ge=1, le=1_000_000)
    randomness: Origin = "system"
    simulation: SimulationOnly = SimulationOnly()

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Parse a task from JSON, where the fields of `simulation` stand beside the others.

        Raises:
            pydantic.ValidationError: when it is no JSON of a task; a key `simulation` is unknown there.
        """
        return super().model_validate_json(_with_simulation_block(json_data), **options)

    @model_serializer(mode="wrap", when_used="json")
    def _without_simulation_block(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        block = fields.pop("simulation")
        return {**fields, **block}

    @model_validator(mode="after")
    def _limited_only_with_noise(self) -> TaskSpec:
        if self.budget.limited and self.mechanism.noise_multiplier == 0:
            raise ValueError("mechanism.noise_multiplier: a budget of epsilon needs noise, got 0")
        return self

    @model_validator(mode="after")
    def _correlated_alone(self) -> TaskSpec:
        if self.mechanism.correlation is None:
            return self
        if self.participation.kind != "bounded":
            raise ValueError("mechanism.correlation: expected bounded participation, which it counts on, got poisson")
        if self.mechanism.adaptive or self.statistics:
            raise ValueError("mechanism.correlation: expected no adaptive clip and no statistics beside it")
        return self

    @model_validator(mode="after")
    def _distinct_statistics(self) -> TaskSpec:
        names = [statistic.name for statistic in self.statistics]
        if len(set(names)) < len(names):
            raise ValueError(f"statistics: expected distinct names, got {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _trusts_nobody_with_real_updates(self) -> TaskSpec:
        if self.simulation.trusted_aggregator and self.randomness != "seeded":
            raise ValueError(
                "trusted_aggregator: expected a simulation, of randomness `seeded`; real devices trust none"
            )
        return self

    @model_validator(mode="after")
    def _scaled_to_its_fleet(self) -> TaskSpec:
        fleet = self.simulation.fleet
        if fleet is None:
            return self
        if self.randomness != "seeded":
            raise ValueError("fleet: expected a simulation, of randomness `seeded`; real devices stand for themselves")
        if self.budget.limited:
            raise ValueError("budget: expected no limit beside a fleet, whose own is fleet.epsilon")
        by_server = self.mechanism.correlation is not None
        scaled = fleet.noise_for(self.participation, self.aggregation, by_server=by_server)
        if not math.isclose(self.mechanism.noise_multiplier, scaled, rel_tol=1e-9):
            raise ValueError(
                f"mechanism.noise_multiplier: expected {scaled}, for the noise of the fleet's average, "
                f"got {self.mechanism.noise_multiplier}"
            )
        return self

    @property
    def length(self) -> int:
        """Coordinates of what a device contributes: its update, its statistics, and the clip's bit if it adapts."""
        return self.model.dimension + len(self.statistics) + (self.mechanism.adaptive is not None)

    @property
    def contribution_bound(self) -> float:
        """L2 bound of what a device contributes, before rounding, in the units of the model's weights."""
        adaptive = self.mechanism.adaptive
        fractions = [statistic.sensitivity_fraction for statistic in self.statistics]
        if adaptive:
            fractions.append(adaptive.sensitivity_fraction)
        return self.mechanism.clip * math.sqrt(1 + sum(fraction**2 for fraction in fractions))

    @property
    def shard_cohort(self) -> float:
        """Devices that are expected in one shard."""
        return self.participation.expected_cohort / self.aggregation.shards

    @property
    def largest_shard(self) -> int:
        """Devices in one shard that the modulus is made for; more come with probability below 2^-40."""
        return largest_shard(self.participation, self.aggregation.shards)

    def counted(self, cohort: float) -> float:
        """Return how many devices' noise is counted on in the sum of a shard of `cohort`; see `counted_devices`."""
        return counted_devices(self.participation, self.aggregation, cohort)

    def with_clip(self, clip: float) -> TaskSpec:
        """Return the task of a round with another clip; noise and sensitivity, in steps of the grid, do not change."""
        return self.model_copy(update={"mechanism": self.mechanism.model_copy(update={"clip": clip})})

    @cached_property
    def id(self) -> str:
        """Name of the task: hex SHA-256 of its canonical bytes."""
        return sha256(_DOMAIN.encode(), self.canonical()).hex()


def _with_simulation_block(json_data: str | bytes | bytearray) -> str | bytes | bytearray:
    """Return a task's JSON with the fields of its simulation in one object; what is no object is left as it is."""
    try:
        fields = from_json(json_data)
    except ValueError:
        return json_data
    if not isinstance(fields, dict):
        return json_data
    block = {name: fields.pop(name) for name in ("simulation", *SimulationOnly.model_fields) if name in fields}
    return to_json({**fields, "simulation": block}, inf_nan_mode="constants")


def sign_task(spec: TaskSpec, operator: Signer) -> bytes:
    """Return the operator's signature, of 64 bytes, followed by the task's canonical bytes."""
    body = spec.canonical()
    return operator.sign(_DOMAIN, body) + body


@lru_cache(maxsize=64)
def open_task(signed: bytes, operator_public: bytes) -> TaskSpec:
    """Verify and parse what `sign_task` made.

    The result is remembered, since every round of a task brings the same bytes.

    Raises:
        TaskError: when the signature, the record or its canonical form is not as expected.
    """
    signature, body = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    try:
        verify(operator_public, _DOMAIN, body, signature)
        spec = TaskSpec.model_validate_json(body)
    except (SignatureError, ValidationError) as error:
        raise TaskError(f"task: {error}") from error
    if spec.canonical() != body:
        raise TaskError("task: expected RFC 8785 canonical JSON, got another encoding")
    return spec
