"""Devices that break rounds: what they cost, and that later rounds do without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from typer.testing import CliRunner

from fl_server.cli import app
from fl_server.training.coordinator import Ended
from fl_server.training.exclusions import EXCLUSION_ROUNDS, Exclusions
from privacy.ledger.entries import Charged, Released
from privacy.secagg import Stage
from privacy.secagg.membership.params import parameters
from privacy.secagg.server.blame import Blame, Party
from privacy.secagg.server.record import RoundRecord
from privacy.task.task import BoundedParticipation, TaskSpec
from tests.support.bench import Bench
from tests.support.cheats import Cheating, corrupt, everybody, first
from tests.support.coordinator_rounds import START
from tests.support.devices import Fleet, noiseless_task
from tests.support.hostile import policy_for

SIZE, CHEAT = 20, 3
CORRUPT = 4


def task(rounds: int, corrupt_devices: int = CORRUPT) -> TaskSpec:
    """Of 20 devices so many may be corrupt, and 4 drop out."""
    policy = policy_for(SIZE, corrupt_devices, max_dropouts=4)
    participation = BoundedParticipation(cohort=SIZE, max_participations=100)
    return noiseless_task(aggregation=policy, participation=participation, rounds=rounds)


def bench_with(path: Path, cheats: dict[int, Cheating], rounds: int, corrupt_devices: int = CORRUPT) -> Bench:
    fleet = Fleet(SIZE, task(rounds, corrupt_devices))
    for device, cheating in cheats.items():
        corrupt(fleet.devices[device], cheating)
    return Bench(path, fleet)


def identity(bench: Bench, device: int = CHEAT) -> str:
    return bench.fleet.keys(device).identity.public.hex()


def invited(bench: Bench) -> list[set[int]]:
    """Whom each round invited."""
    return [set(requests) for stage, requests in bench.transport.sent if stage == Stage.ADVERTISE]


def ended(bench: Bench) -> list[RoundRecord]:
    return [record for record in bench.log() if record.aborted]


@pytest.mark.parametrize(
    ("cheating", "charged_in_vain"),
    [
        (Cheating(garbage=everybody), 0),
        (Cheating(off_polynomial=True), 1),
    ],
)
def test_a_run_of_twenty_rounds_with_one_bad_dealer_releases_nineteen(
    tmp_path: Path, cheating: Cheating, charged_in_vain: int
) -> None:
    bench = bench_with(tmp_path, {CHEAT: cheating}, rounds=20)
    assert bench.coordinator().run(START).ended is Ended.COMPLETE
    assert bench.count(Released) == 19
    assert bench.count(Charged) == 19 + charged_in_vain
    [record] = ended(bench)
    assert [culprit.identity for culprit in record.culprits] == [identity(bench)]
    assert identity(bench) in record.aborted
    assert invited(bench) == [set(range(SIZE))] + [set(range(SIZE)) - {CHEAT}] * 19


@pytest.mark.parametrize(
    ("cheating", "released", "charged", "excluded"),
    [
        (Cheating(garbage=first(CORRUPT)), 3, 3, False),
        (Cheating(garbage=everybody), 2, 2, True),
        (Cheating(garbage=first(13)), 2, 2, True),
        (Cheating(wrong_tags=first(CORRUPT)), 3, 3, False),
        (Cheating(wrong_tags=everybody), 2, 2, True),
        (Cheating(off_polynomial=True), 2, 3, True),
        (Cheating(complains=first(CORRUPT)), 3, 3, False),
        (Cheating(complains=everybody), 3, 3, True),
        (Cheating(withholds=first(1)), 3, 3, True),
        (Cheating(withholds_own=True), 3, 3, True),
        (Cheating(garbage=first(CORRUPT), withholds=everybody, withholds_own=True), 3, 3, True),
    ],
)  # fmt: skip
def test_what_one_cheat_costs(
    tmp_path: Path, cheating: Cheating, released: int, charged: int, *, excluded: bool
) -> None:
    bench = bench_with(tmp_path, {CHEAT: cheating}, rounds=3)
    bench.coordinator().run(START)
    assert (bench.count(Released), bench.count(Charged)) == (released, charged)
    named = {culprit.identity for record in bench.log() for culprit in record.culprits}
    assert named == ({identity(bench)} if excluded else set())
    assert [CHEAT in devices for devices in invited(bench)] == [True, not excluded, not excluded]


def test_several_cheats_at_once_are_all_found_and_left_out(tmp_path: Path) -> None:
    cheats = {3: Cheating(garbage=everybody), 7: Cheating(garbage=everybody), 12: Cheating(off_polynomial=True)}
    bench = bench_with(tmp_path, cheats, rounds=5)
    assert bench.coordinator().run(START).ended is Ended.COMPLETE
    assert (bench.count(Released), bench.count(Charged)) == (3, 4)
    assert [len(devices) for devices in invited(bench)] == [20, 18, 17, 17, 17]


def test_more_bad_dealers_than_may_be_corrupt_do_not_make_liars_of_their_holders(tmp_path: Path) -> None:
    """What is promised of faults does not hold here; the numbers still speak for themselves."""
    bench = bench_with(tmp_path, dict.fromkeys(range(6), Cheating(garbage=everybody)), rounds=2)
    bench.coordinator().run(START)
    assert {culprit.identity for culprit in bench.log()[0].culprits} == {identity(bench, cheat) for cheat in range(6)}


def test_an_exclusion_survives_a_restart(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, {CHEAT: Cheating(garbage=everybody)}, rounds=3)
    stops = iter([False, True])
    assert bench.coordinator().run(START, lambda: next(stops)).ended is Ended.STOPPED
    again = Bench(tmp_path, bench.fleet)
    assert again.coordinator().run(START).ended is Ended.COMPLETE
    assert invited(again) == [set(range(SIZE)) - {CHEAT}] * 2
    assert again.count(Released) == 2


def test_the_identity_is_left_out_also_where_it_comes_back_as_another_node(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, {CHEAT: Cheating(garbage=everybody)}, rounds=2)
    devices = bench.fleet.devices
    stops = iter([False, True])
    bench.coordinator().run(START, lambda: next(stops))
    devices[CHEAT], devices[CHEAT + 1] = devices[CHEAT + 1], devices[CHEAT]
    again = Bench(tmp_path, bench.fleet)
    again.coordinator().run(START)
    [lost] = [record.lost for record in again.log()[1:]]
    assert lost == {"advertise: left out for what it did in an earlier round": 1}
    assert again.count(Released) == 1


def test_a_dealer_that_serves_as_many_badly_as_may_be_corrupt_and_so_ends_a_round(tmp_path: Path) -> None:
    """Nine of twenty may be corrupt: nine complaints show nothing, but without those nine its secret is lost."""
    bench = bench_with(tmp_path, {CHEAT: Cheating(garbage=first(9))}, rounds=4, corrupt_devices=9)
    roster = sorted(range(SIZE), key=lambda device: bench.fleet.keys(device).identity.public)
    lost = next(device for device in reversed(roster) if device != CHEAT)

    def lose(stage: str, node: int) -> None:
        if (stage, node) == (Stage.INPUT, lost):
            raise ConnectionError("gone")

    bench.coordinator(fault=lose).run(START)
    assert (bench.count(Released), bench.count(Charged)) == (3, 3)
    [record] = ended(bench)
    assert record.culprits == ()
    assert len(record.complaints) == 9
    threshold = parameters(SIZE, bench.fleet.task.aggregation).threshold
    assert record.aborted == f"input: expected {threshold} usable shares of each secret, got 9 of one"
    assert invited(bench) == [set(range(SIZE))] + [set(range(SIZE)) - {CHEAT}] * 3


def test_rounds_ended_by_devices_that_are_then_left_out_do_not_end_the_run(tmp_path: Path) -> None:
    """Seven in a row, by one cheat each."""
    bench = bench_with(tmp_path, {}, rounds=9)

    def next_cheat(stage: str, node: int) -> None:
        rounds_before = sum(sent == Stage.ADVERTISE for sent, _ in bench.transport.sent) - 1
        if stage == Stage.ADVERTISE and node == rounds_before < 7:
            corrupt(bench.fleet.devices[node], Cheating(garbage=everybody))

    assert bench.coordinator(fault=next_cheat).run(START).ended is Ended.COMPLETE
    assert bench.count(Released) == 2


def quarrel(number: int, holders: range, dealer: int) -> tuple[int, Blame]:
    def party(device: int) -> Party:
        return Party(device, bytes([device]) * 32)

    return number, Blame(quarrels=tuple((party(holder), party(dealer)) for holder in holders))


def test_liars_that_frame_one_honest_dealer_after_the_other_are_left_out_in_the_end() -> None:
    """Ten of them: never more than ten honest devices are out, and in the end none."""
    exclusions, liars = Exclusions(), range(10)
    for number, dealer in enumerate(range(100, 111), 1):
        exclusions = exclusions.after(*quarrel(number, liars, dealer))
        assert len(exclusions.nodes) == min(number, 10)
    assert exclusions.nodes == set(liars)


@given(number=st.integers(1, 10_000), holders=st.integers(1, 5))
def test_exclusions_end(number: int, holders: int) -> None:
    exclusions = Exclusions().after(*quarrel(number, range(holders), 100))
    assert exclusions.nodes
    last = exclusions.after(number + EXCLUSION_ROUNDS - 1, Blame())
    assert last.nodes == exclusions.nodes
    assert last.after(number + EXCLUSION_ROUNDS, Blame()) == Exclusions()


def test_culprits_are_listed_for_the_operator(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, {CHEAT: Cheating(garbage=everybody)}, rounds=1)
    bench.coordinator().run(START)
    (tmp_path / "operator.key").write_bytes(bench.fleet.seed.child("operator").key())
    listed = CliRunner().invoke(app, ["culprits", str(tmp_path)])
    assert listed.exit_code == 0
    [line] = listed.stdout.splitlines()
    assert line.startswith(f"{identity(bench)} round 1 input: dealt: more than {CORRUPT} holders cannot use")


def test_a_log_that_somebody_else_signed_is_not_listed(tmp_path: Path) -> None:
    bench = bench_with(tmp_path, {}, rounds=1)
    bench.coordinator().run(START)
    (tmp_path / "operator.key").write_bytes(bytes(32))
    assert CliRunner().invoke(app, ["culprits", str(tmp_path)]).exit_code == 2
