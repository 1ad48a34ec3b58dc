"""The devices of a simulated population: built when they are asked for, their keys derived from the run's seed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from fl_client.device.device import Device
from fl_client.device.memory import Memory, TaskRecord
from fl_client.training.training import LocalTrainer
from privacy.base.randomness import Randomness
from privacy.base.signing import Signer
from privacy.secagg import RoundAuthority, Rounds, Stage
from privacy.secagg.membership.identity import Certificate, DevicePolicy, EnrolmentRequest, Revocations, Trust, enrol
from privacy.secagg.primitives.keys import DeviceKeys
from privacy.task.states import Update
from privacy.task.task import TaskSpec
from simulations.config.architectures import make_known
from simulations.federation.cached_keys import NeighbourKeys
from simulations.federation.forged import ForgedDevice
from simulations.population.base import ExamplesOf
from simulations.randomness import SeedTree
from simulations.scenario import Scenario

_POLICY = DevicePolicy(
    min_noise_multiplier=0,
    min_survivors=2,
    min_corrupt_fraction=0,
    min_draw_bits=0,
    accept_server_noise=True,
    accept_extrapolation=True,
)
"""The policy of simulated devices, which take part in whatever is simulated."""
_NEVER = 2**40
"""A time in seconds that no certificate or list of a simulation reaches."""


def simulated_time() -> int:
    """Return the time of a simulation, where the clock stands still so that the same run gives the same bytes."""
    return 0


@dataclass(frozen=True)
class Authorities:
    """The operator and the enrolment authority of a simulation.

    Their keys follow from the seed and prove nothing to others.
    """

    seed: SeedTree

    @cached_property
    def operator(self) -> Signer:
        """Key of the operator, who signs tasks, rounds and the ledger."""
        return Signer.from_seed(self.seed.child("operator").key())

    @cached_property
    def authority(self) -> Signer:
        """Key of the enrolment authority, who certifies devices."""
        return Signer.from_seed(self.seed.child("authority").key())

    @property
    def trust(self) -> Trust:
        """What simulated devices hold true: both public keys, and a policy that accepts every task."""
        return Trust(self.operator.public, self.authority.public, _POLICY)

    def round_authority(self, population: str) -> RoundAuthority:
        """Return the authority that calls the rounds of a population, of which nobody is revoked."""
        revocations = Revocations.signed(self.authority, population, 1, _NEVER, frozenset())
        return RoundAuthority(self.operator, self.authority.public, revocations)


@dataclass
class Records:
    """What simulated devices remember. Pages that nobody touches cost no memory.

    Attributes:
        last_round: int32[N], the last round that each device was invited to; 0 before its first.
        participations: int32[N], how many rounds each device took part in.
    """

    last_round: NDArray[np.int32] = field(repr=False)
    participations: NDArray[np.int32] = field(repr=False)

    @classmethod
    def fresh(cls, devices: int) -> Records:
        """Return the records of so many devices that never took part."""
        return cls(np.zeros(devices, np.int32), np.zeros(devices, np.int32))

    @classmethod
    def of(cls, devices: int, arrays: Mapping[str, NDArray[np.int64]]) -> Records:
        """Return the records of so many devices from what `arrays` returned."""
        records = cls.fresh(devices)
        records.last_round[arrays["devices"]] = arrays["last_round"]
        records.participations[arrays["devices"]] = arrays["participations"]
        return records

    def arrays(self) -> dict[str, NDArray[np.int64]]:
        """Return the records of the devices that were ever reached, for a checkpoint.

        Returns:
            Three int64[n] for n such devices: `devices`, ascending, `last_round` and `participations`.
        """
        devices = np.flatnonzero(self.last_round)
        return {
            "devices": devices.astype(np.int64),
            "last_round": self.last_round[devices].astype(np.int64),
            "participations": self.participations[devices].astype(np.int64),
        }


@dataclass
class _RecordStore:
    """A device's `DeviceStore` inside `Records`, for the one task of a simulation.

    What is kept of a round goes with the device: it does not outlive its process, and others carry what it knew.
    """

    records: Records
    device: int
    task_id: str
    round: bytes = field(default=b"", repr=False)

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def load(self) -> Memory:
        last_round, participations = self.records.last_round[self.device], self.records.participations[self.device]
        return Memory({self.task_id: TaskRecord(Rounds(int(last_round)), int(participations))}, round=self.round)

    def save(self, memory: Memory) -> None:
        record = memory.tasks[self.task_id]
        self.records.last_round[self.device] = record.rounds.last
        self.records.participations[self.device] = record.participations
        self.round = memory.round


def input_randomness(seed: SeedTree, device: int, number: int) -> Randomness:
    """Return the randomness of a device's training, rounding and noise in a round.

    It is the same whether masks are simulated or not.

    Args:
        seed: the run's.
        device: its number in the population.
        number: the round's.
    """
    return seed.child("device", device, "input", number).stream()


@dataclass(frozen=True)
class DeviceHost:
    """Makes the devices of a population.

    Attributes:
        seed: the run's; identities, keys and randomness follow from it.
        task: what the devices take part in.
        examples_of: what each device holds in a round.
        scenario: what goes wrong with them.
        records: what they remember, read and written by the devices made here.
    """

    seed: SeedTree
    task: TaskSpec
    examples_of: ExamplesOf
    scenario: Scenario
    records: Records

    def device(self, index: int) -> Device:
        """Return device `index`, the same every time.

        That goes for its identity, data and memory, and for its randomness, which depends on the request alone.
        """
        own = self.seed.child("device", index)
        keys, certificate = _enrolled(self.seed, self.task.population, index)

        def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:
            examples = self.examples_of(index, self._round_of(index))
            return self.scenario.altered(index, _trainer(task).train(weights, examples, rng))

        def randomness_for(stage: str, request: bytes) -> Randomness:
            if stage == Stage.INPUT:
                return input_randomness(self.seed, index, self._round_of(index))
            return own.child(stage, request).stream()

        beyond = self.scenario.poison.forged(index)
        return (partial(ForgedDevice, beyond) if beyond else Device)(
            keys=keys,
            certificate=certificate,
            trust=_authorities(self.seed).trust,
            store=_RecordStore(self.records, index, self.task.id),
            train=train,
            randomness_for=randomness_for,
            clock=simulated_time,
        )

    def _round_of(self, index: int) -> int:
        """Return the round that a device takes part in, the last that it was invited to."""
        return int(self.records.last_round[index])


@lru_cache(maxsize=2)
def _authorities(seed: SeedTree) -> Authorities:
    """Return the authorities of a run, made once for all devices of a process."""
    return Authorities(seed)


@lru_cache(maxsize=4_096)
def _enrolled(seed: SeedTree, population: str, index: int) -> tuple[DeviceKeys, Certificate]:
    """Return a device's keys and certificate, made once and not for every round."""
    keys = NeighbourKeys.from_seed(seed.child("device", index).child("identity").key())
    return keys, enrol(_authorities(seed).authority, population, EnrolmentRequest.by(keys), _NEVER)


@lru_cache(maxsize=2)
def _trainer(task: TaskSpec) -> LocalTrainer:
    """Return a trainer for all devices of a process: wrapping a module costs more than training on ten messages."""
    make_known(task.model.architecture)
    return LocalTrainer(task)
