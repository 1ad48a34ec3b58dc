"""What goes wrong with a device in a round: it cannot be reached, drops out, is late, crashes or poisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fl_client.training.training import TrainingError
from privacy.secagg import Stage
from privacy.task.states import Update
from simulations.config.config import RunConfig
from simulations.config.sections import HOURS, AvailabilityConfig, FaultsConfig
from simulations.population.poison import Poison
from simulations.randomness import SeedTree

_NOON = 12


@dataclass(frozen=True)
class Loss:
    """The place where a device is lost to a round.

    Attributes:
        stage: the first stage that it does not answer in time.
        late: whether it did this stage's work, but its answer came after the deadline.
    """

    stage: Stage
    late: bool


@dataclass(frozen=True)
class Scenario:
    """The faults of a population; small to pickle."""

    seed: SeedTree
    availability: AvailabilityConfig
    faults: FaultsConfig
    poison: Poison

    @classmethod
    def of(cls, config: RunConfig, seed: SeedTree) -> Scenario:
        """Return the scenario that a configuration describes."""
        own = seed.child("faults")
        return cls(own, config.availability, config.faults, Poison(own, config.poison))

    def within_reach(self, devices: Sequence[int], moment: int) -> Sequence[int]:
        """Return those of the devices that can be reached at a moment: the server throws its coins for them.

        Args:
            devices: to choose from.
            moment: from 1, each `round_minutes` after the one before; a round takes one, and so does each time that its
                draw was put off.
        """
        if min(self.availability.hours) == 1:
            return devices
        return [device for device in devices if self._reachable(device, moment)]

    def loss(self, device: int, number: int) -> Loss | None:
        """Return how the device is lost in round `number`, to which it was invited; None when it answers to the end."""
        return self._loss(device, number) if self._lossy else None

    def altered(self, device: int, update: Update) -> Update:
        """Return what the device passes on as its update.

        Raises:
            TrainingError: when the device is one of those whose training crashes.
        """
        if self._has(device, "crashing", self.faults.crashing):
            raise TrainingError("the device's training crashed")
        if self._has(device, "not-finite", self.faults.not_finite):
            return Update(np.full_like(update.delta, np.nan), update.statistics)
        return self.poison.boosted(device, update)

    @property
    def alters(self) -> bool:
        """Whether any device passes on another update than its training gave."""
        poison = self.poison.config
        return bool(self.faults.crashing or self.faults.not_finite or (poison.fraction and poison.boost != 1))

    def _has(self, device: int, fault: str, fraction: float) -> bool:
        return fraction > 0 and self.seed.child(fault, device).unit() < fraction

    def _reachable(self, device: int, moment: int) -> bool:
        """Tell by one draw for a device's night, from noon to noon: all hours follow, so that it stays for a while."""
        plan = self.availability
        zone = plan.time_zones[int(self.seed.child("zone", device).unit() * len(plan.time_zones))]
        hour = plan.start_hour + (moment - 1) * plan.round_minutes / 60 + zone
        night = math.floor((hour - _NOON) / HOURS)
        return self.seed.child("night", device, night).unit() < plan.hours[math.floor(hour) % HOURS]

    @cached_property
    def _chances(self) -> dict[Stage, float]:
        return {stage: float(getattr(self.faults.drop_out, stage)) for stage in Stage}

    @cached_property
    def _lossy(self) -> bool:
        return self.faults.latency is not None or any(self._chances.values())

    def _loss(self, device: int, number: int) -> Loss | None:
        rng = np.random.default_rng(self.seed.child("loss", device, number).integer())
        gone, slowness = rng.random(len(Stage)), rng.standard_normal(len(Stage)) + self._slowness(device)
        for place, (stage, chance) in enumerate(self._chances.items()):
            if gone[place] < chance:
                return Loss(stage, late=False)
            if self._is_late(float(slowness[place])):
                return Loss(stage, late=True)
        return None

    def _slowness(self, device: int) -> float:
        """Draw a device's standard normal slowness, the same in all rounds."""
        return float(np.random.default_rng(self.seed.child("slowness", device).integer()).standard_normal())

    def _is_late(self, slowness: float) -> bool:
        """Compare with the deadline a latency so far from its median: a sum of two standard normals."""
        median, spread = self.faults.latency, self.faults.latency_spread * math.sqrt(0.5)
        return median is not None and math.log(median) + spread * slowness > math.log(self.faults.deadline)
