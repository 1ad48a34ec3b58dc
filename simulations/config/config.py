"""The whole configuration of a run as one frozen model, and how it is read from a TOML file and flags over it."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from privacy.base.errors import clipped
from privacy.secagg.membership.params import default_max_dropouts, default_min_survivors, default_shards
from privacy.task.task import NgramRange, Notice, Purpose
from simulations.config.data import DataConfig
from simulations.config.paths import below, relative_to
from simulations.config.sections import AvailabilityConfig, FaultsConfig, FleetConfig, PoisonConfig, Section

MAX_SEED = 2**63 - 1
LOCAL_RAY = "local"
"""The address that stands for a Ray of the run's own, on this machine."""


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key and says what was expected."""


class PrivacyConfig(Section):
    """Device-level privacy. Give `epsilon` and the noise follows; give `noise_multiplier` and epsilon follows."""

    epsilon: float | None = Field(default=None, ge=0.01, le=1_000)
    noise_multiplier: float | None = Field(default=None, ge=0, le=1_000)
    delta: float = Field(default=1e-5, gt=0, lt=0.5)
    clip: float = Field(default=0.5, ge=1e-6, le=1e6)
    """L2 bound of a device's update; if it adapts, that of the first round."""
    clip_quantile: float | None = Field(default=None, gt=0, lt=1)
    """Let the clip follow this quantile of the updates' norms; one bit a device pays for it, under the same noise."""
    participation: Literal["poisson", "bounded"] = "poisson"
    max_participations: int = Field(default=6, ge=1, le=1_000_000)
    """How often one device takes part at most, under `bounded`."""
    min_separation: int = Field(default=1, ge=1, le=1_000_000)
    """How many rounds two participations of one device lie apart at least, under `bounded`."""
    noise: Literal["devices", "correlated"] = "devices"
    """Who adds the noise: every device a part, or the server, correlated from round to round: less of it in the model,
    for a claim that does not hold against the server."""
    window_epsilon: float | None = Field(default=None, gt=0)
    """What may be spent within any `window_days`, besides the budget for life."""
    window_days: int | None = Field(default=None, ge=1, le=36_500)
    ledger: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """One ledger for several runs on the same devices, with one seed and budget. Default: the run's own."""

    @field_validator("participation", mode="before")
    @classmethod
    def _drawn_by_the_server(cls, kind: object) -> object:
        if kind in ("check-in", "check_in"):
            raise ValueError(
                "devices that check in when they please are no random cohort, so nothing is amplified; "
                "expected `bounded`, or `poisson` where the server draws"
            )
        return kind

    @model_validator(mode="after")
    def _whole_window(self) -> PrivacyConfig:
        if (self.window_epsilon is None) != (self.window_days is None):
            raise ValueError("window_epsilon: expected together with window_days")
        return self


class TrainingConfig(Section):
    """The model, and how each device trains it; every value is a public constant of the task."""

    architecture: str = "hashed-linear"
    """`hashed-linear`, `word-embedding`, `character-cnn`, or a factory of one's own as `package.module:factory`."""
    inputs: Literal["ngrams", "words", "characters"] | None = None
    """What the model reads. Default: what a known architecture does, n-grams for others."""
    length: int | None = Field(default=None, ge=1, le=4_096)
    """Words or characters of a message that are read. Default: 64 or 128."""
    method: Literal["dp-sgd", "sgd"] = "dp-sgd"
    """`sgd` clips no single message: faster, and no message-level guarantee is possible."""
    epochs: int = Field(default=1, ge=1, le=1_000)
    """How often `sgd` takes each message."""
    batch_size: int = Field(default=16, ge=1, le=100_000)
    """Messages in a step of `sgd`."""
    base_rate: float | None = Field(default=None, gt=0, lt=1)
    """A public guess of the fraction of positive messages, at which the intercept of `hashed-linear` starts. It helps
    where they are rare and privacy is tight. Default: one half."""
    steps: int = Field(default=5, ge=1, le=1_000)
    sampling_rate: float = Field(default=1.0, gt=0, le=1)
    expected_batch: float = Field(default=8.0, gt=0)
    learning_rate: float = Field(default=8.0, gt=0)
    message_clip: float = Field(default=1.0, gt=0)
    message_noise: float = Field(default=0.0, ge=0, le=1_000)
    buckets: int | None = Field(default=None, ge=16, le=1 << 22)
    """Buckets of hashed n-grams, or the vocabulary of a sequence. Default: 16,384, for characters 256."""
    word_ngrams: NgramRange = (1, 2)
    """Words in a hashed n-gram: the fewest and the most."""
    char_ngrams: NgramRange = (3, 5)
    """Characters in a hashed n-gram of one word."""
    compact_ngrams: NgramRange = (1, 4)
    """Characters where one of them is Chinese, Japanese, Korean, or of another script in which few characters say much
    or no spaces part words."""

    @model_validator(mode="after")
    def _noise_needs_clipping(self) -> TrainingConfig:
        if self.method == "sgd" and self.message_noise:
            raise ValueError("message_noise: expected method `dp-sgd`, which clips what the noise hides, got `sgd`")
        return self


class ServerConfig(Section):
    """The server's optimiser, FedAvg with momentum, and what secure aggregation has to withstand."""

    rounds: int | None = Field(default=None, ge=1, le=1_000_000)
    """Default: chosen for the population and the budget (`privacy.schedule`), as the cohort is."""
    cohort: int | None = Field(default=None, ge=2, le=1 << 30)
    learning_rate: float | Literal["auto"] = "auto"
    """`auto`: as the noise, the cohort and the rounds allow; 20 for models that are not linear."""
    momentum: float = Field(default=0.7, ge=0, lt=1)
    corrupt_fraction: float = Field(default=0.05, ge=0, lt=0.5)
    dropout_fraction: float = Field(default=0.1, ge=0, lt=0.5)
    """What fraction of the expected cohort may vanish in a round; the number of devices that follows is the task's."""
    min_survivors: int | None = Field(default=None, ge=2, le=1 << 30)
    """Fewer devices than this in a sum, and nothing of it is revealed. Default: a quarter of the cohort, or
    more where so few would have no room for the corrupt devices of an honest draw."""

    modulus_bits: int | None = Field(default=None, ge=8, le=32)
    """Bits of each coordinate of the masked sum. Default: the fewest at which rounding costs less than 1%."""
    shards: int | None = Field(default=None, ge=1, le=10_000)
    """How many sums a cohort is split into. Default: as few as can be, of at most 750 devices each."""

    aggregation: Literal["secure", "ideal", "central"] = "secure"
    """`ideal` adds up what secure aggregation would have added up, without the protocol: the same model, much faster,
    and no log of rounds. `central` adds up clipped updates and draws the noise of their sum at once: a model of the
    same distribution, fastest."""

    statistics: tuple[Literal["examples", "loss", "correct"], ...] = ()
    """What devices report inside the masked sum, under the same noise: their messages, these messages' summed loss
    under the model that was sent, and how many of them it classifies correctly."""
    statistics_bound: int = Field(default=64, ge=1, le=1 << 30)
    """The largest value that a device's statistic counts with."""
    statistics_fraction: float = Field(default=0.1, gt=0, le=1)
    """L2 sensitivity of each statistic over the clip: what it adds to the noise on the model."""

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _auto_or_above_0(cls, rate: object) -> object:
        if rate == "auto":
            return rate
        try:
            found = float(rate) if isinstance(rate, int | float | str) else math.nan
        except ValueError:
            found = math.nan
        if not 0 < found < math.inf:
            raise ValueError("expected `auto`, or a number above 0")
        return found

    @field_validator("statistics")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("expected each statistic once")
        return names

    def planned(self, rounds: int, cohort: int) -> PlannedServer:
        """Return the same with a schedule."""
        return PlannedServer.model_validate({**self.model_dump(), "rounds": rounds, "cohort": cohort})


class PlannedServer(ServerConfig):
    """The same with every number of the schedule."""

    rounds: int = Field(ge=1, le=1_000_000)
    cohort: int = Field(ge=2, le=1 << 30)

    @property
    def fewest_survivors(self) -> int:
        """The fewest survivors of a shard at which its sum is revealed."""
        if self.min_survivors is not None:
            return self.min_survivors
        return default_min_survivors(self.cohort, self.shard_count, self.max_dropouts, self.corrupt_fraction)

    @property
    def max_dropouts(self) -> int:
        """The most devices of a shard that may vanish in a round."""
        return default_max_dropouts(self.cohort, self.shard_count, self.dropout_fraction)

    @property
    def shard_size(self) -> int:
        """Expected devices in a shard, rounded down."""
        return self.cohort // self.shard_count

    @property
    def shard_count(self) -> int:
        """The number of sums that a cohort is split into."""
        return self.shards if self.shards is not None else default_shards(self.cohort)


class RunConfig(Section):
    """The configuration of one run, from data to published model."""

    name: str = Field(default="abuse", min_length=1, max_length=64)
    purpose: Purpose = "training"
    """What the run is for: a tuning run is charged like any other, and named in reports."""
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """One seed gives one run. Without one, a fresh one is drawn and written to the run directory."""
    engine: Literal["auto", "sequential", "vectorised", "ray"] = "auto"
    """How devices are trained, with `server.aggregation = "ideal"`; `ray`: by workers of a Ray cluster, each with the
    engine that `auto` picks."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the vectorised engine computes. Clipping of updates, noise and sums are on the CPU in any case."""
    ray_address: str = LOCAL_RAY
    """HOST:PORT of the head of the Ray cluster that engine `ray` runs on, or `local`."""
    data: DataConfig = DataConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    training: TrainingConfig = TrainingConfig()
    server: ServerConfig = ServerConfig()
    availability: AvailabilityConfig = AvailabilityConfig()
    faults: FaultsConfig = FaultsConfig()
    poison: PoisonConfig = PoisonConfig()
    fleet: FleetConfig = FleetConfig()
    notice: Notice = Notice()
    """What people are told: `data`, `data_from`, `data_until` and `contact`, shown in the report as they are."""

    @field_validator("ray_address")
    @classmethod
    def _of_a_head(cls, address: str) -> str:
        if address != LOCAL_RAY and not re.fullmatch(r"[^\s/]+:[0-9]{1,5}", address):
            raise ValueError(f"expected HOST:PORT of a cluster's head, as `ray start --head` prints it, or {LOCAL_RAY}")
        return address

    @model_validator(mode="after")
    def _engine_can_run(self) -> RunConfig:
        if self.engine in ("vectorised", "ray") and self.server.aggregation == "secure":
            raise ValueError(
                f"engine: expected auto or sequential under secure aggregation, where every device trains by itself, "
                f"got {self.engine}; add --aggregation ideal for the same model without the protocol"
            )
        if self.device == "cuda" and self.server.aggregation == "secure":
            raise ValueError(
                "device: expected cpu under secure aggregation, where every device trains by itself, got cuda"
            )
        if self.ray_address != LOCAL_RAY and self.engine != "ray":
            raise ValueError(f"ray_address: expected only with --engine ray, got it with {self.engine}")
        return self

    @model_validator(mode="after")
    def _cohort_can_survive(self) -> RunConfig:
        if self.server.cohort is not None:
            _check_survivors(self.server.planned(self.server.rounds or 1, self.server.cohort))
        return self

    @model_validator(mode="after")
    def _can_forge(self) -> RunConfig:
        if self.poison.forged and self.server.aggregation == "central":
            raise ValueError("poison.forged: expected 0 with a trusted aggregator, who clips by itself")
        return self

    @model_validator(mode="after")
    def _can_stand_for_a_fleet(self) -> RunConfig:
        cohort, privacy = self.fleet.cohort, self.privacy
        if cohort is None:
            return self
        if self.server.cohort is not None and cohort < self.server.cohort:
            raise ValueError(f"fleet.cohort: expected at least server.cohort ({self.server.cohort}), got {cohort}")
        if privacy.noise_multiplier == 0:
            raise ValueError("privacy.noise_multiplier: expected noise to scale to the fleet's, got 0")
        if privacy.window_epsilon is not None:
            raise ValueError("privacy.window_epsilon: no fleet was asked on any day; leave it out with [fleet]")
        if privacy.ledger is not None:
            raise ValueError("privacy.ledger: expected a ledger of the run's own with [fleet], got one for several")
        return self

    @property
    def wherever_its_data_lie(self) -> RunConfig:
        """The same configuration without the paths of its data: what decides a run's outcome, beside the files."""
        nowhere = dict.fromkeys(("path", "labels", "test", "test_labels"))
        return self.model_copy(update={"data": self.data.model_copy(update=nowhere)})

    @property
    def inputs(self) -> tuple[tuple[str, Path], ...]:
        """All files and folders that the run needs, each with the flag or key that names it."""
        shared = self.privacy.ledger
        return (*self.data.inputs, *(() if shared is None else (("privacy.ledger", shared),)))

    def to_toml(self, directory: Path) -> str:
        """Write this configuration as TOML for a file in `directory`; keys that are not set are left out."""
        return tomli_w.dumps(relative_to(directory, self.model_dump(mode="json", exclude_none=True)))


class PlannedRun(RunConfig):
    """A configuration with every number of its schedule."""

    server: PlannedServer


def _check_survivors(server: PlannedServer) -> None:
    if server.shard_count > server.cohort // 2:
        raise ValueError(
            f"server.shards: expected at most half of server.cohort ({server.cohort}), got {server.shard_count}"
        )
    least = server.fewest_survivors
    if server.max_dropouts < least <= server.shard_size:
        return
    if server.min_survivors is None:  # nobody set it: what was set is the cohort
        raise ValueError(
            f"--cohort: {server.cohort} devices in {server.shard_count} shards are too few where {server.max_dropouts} "
            f"of a shard's {server.shard_size} may drop out and {least} have to survive; raise it, or lower "
            "server.dropout_fraction or server.corrupt_fraction"
        )
    if least > server.shard_size:
        raise ValueError(
            f"server.min_survivors: expected at most the {server.shard_size} devices of server.cohort in a "
            f"shard, got {least}"
        )
    raise ValueError(
        f"server.min_survivors: expected more than the {server.max_dropouts} devices of a shard that may "
        f"drop out, got {least}; or lower server.dropout_fraction"
    )


def planned(config: RunConfig, rounds: int, cohort: int) -> PlannedRun:
    """Return a configuration with its schedule filled in.

    Raises:
        ConfigError: when its other keys do not go with the cohort.
    """
    values = config.model_dump(exclude_unset=True)
    server = {**values.get("server", {}), "rounds": rounds, "cohort": cohort}
    try:
        return PlannedRun.model_validate({**values, "server": server})
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(detail) for detail in error.errors())) from error


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> RunConfig:
    """Read a file's configuration, if there is one, and put `overrides` (dotted keys; None means not given) over it.

    Paths in the file lie below its directory, those among the overrides below the current one.

    Raises:
        ConfigError: when the file cannot be read, a key is unknown or a value is out of range.
    """
    return _validated(below(path.resolve().parent, _read(path)) if path else {}, overrides)


def with_settings(config: RunConfig, settings: Mapping[str, Any]) -> RunConfig:
    """Return a configuration that differs by `settings` (dotted keys; None means not given).

    Raises:
        ConfigError: when a key is unknown or a value is out of range.
    """
    return _validated(config.model_dump(mode="json", exclude_unset=True), settings)


def _validated(values: dict[str, Any], overrides: Mapping[str, Any]) -> RunConfig:
    for dotted, value in overrides.items():
        if value is not None:
            _put(values, dotted, value)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(detail) for detail in error.errors())) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"config: no file {path}; `fl-sim init` writes one") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"config: {path} is not readable TOML: {error}") from error


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{section}: expected a section of keys, [{section}], got {values!r}")
    values[key] = value


def _explain(detail: ErrorDetails) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; known here: {', '.join(_known_keys(detail['loc'][:-1]))}"
    message = detail["msg"].removeprefix("Value error, ")
    if not key or isinstance(detail["input"], Mapping):  # what a section as a whole was refused for says what it had
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {clipped(repr(detail['input']))}"


def _known_keys(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for part in section:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return sorted(model.model_fields)
