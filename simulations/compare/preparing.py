"""Everything that can be known about a comparison before anything trains."""

from __future__ import annotations

import functools
import math
from collections import Counter
from dataclasses import dataclass, field

from privacy.accounting.accountant import spend
from privacy.accounting.calibration import message_noise_for
from privacy.accounting.events import round_event
from privacy.task.task import FeatureSpec, LocalTraining, TaskSpec
from simulations.compare.grids import SCHEDULES, Schedule
from simulations.compare.training import has_kernel
from simulations.config.config import ConfigError, RunConfig, with_settings
from simulations.population import FederationData, build
from simulations.runs.run import Prepared, prepare

_MOST_DEVICES = 100_000
"""The largest generated population: the messages of all its devices are pooled, and have to be made first."""
_MOST_DENSE = 1 << 31
"""The most bytes of pooled n-grams as a module without a kernel reads them."""


@dataclass(frozen=True)
class PreparedSeed:
    """The federations of one seed, on the same devices and held-out users.

    Attributes:
        federated: the federation as configured.
        noiseless: the federation without noise.
        schedules: those of central DP-SGD, with their noise calibrated.
    """

    federated: Prepared = field(repr=False)
    noiseless: Prepared = field(repr=False)
    schedules: tuple[LocalTraining, ...]

    @property
    def seed(self) -> int:
        """The seed."""
        return self.federated.config.seed or 0

    @property
    def task(self) -> TaskSpec:
        """The task of the federation as configured."""
        return self.federated.task

    @property
    def data(self) -> FederationData:
        """The devices and held-out users of all methods."""
        return self.federated.data


def prepare_all(base: RunConfig, seeds: int) -> list[PreparedSeed]:
    """Read the data and calibrate all noise.

    Args:
        base: the federation's configuration, with a seed, from which the others count.
        seeds: how many there are.

    Raises:
        ConfigError: when the configuration cannot be compared.
        DataError: when the data cannot be used.
        EngineError: when no engine can train the task.
    """
    _check(base)
    data_of = functools.cache(build)
    prepared = []
    for number in range(seeds):
        config = with_settings(base, {"seed": (base.seed or 0) + number})
        federated = prepare(config, data_of)
        _check_size(federated)
        schedules = _calibrated(federated.task, epsilon_target(federated.task))
        prepared.append(PreparedSeed(federated, prepare(without_noise(federated.config), data_of), schedules))
    return prepared


def without_noise(config: RunConfig) -> RunConfig:
    """Return the configuration without noise on its sums, and so without a budget."""
    values = config.model_dump(mode="json", exclude_unset=True)
    privacy = values.get("privacy", {})
    kept = {key: value for key, value in privacy.items() if key not in ("epsilon", "window_epsilon", "window_days")}
    return RunConfig.model_validate({**values, "privacy": {**kept, "noise_multiplier": 0.0, "noise": "devices"}})


def epsilon_target(task: TaskSpec) -> float:
    """Return the task's budget; where only the noise was given, the epsilon that it comes to.

    Raises:
        ConfigError: when the noise bounds nothing.
    """
    if task.budget.epsilon is not None:
        return task.budget.epsilon
    events = Counter(round_event(task, number) for number in range(1, task.rounds + 1))
    epsilon = spend(events, task.budget.delta).epsilon
    if math.isinf(epsilon):
        raise ConfigError("privacy.noise_multiplier: expected enough for a finite epsilon, got none to compare with")
    return epsilon


def _check(config: RunConfig) -> None:
    if config.engine == "ray":
        raise ConfigError("engine: expected another than ray in a comparison, which runs on one machine")
    if config.fleet.given:
        raise ConfigError("fleet: expected none in a comparison: a fleet's messages cannot be pooled; leave it out")
    if config.poison.fraction:
        raise ConfigError("poison.fraction: expected 0 in a comparison: pooled messages know no poisoners")
    if config.privacy.ledger is not None:
        raise ConfigError("privacy.ledger: expected none in a comparison: each run keeps its own; leave it out")
    if config.privacy.noise_multiplier == 0:
        raise ConfigError("privacy.noise_multiplier: expected noise, to compare with none; got 0")
    if config.data.path is None and config.data.devices > _MOST_DEVICES:
        raise ConfigError(
            f"data.devices: expected at most {_MOST_DEVICES:,} in a comparison, which pools their messages, "
            f"got {config.data.devices:,}"
        )


def _check_size(prepared: Prepared) -> None:
    task, messages = prepared.task, prepared.data.population.messages or 0
    if has_kernel(task) or not isinstance(task.features, FeatureSpec):
        return
    if 4 * messages * task.features.buckets > _MOST_DENSE:
        raise ConfigError(
            f"training.buckets: expected at most {_MOST_DENSE // (4 * messages)} for {messages:,} pooled messages and "
            f"{task.model.architecture}, which has no kernel for sparse rows, got {task.features.buckets}"
        )


def _calibrated(task: TaskSpec, epsilon: float) -> tuple[LocalTraining, ...]:
    return tuple(_training(task, schedule, _noise(schedule, epsilon, task.budget.delta)) for schedule in SCHEDULES)


def _training(task: TaskSpec, schedule: Schedule, noise: float) -> LocalTraining:
    """Return the training of a schedule, with a rate and a batch that are yet to be set."""
    clip = task.training.message_clip if isinstance(task.training, LocalTraining) else 1.0
    return LocalTraining(
        steps=schedule.steps,
        sampling_rate=schedule.sampling_rate,
        expected_batch=1.0,
        learning_rate=1.0,
        message_clip=clip,
        message_noise=noise,
    )


@functools.cache
def _noise(schedule: Schedule, epsilon: float, delta: float) -> float:
    try:
        return message_noise_for(schedule.sampling_rate, schedule.steps, epsilon, delta)
    except ValueError as error:
        raise ConfigError(f"privacy.{error}") from error
