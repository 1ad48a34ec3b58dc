"""Whatever happens to a federation, in whatever order: sums are exact, paid for, on record and within every limit."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from privacy.secagg import Stage
from privacy.task.task import Budget
from tests.support.operations import Fault, Faults, World, overhearing

MOST_DEVICES = 8
UNLIMITED, LIMITED = Budget(delta=1e-5), Budget(epsilon=6.0, delta=1e-5)

places = st.integers(0, MOST_DEVICES - 1)
faults = st.dictionaries(st.tuples(st.sampled_from(Stage), places), st.sampled_from(Fault), max_size=3)
alike = st.builds(
    lambda stage, fault, hit: {(stage, place): fault for place in hit},
    st.sampled_from(Stage),
    st.sampled_from(Fault),
    st.sets(places, min_size=1, max_size=4),
)


class Federation(RuleBasedStateMachine):
    """Operations on a world; its examples are lists of them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.world: World
        self.stack = ExitStack()

    def teardown(self) -> None:
        self.stack.close()
        shutil.rmtree(self.directory)

    @initialize(devices=st.integers(4, 7), budget=st.sampled_from([UNLIMITED, LIMITED]), lifetime=st.integers(3, 30))
    def found(self, devices: int, budget: Budget, lifetime: int) -> None:
        self.world = World(self.directory, budget, lifetime)
        self.stack.enter_context(overhearing(self.world))
        for _ in range(devices):
            self.world.join()
        self.world.new_task(cohort=devices, most=10, separation=1)

    @precondition(lambda self: len(self.world.members) < MOST_DEVICES)
    @rule()
    def join(self) -> None:
        self.world.join()

    @precondition(lambda self: len(self.world.trainings) < 3)
    @rule(cohort=st.integers(3, MOST_DEVICES), most=st.integers(1, 10), separation=st.integers(1, 2))
    def new_task(self, cohort: int, most: int, separation: int) -> None:
        self.world.new_task(cohort, most, separation)

    @precondition(lambda self: len(self.world.revoked) < len(self.world.members) / 2)
    @rule(device=places)
    def revoke(self, device: int) -> None:
        self.world.revoke(device % len(self.world.members))

    @rule(device=places)
    def crash(self, device: int) -> None:
        self.world.restart_device(device % len(self.world.members))

    @rule()
    def restart_server(self) -> None:
        self.world.restart_server()

    @rule(task=places)
    def round(self, task: int) -> None:
        self.world.run_round(task % len(self.world.trainings), {})

    @rule(task=places, rounds=st.lists(alike | faults, min_size=1, max_size=4))
    def rounds_with_faults(self, task: int, rounds: list[Faults]) -> None:
        for faults in rounds:
            self.world.run_round(task % len(self.world.trainings), faults)

    @rule(task=places, faults=alike | faults, dies=st.tuples(st.sampled_from(Stage), st.booleans()))
    def round_that_kills_the_server(self, task: int, faults: Faults, dies: tuple[Stage, bool]) -> None:
        self.world.run_round(task % len(self.world.trainings), faults, dies)

    @invariant()
    def all_holds(self) -> None:
        self.world.check()


@pytest.mark.parametrize("stage", Stage)
def test_every_fault_at_every_stage(tmp_path: Path, stage: Stage) -> None:
    world = _world(tmp_path)
    with overhearing(world):
        for fault in Fault:
            world.run_round(0, {(stage, 1): fault, (stage, 4): fault})
            world.check()


@pytest.mark.parametrize("stage", Stage)
def test_a_server_that_dies_at_every_stage(tmp_path: Path, stage: Stage) -> None:
    """Devices answer no round twice, so the first one after a death may come to nothing; the one after that
    is whole."""
    world = _world(tmp_path)
    with overhearing(world):
        for at_its_end in (False, True):
            world.run_round(0, {}, (stage, at_its_end))
            world.check()
            world.run_round(0, {})
            world.run_round(0, {})
            world.check()
            assert world.attempt is not None
            assert world.attempt.in_time == set(world.members)


@pytest.mark.timeout(900)
def test_operations_in_any_order() -> None:
    run_state_machine_as_test(Federation, settings=settings(max_examples=12, stateful_step_count=16))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_more_operations_in_any_order() -> None:
    run_state_machine_as_test(Federation, settings=settings(max_examples=300, stateful_step_count=30))


def _world(directory: Path) -> World:
    world = World(directory, UNLIMITED, lifetime=20)
    for _ in range(6):
        world.join()
    world.new_task(cohort=6, most=20, separation=1)
    return world
