"""A server that dies in a round, and devices that do not: no number is asked of them twice, and one round is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fl_server.training.begun import BegunFile
from fl_server.training.checkpoint import CheckpointError, CheckpointFile
from fl_server.training.coordinator import INTERRUPTED, Ended
from fl_server.training.transport import NodeId
from privacy.ledger.entries import Abandoned, Charged, Released
from privacy.ledger.ledger import Ledger
from privacy.secagg import Stage
from privacy.task.correlation import BandedToeplitz
from privacy.task.task import DeviceMechanism
from tests.support.bench import Bench
from tests.support.devices import ANY_TASK, Fleet, noiseless_task

START = np.zeros(8, np.float32)
ROUNDS = 20
CUT_OFF = 7


class Crash(BaseException):
    """Stands for the death of the server's process."""


def dies_in(bench: Bench, stage: Stage) -> None:
    def crash(at: str, node: NodeId) -> None:
        if at == stage and node == 3 and len(bench.watcher.reports) == CUT_OFF - 1:
            raise Crash

    with pytest.raises(Crash):
        bench.coordinator(crash).run(START)


@pytest.mark.parametrize("stage", Stage)
def test_all_rounds_but_the_one_that_was_cut_off_are_released(tmp_path: Path, stage: Stage) -> None:
    """Devices stay as they are, with all that they remember."""
    bench = Bench(tmp_path, Fleet(task=noiseless_task(rounds=ROUNDS)), simulated=False)
    dies_in(bench, stage)
    again = Bench(tmp_path, bench.fleet, simulated=False)
    result = again.coordinator().run(START)
    assert (result.ended, result.round) == (Ended.COMPLETE, ROUNDS)
    first, *others = again.watcher.reports
    assert (first.round, first.aborted, first.release) == (CUT_OFF, INTERRUPTED, None)
    assert [report.round for report in others] == [*range(CUT_OFF + 1, ROUNDS + 1)]
    assert all(report.release is not None for report in others)
    charged = stage is Stage.UNMASK
    assert again.count(Released) == ROUNDS - 1
    assert again.count(Charged) == ROUNDS - 1 + charged
    assert [body.reason for body in again.bodies() if isinstance(body, Abandoned)] == [INTERRUPTED] * charged
    log = again.log()
    assert [record.round for record in log] == [*range(1, ROUNDS + 1)]
    assert [(record.round, record.aborted) for record in log if record.aborted] == [(CUT_OFF, INTERRUPTED)]


@pytest.mark.parametrize("where", ["checkpoint", "ledger", "begun"])
def test_a_crash_between_a_rounds_end_and_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Before the checkpoint the round is lost; after it, or before anybody heard of the number, nothing is."""
    bench = Bench(tmp_path, Fleet(task=noiseless_task(rounds=3)), simulated=False)

    def crash(*_: object) -> None:
        raise Crash

    targets = {
        "checkpoint": (CheckpointFile, "save"),
        "ledger": (Ledger, "released"),
        "begun": (BegunFile, "save"),
    }
    monkeypatch.setattr(*targets[where], crash)
    with pytest.raises(Crash):
        bench.coordinator().run(START)
    monkeypatch.undo()
    again = Bench(tmp_path, bench.fleet, simulated=False)
    assert again.coordinator().run(START).ended is Ended.COMPLETE
    lost = where == "checkpoint"
    assert (again.count(Released), again.count(Charged), again.count(Abandoned)) == (3 - lost, 3, lost)


def test_two_crashes_in_a_row_lose_two_rounds(tmp_path: Path) -> None:
    fleet = Fleet(task=noiseless_task(rounds=ROUNDS))
    dies_in(Bench(tmp_path, fleet, simulated=False), Stage.INPUT)
    second = Bench(tmp_path, fleet, simulated=False)

    def crash(at: str, node: NodeId) -> None:
        if at == Stage.SHARE and node == 0:
            raise Crash

    with pytest.raises(Crash):
        second.coordinator(crash).run(START)
    third = Bench(tmp_path, fleet, simulated=False)
    third.coordinator().run(START)
    assert [record.round for record in third.log() if record.aborted] == [CUT_OFF, CUT_OFF + 1]
    assert third.count(Released) == ROUNDS - 2


def test_correlated_noise_goes_on_after_a_round_that_was_cut_off(tmp_path: Path) -> None:
    """Its memory is of all rounds before, whatever became of them."""
    mechanism = DeviceMechanism(
        clip=0.5, noise_multiplier=1.0, correlation=BandedToeplitz(coefficients=(1.0, 0.5, 0.3))
    )
    policy = ANY_TASK.model_copy(update={"accept_server_noise": True})
    fleet = Fleet(task=noiseless_task(rounds=ROUNDS, mechanism=mechanism), policy=policy)
    dies_in(Bench(tmp_path, fleet, simulated=False), Stage.UNMASK)
    again = Bench(tmp_path, fleet, simulated=False)
    assert again.coordinator().run(START).round == ROUNDS
    assert again.count(Released) == ROUNDS - 1


def test_an_older_checkpoint_than_devices_have_seen_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fleet(task=noiseless_task(rounds=3)), simulated=False)
    bench.coordinator().run(START)
    (tmp_path / "checkpoint").unlink()
    log = (tmp_path / "rounds.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="devices have seen round 3, got that of round 0"):
        Bench(tmp_path, bench.fleet, simulated=False).coordinator().run(START)
    assert (tmp_path / "rounds.jsonl").read_bytes() == log


def test_the_file_of_another_task_or_version_is_refused(tmp_path: Path) -> None:
    file = BegunFile(tmp_path / "begun.json", "ab" * 32)
    assert file.load() == 0
    file.save(3)
    assert file.load() == 3
    with pytest.raises(CheckpointError, match="belongs to task"):
        BegunFile(tmp_path / "begun.json", "cd" * 32).load()
    (tmp_path / "begun.json").write_text((tmp_path / "begun.json").read_text().replace('"version":1', '"version":2'))
    with pytest.raises(CheckpointError, match="version"):
        file.load()
