"""Rounds of sampled cohorts wait for devices: nobody is asked, nothing is charged, and no round is used up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from fl_server.training.checkpoint import Checkpoint
from fl_server.training.coordinator import MAX_WAITS, CoordinatorError, Ended
from fl_server.training.round import Round, SecureRounds
from fl_server.training.transport import NodeId
from privacy.ledger.entries import Charged
from privacy.task.task import AggregationPolicy, DeviceMechanism, PoissonParticipation
from strategies.fedavg import ModelState
from tests.support.bench import Bench, FaultyTransport
from tests.support.devices import Fleet, noiseless_task

START = np.zeros(8, np.float32)
TASK = noiseless_task(
    mechanism=DeviceMechanism(clip=0.6, noise_multiplier=1.0),
    participation=PoissonParticipation(population=200, sampling_rate=0.2),
    aggregation=AggregationPolicy(corrupt_fraction=0.0, max_dropouts=0, min_survivors=10, modulus_bits=32),
)
TOO_FEW = r"expected at least 9\d devices within reach, got 56"


class Begun(Exception):
    """A cohort was drawn, in a round of this number."""


@dataclass
class Tide:
    """Rounds that have as many devices within reach as the moment says, and end with the first draw."""

    within_reach: Callable[[int], int]
    moments: list[int] = field(default_factory=list)
    waits: int = 0

    def nodes(self, moment: int) -> Sequence[NodeId]:
        self.moments.append(moment)
        return range(self.within_reach(moment))

    def wait(self) -> None:
        self.waits += 1

    def unheld(self, *_: object, **__: object) -> None:
        raise AssertionError("a round was cut off")

    def begin(self, number: int, state: ModelState, cohort: Sequence[NodeId], excluded: frozenset[bytes]) -> Round:  # noqa: ARG002
        raise Begun(number)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, Fleet(task=TASK))


def test_a_round_waits_until_enough_devices_are_within_reach(bench: Bench) -> None:
    tide = Tide(lambda moment: 56 if moment < 4 else 150)
    with pytest.raises(Begun, match="1"):
        bench.coordinator(rounds=tide).run(START)
    assert (tide.moments, tide.waits) == ([1, 2, 3, 4], 3)
    assert [number for number, _ in bench.watcher.waits] == [1, 1, 1]
    assert not bench.watcher.reports
    assert bench.count(Charged) == 0
    assert bench.checkpoints.load() is None


def test_time_goes_on_from_the_waits_before_the_last_round(bench: Bench) -> None:
    bench.checkpoints.save(Checkpoint(2, ModelState.start(START, 0.6), waited=7))
    tide = Tide(lambda _: 150)
    with pytest.raises(Begun, match="3"):
        bench.coordinator(rounds=tide).run(START)
    assert tide.moments == [10]


def test_it_gives_up_one_day_and_the_round_is_still_to_come(bench: Bench) -> None:
    tide = Tide(lambda _: 56)
    with pytest.raises(CoordinatorError, match=rf"round 1 was put off {MAX_WAITS} times; the last time: .*{TOO_FEW}"):
        bench.coordinator(rounds=tide).run(START)
    assert tide.waits == MAX_WAITS
    assert bench.checkpoints.load() is None
    assert bench.count(Charged) == 0


def test_it_can_be_stopped_while_it_waits(bench: Bench) -> None:
    tide = Tide(lambda _: 56)
    result = bench.coordinator(rounds=tide).run(START, lambda: tide.waits == 2)
    assert (result.ended, result.round) == (Ended.STOPPED, 0)


def test_a_server_waits_for_as_long_as_a_stage_may_take(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("fl_server.training.round.time.sleep", slept.append)
    authority = bench.fleet.round_authority
    SecureRounds(TASK, lambda: authority, FaultyTransport(bench.fleet), lambda: 0, stage_timeout=7.0).wait()
    assert slept == [7.0]
