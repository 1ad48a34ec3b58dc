"""A worker's part of an ideal round: train some devices, encode what they learnt, and add it up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import TrainingError
from privacy.mechanism.mechanism import Mechanism, MechanismError
from privacy.task.task import TaskSpec
from simulations.config.architectures import make_known
from simulations.federation import central
from simulations.federation.altered import AlteredEngine
from simulations.federation.devices import input_randomness
from simulations.federation.forged import ForgedMechanism
from simulations.population.base import ExamplesOf
from simulations.randomness import SeedTree
from simulations.scenario import Scenario
from simulations.training.engines.base import Engine, Participant
from simulations.training.engines.choice import Choice


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker is to do: train devices of one shard from a round's model.

    Attributes:
        number: the round's, from 1.
        weights: float32[d], the model of the round.
        clip: L2 bound of an update in this round.
        rotation: the seed of the round's rotation.
        cohort: how many devices the whole shard has, which every device's noise is sized for.
        devices: those of the shard that answer in time.
        central: whether the aggregator adds the noise, as in `simulations.federation.central`.
    """

    number: int
    weights: NDArray[np.float32] = field(repr=False)
    clip: float
    rotation: bytes = field(repr=False)
    cohort: int
    devices: Sequence[int] = field(repr=False)
    central: bool = False


@dataclass(frozen=True, eq=False)
class PartialSum:
    """What came of a job: one vector, however many devices there were.

    Attributes:
        sums: int64[length], in steps of the mechanism's grid; of a central job, in its fixed point.
        survivors: the devices in it, in the order of the job.
        lost: how many devices failed, by reason.
        central: whether the job was central.
    """

    sums: NDArray[np.int64] = field(repr=False)
    survivors: Sequence[int] = field(repr=False)
    lost: Mapping[str, int]
    central: bool = False


@dataclass
class Worker:
    """Does jobs of one task; every process has its own.

    Attributes:
        seed: the run's.
        task: what the devices take part in.
        examples_of: what each device holds in a round.
        scenario: what goes wrong with the devices.
        choice: the engine that trains them, made when it is first needed.
    """

    seed: SeedTree
    task: TaskSpec
    examples_of: ExamplesOf
    scenario: Scenario
    choice: Choice

    def __post_init__(self) -> None:
        self._engine: Engine | None = None

    def partial_sum(self, job: Job) -> PartialSum:
        """Return the sum of what the job's devices contribute; those that fail are left out.

        Raises:
            MechanismError: when the mechanism refuses the task or the cohort.
        """
        mechanism = Mechanism.for_cohort(self.task.with_clip(job.clip), job.cohort)
        sums, survivors, lost = np.zeros(self.task.length, np.int64), [], Counter[str]()
        participants = [self._participant(device, job.number) for device in job.devices]
        if job.central:
            added = central.add(mechanism, self._learner, job.weights, participants, sums)
        else:
            added = self._encoded(mechanism, job, participants, sums)
        for participant, error in zip(participants, added, strict=True):
            if error is None:
                survivors.append(participant.device)
            else:
                lost[f"{type(error).__name__}: {error}"] += 1
        return PartialSum(sums, survivors, lost, job.central)

    def _encoded(
        self, mechanism: Mechanism, job: Job, participants: Sequence[Participant], sums: NDArray[np.int64]
    ) -> Iterator[Exception | None]:
        """Add what every participant would send under its masks; yield what went wrong, or None."""
        for participant, result in zip(participants, self._learner.learn(job.weights, participants), strict=True):
            try:
                if isinstance(result, TrainingError):
                    raise result
                beyond = self.scenario.poison.forged(participant.device)
                encoder = ForgedMechanism.of(mechanism, beyond) if beyond else mechanism
                sums += encoder.encode(result, job.rotation, participant.rng).integers
            except (TrainingError, MechanismError) as error:
                yield error
            else:
                yield None

    def _participant(self, device: int, number: int) -> Participant:
        return Participant(device, self.examples_of(device, number), input_randomness(self.seed, device, number))

    @property
    def _learner(self) -> Engine:
        if self._engine is None:
            make_known(self.task.model.architecture)
            plain = self.choice.make(self.task)
            self._engine = AlteredEngine(plain, self.scenario) if self.scenario.alters else plain
        return self._engine
