"""Whatever happens to a federation, in whatever order: sums are exact, paid for, on record and within every limit."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest import mock

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

from privacy.mechanism.mechanism import Mechanism
from privacy.secagg import Stage
from privacy.task.states import Encoded
from privacy.task.task import Budget
from tests.support.operations import Fault, World

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
        encode = Mechanism.encode

        def overheard(*given: object, **named: object) -> Encoded:
            encoded = encode(*given, **named)  # type: ignore[arg-type]
            self.world.overhear(encoded)
            return encoded

        self.patch = mock.patch.object(Mechanism, "encode", overheard)
        self.patch.start()

    def teardown(self) -> None:
        self.patch.stop()
        shutil.rmtree(self.directory)

    @initialize(devices=st.integers(4, 7), budget=st.sampled_from([UNLIMITED, LIMITED]), lifetime=st.integers(3, 30))
    def found(self, devices: int, budget: Budget, lifetime: int) -> None:
        self.world = World(self.directory, budget, lifetime)
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

    @rule(task=places, faults=alike | faults)
    def round_with_faults(self, task: int, faults: dict[tuple[Stage, int], Fault]) -> None:
        self.world.run_round(task % len(self.world.trainings), faults)

    @rule(task=places, faults=alike | faults, dies=st.tuples(st.sampled_from(Stage), st.booleans()))
    def round_that_kills_the_server(
        self, task: int, faults: dict[tuple[Stage, int], Fault], dies: tuple[Stage, bool]
    ) -> None:
        self.world.run_round(task % len(self.world.trainings), faults, dies)

    @invariant()
    def all_holds(self) -> None:
        self.world.check()


def test_operations_in_any_order() -> None:
    run_state_machine_as_test(Federation, settings=settings(max_examples=25, stateful_step_count=20))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_more_operations_in_any_order() -> None:
    run_state_machine_as_test(Federation, settings=settings(max_examples=300, stateful_step_count=30))
