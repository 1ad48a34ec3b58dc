"""What earlier versions left of a run is read and verified, and encoding it again gives the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fl_server.ledger_store import SqliteLedgerStore
from fl_server.publishing.registry import open_release
from fl_server.training.checkpoint import RecordLog
from privacy.base.canonical import canonical_json
from privacy.base.signing import Signer
from privacy.ledger.entries import Entry
from privacy.ledger.ledger import Ledger, SignedHead
from privacy.ledger.merkle import Frontier, leaf_hash
from privacy.ledger.witness import Checkpoint
from privacy.release.files import pack_tensors
from privacy.report.model import EpsilonReport
from privacy.secagg.server.record import open_record, sign_record
from privacy.task.task import TaskSpec, open_task, sign_task
from privacy.verification.evidence import read_ledger
from privacy.verification.verify import verify_all
from simulations.federation.devices import Authorities
from simulations.randomness import SeedTree
from tests.support.golden import RUNS, VERSIONS, GoldenRun, named

SEEDS = {"secure": 1, "sharded": 2, "correlated": 3, "fleet": 4}

each_run = pytest.mark.parametrize("run", RUNS, ids=named)


def test_there_are_golden_files() -> None:
    assert VERSIONS
    assert len(RUNS) == len(VERSIONS) * len(SEEDS)


@pytest.mark.parametrize(
    "run",
    [pytest.param(run, marks=[pytest.mark.long] if run.path.name == "fleet" else []) for run in RUNS],
    ids=named,
)
def test_all_that_can_be_checked_of_it_holds(run: GoldenRun) -> None:
    checks = verify_all(run.evidence())
    assert not [check for check in checks if check.passed is False]
    passed = {check.name for check in checks if check.passed}
    assert {
        "ledger: signed, chained and whole",
        "report: all that follows from task, ledger and log, recomputed",
    } <= passed
    assert "release: signed by the operator, every file whole" in passed
    assert ("round log: complete and in order" in passed) == (run.path / "rounds.jsonl").exists()
    assert ("ledger: continues what a witness saw" in passed) == (run.path / "checkpoint.json").exists()


@each_run
def test_entries_and_heads_are_encoded_alike(run: GoldenRun) -> None:
    entries, heads, frontier = run.lines("entries.jsonl"), run.lines("heads.jsonl"), Frontier()
    operator = _operator(run)
    for entry, line in zip(entries, heads, strict=True):
        assert Entry.model_validate_json(entry).canonical() == entry
        frontier.append(leaf_hash(entry))
        assert SignedHead.of(frontier.size, frontier.root(), operator).canonical() == line


@each_run
def test_report_and_task_are_encoded_alike(run: GoldenRun) -> None:
    for name, kind in (("report.json", EpsilonReport), ("task.json", TaskSpec)):
        data = (run.release / name).read_bytes()
        assert kind.model_validate_json(data).canonical() == data
    signed = (run.path / "task.signed").read_bytes()
    task = open_task(signed, run.operator)
    assert task == run.task
    assert sign_task(task, _operator(run)) == signed


@each_run
def test_release_opens_and_packs_alike(run: GoldenRun) -> None:
    version = open_release(run.release, run.operator)
    assert pack_tensors(version.weights, version.task.model) == (run.release / "model.safetensors").read_bytes()
    assert canonical_json(dict(version.card)) == (run.release / "card.json").read_bytes()
    assert version.predicate["ledger"] == json.loads(run.lines("heads.jsonl")[-1])


@each_run
def test_round_records_are_signed_alike(run: GoldenRun) -> None:
    operator = _operator(run)
    for line in run.lines("rounds.jsonl"):
        assert sign_record(open_record(line, run.operator), operator) == line


@each_run
def test_a_log_goes_on_after_its_last_line(run: GoldenRun, tmp_path: Path) -> None:
    lines = run.lines("rounds.jsonl")
    if not lines:
        pytest.skip("a run without secure aggregation leaves no log")
    path = Path(shutil.copy(run.path / "rounds.jsonl", tmp_path))
    log = RecordLog(path, _operator(run))
    log.keep_to(len(lines) - 1)
    log.append(open_record(lines[-1], run.operator))
    assert path.read_bytes().splitlines() == lines


@pytest.mark.parametrize("run", [run for run in RUNS if (run.path / "ledger.db").exists()], ids=named)
def test_the_database_holds_the_lines_and_is_written_further(run: GoldenRun, tmp_path: Path) -> None:
    entries, heads = run.lines("entries.jsonl"), run.lines("heads.jsonl")
    assert read_ledger(run.path / "ledger.db") == (entries, heads)
    path = Path(shutil.copy(run.path / "ledger.db", tmp_path))
    task = run.task
    ledger = Ledger(SqliteLedgerStore(path), _operator(run), task.population, task.budget, lambda: 0)
    assert [*ledger.entries()] == entries
    ledger.declare_uncharged("evaluation", "golden files", "nobody's data")
    assert read_ledger(path)[0][:-1] == entries


@pytest.mark.parametrize("run", [run for run in RUNS if (run.path / "checkpoint.json").exists()], ids=named)
def test_a_witness_reads_its_checkpoint(run: GoldenRun) -> None:
    data = (run.path / "checkpoint.json").read_bytes()
    checkpoint = Checkpoint.model_validate_json(data)
    checkpoint.check(bytes.fromhex((run.path / "witness.pub").read_text()), run.operator)
    checkpoint.check_extended(run.lines("entries.jsonl"))
    assert checkpoint.canonical() == data


def _operator(run: GoldenRun) -> Signer:
    return Authorities(SeedTree.root(SEEDS[run.path.name])).operator
