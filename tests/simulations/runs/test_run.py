"""The main job through all its rooms, small."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from fl_server.ledger_store import SqliteLedgerStore
from fl_server.publishing.registry import open_release
from privacy.accounting.accountant import spend
from privacy.ledger.entries import Charged, Released
from privacy.ledger.ledger import SignedHead, verify
from privacy.ledger.merkle import leaf_hash
from privacy.task.correlation import squared_sensitivity
from privacy.verification.record_check import Evidence, check_log
from simulations.config.config import ConfigError, load_config
from simulations.data.errors import DataError
from simulations.federation.devices import Authorities
from simulations.outdir import OutputDirectoryError
from simulations.randomness import SeedTree
from simulations.runs.run import RunError, prepare, resume, start
from simulations.runs.rundir import RunDirectory
from tests.support.paths import ROOT
from tests.support.runs import ledger_digest, model_bytes, small_config

OPERATOR = Authorities(SeedTree.root(11)).operator


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One complete run, with message-level noise really on."""
    base = tmp_path_factory.mktemp("finished")
    config = load_config(small_config(base), {"training.message_noise": 1.0})
    outcome = start(config, base / "run", force=False, workers=1)
    assert outcome.summary is not None
    return base / "run", outcome.summary


def test_run_directory_holds_everything(finished: tuple[Path, dict[str, Any]]) -> None:
    run, summary = finished
    expected = [
        "config.toml",
        "metrics.jsonl",
        "summary.json",
        "report.json",
        "report.html",
        "curves.png",
        "ledger.db",
        "run.log",
        "rounds.jsonl",
    ]
    assert set(expected) <= {path.name for path in run.iterdir()}
    assert json.loads((run / "summary.json").read_text()) == summary
    for key in ["macro_f1", "auroc", "pr_auc", "recall_at_fpr_1pct"]:
        assert 0 <= summary[key] <= 1
        assert key in summary["novel"]
    for key in ["device_epsilon", "message_epsilon", "delta", "rounds", "cohort", "devices", "seconds", "versions"]:
        assert summary[key] is not None
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "<script" not in (run / "report.html").read_text()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3, 4]


def test_ledger_release_and_report_agree(finished: tuple[Path, dict[str, Any]]) -> None:
    run, summary = finished
    with SqliteLedgerStore(run / "ledger.db").transaction() as transaction:
        raw, head = transaction.entries(0), SignedHead.model_validate_json(transaction.head() or b"")
    bodies = [entry.body for entry in verify(raw, head, OPERATOR.public)]
    assert sum(isinstance(body, Charged) for body in bodies) == 4
    released = [body for body in bodies if isinstance(body, Released)]
    version = open_release(run / "release" / "stable", OPERATOR.public)
    assert version.predicate["ledger"]["root"] == head.root
    assert released[-1].model_digest == hashlib.sha256(version.weights.tobytes()).hexdigest()
    report = json.loads((version.path / "report.json").read_text())
    assert float(report["claim"]["epsilon"]) == summary["device_epsilon"]
    assert report["hypothetical"] is True


def test_the_log_of_rounds_stands_up_to_a_reviewer(finished: tuple[Path, dict[str, Any]]) -> None:
    run, _ = finished
    lines = (run / "rounds.jsonl").read_bytes().splitlines()
    task = prepare(load_config(run / "config.toml", {})).task
    with SqliteLedgerStore(run / "ledger.db").transaction() as transaction:
        raw, head = transaction.entries(0), SignedHead.model_validate_json(transaction.head() or b"")
    entries = verify(raw, head, OPERATOR.public)
    hashes = [leaf_hash(entry).hex() for entry in raw]
    bodies = [entry.body for entry in entries]
    charges = {at: body.charge for at, body in zip(hashes, bodies, strict=True) if isinstance(body, Charged)}
    released = {body.charge_hash: body.model_digest for body in bodies if isinstance(body, Released)}
    ended = range(1, len(lines) + 1)
    events = [[charge.event for charge in charges.values() if charge.round <= number] for number in ended]
    spent = {number: spend(charged, task.budget.delta).epsilon for number, charged in zip(ended, events, strict=True)}
    authority = Authorities(SeedTree.root(11)).authority.public
    evidence = Evidence(task, OPERATOR.public, authority, charges, released, spent)
    assert [check.name for check in check_log(lines, evidence) if not check.passed] == [
        "round log: who was invited, refused and lost, and why"
    ]
    forged = check_log([lines[0], *lines[2:]], evidence)
    assert any(check.passed is False for check in forged)


def test_same_seed_same_result_whatever_the_workers(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, _ = finished
    config = load_config(small_config(tmp_path), {"training.message_noise": 1.0})
    start(config, tmp_path / "again", force=False, workers=2)
    assert model_bytes(tmp_path / "again") == model_bytes(run)
    assert ledger_digest(tmp_path / "again") == ledger_digest(run)
    assert [json.loads(line)["record"]["shards"] for line in (tmp_path / "again" / "rounds.jsonl").open()] == [
        json.loads(line)["record"]["shards"] for line in (run / "rounds.jsonl").open()
    ]


@pytest.mark.long
def test_another_seed_another_result(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path), {"training.message_noise": 1.0, "seed": 12})
    start(config, tmp_path / "other", force=False, workers=1)
    assert model_bytes(tmp_path / "other") != model_bytes(finished[0])


@pytest.mark.long
def test_killed_at_any_moment_and_resumed_ends_the_same(tmp_path: Path) -> None:
    """kill -9 again and again, at random moments; in the end, model and ledger are those of a run in peace."""
    config = small_config(tmp_path, rounds=5)
    start(load_config(config, {}), tmp_path / "peace", force=False, workers=1)
    arguments = ["--config", str(config), "--out", str(tmp_path / "war")]
    moments = np.random.default_rng(5).uniform(0, 1.0, 3)
    for moment in moments:
        log = tmp_path / "war" / "run.log"
        written = log.stat().st_size if log.exists() else 0
        process = _fl_sim(*arguments, "--workers", "1")
        _await(process, log, written)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "war" / "config.toml").exists():
            arguments = ["--resume", str(tmp_path / "war")]
    assert _fl_sim(*arguments, "--workers", "1").wait() == 0
    assert model_bytes(tmp_path / "war") == model_bytes(tmp_path / "peace")
    assert ledger_digest(tmp_path / "war") == ledger_digest(tmp_path / "peace")
    assert (tmp_path / "war" / "rounds.jsonl").read_bytes() == (tmp_path / "peace" / "rounds.jsonl").read_bytes()
    rounds = [json.loads(line)["round"] for line in (tmp_path / "war" / "metrics.jsonl").read_text().splitlines()]
    assert rounds == [1, 2, 3, 4, 5]


def test_ctrl_c_stops_after_the_round_and_can_be_resumed(tmp_path: Path) -> None:
    config = small_config(tmp_path, rounds=40)
    process = _fl_sim("--config", str(config), "--out", str(tmp_path / "run"), "--workers", "1")
    _await(process, tmp_path / "run" / "metrics.jsonl")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    done = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert 1 <= done < 40
    assert not (tmp_path / "run" / "summary.json").exists()
    assert "--resume" in (process.stderr.read() if process.stderr else "")


@pytest.mark.long
def test_bounded_participation_charges_the_worst_device(tmp_path: Path) -> None:
    config = load_config(
        small_config(tmp_path, rounds=6),
        {"privacy.participation": "bounded", "privacy.max_participations": 2, "server.cohort": 10},
    )
    outcome = start(config, tmp_path / "run", force=False, workers=1)
    assert outcome.summary is not None
    # Two Gaussians of noise multiplier 1: mu = sqrt(2), whatever the rounds; 6.07 at delta 1e-3 by Balle and Wang.
    assert outcome.summary["device_epsilon"] == pytest.approx(_exact_gaussian(np.sqrt(2), 1e-3), rel=1e-4)


@pytest.mark.long
def test_a_sharded_cohort_reports_its_statistics(tmp_path: Path) -> None:
    """Without noise they are exact: no two rounds draw the same devices, so neither do the counts agree."""
    extra = 'shards = 2\nstatistics = ["examples", "loss", "correct"]\n'
    overrides = {"privacy.noise_multiplier": 0.0, "server.modulus_bits": 32}
    config = load_config(small_config(tmp_path, rounds=2, extra=extra), overrides)
    outcome = start(config, tmp_path / "run", force=False, workers=2)
    assert outcome.summary is not None
    for line in [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]:
        statistics = line["statistics"]
        assert statistics["examples"] == pytest.approx(round(statistics["examples"]), abs=0.02)
        assert 0 <= statistics["correct"] <= statistics["examples"] + 0.02
        if line["round"] == 1:  # of the untrained model, which says 1/2 to everything
            assert statistics["loss"] == pytest.approx(statistics["examples"] * np.log(2), rel=1e-3)
    records = [json.loads(line)["record"] for line in (tmp_path / "run" / "rounds.jsonl").open()]
    assert [len(record["shards"]) for record in records] == [2, 2]


def _exact_gaussian(mu: float, delta: float) -> float:
    from scipy.optimize import brentq  # noqa: PLC0415
    from scipy.stats import norm  # noqa: PLC0415

    def curve(epsilon: float) -> float:
        return norm.cdf(mu / 2 - epsilon / mu) - np.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu) - delta

    return float(brentq(curve, 0, 100))


@pytest.mark.long
def test_full_disk_keeps_the_last_complete_round(tmp_path: Path) -> None:
    """A file size limit stands in for the disk: the log fills it, the run fails, and goes on once there is room."""
    config = small_config(tmp_path, rounds=5)
    process = _fl_sim("--config", str(config), "--out", str(tmp_path / "run"), "--workers", "1", limit=40_000)
    assert process.wait(timeout=120) == 1
    assert "--resume" in (process.stderr.read() if process.stderr else "")
    outcome = resume(tmp_path / "run", workers=1)
    assert outcome.summary is not None
    start(load_config(config, {}), tmp_path / "peace", force=False, workers=1)
    assert model_bytes(tmp_path / "run") == model_bytes(tmp_path / "peace")


def test_existing_directories(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, _ = finished
    config = load_config(small_config(tmp_path), {})
    with pytest.raises(OutputDirectoryError, match="go on with `--resume"):
        RunDirectory.create(run, config, force=False)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("x")
    with pytest.raises(OutputDirectoryError, match="was not made by fl-sim"):
        RunDirectory.create(precious, config, force=True)
    assert (precious / "thesis.tex").exists()


def test_two_processes_do_not_share_a_directory(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path / "run", load_config(small_config(tmp_path), {}), force=False)
    with directory.locked(), pytest.raises(OutputDirectoryError, match="another process"), directory.locked():
        pass


def test_changed_data_are_not_resumed(tmp_path: Path) -> None:
    data = tmp_path / "chat.csv"
    rows = [f"user{i % 30},message number {i},{i % 3 == 0:d}" for i in range(200)]
    data.write_text("\n".join(["user,text,label", *rows]))
    overrides = {"data.path": str(data), "data.user_column": "user", "server.cohort": 10, "server.rounds": 1}
    start(load_config(small_config(tmp_path), overrides), tmp_path / "run", force=False, workers=1)
    data.write_text("\n".join(["user,text,label", *rows[:-1]]))
    with pytest.raises(DataError, match=r"chat.csv has changed since the run began \(sha256 .* begin another run"):
        resume(tmp_path / "run", workers=1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"server.cohort": 41, "server.min_survivors": 5},
            "--cohort: expected at most the population's 40 devices, got 41",
        ),
        (
            {"privacy.epsilon": 8.0, "server.min_survivors": 20},
            "server.min_survivors: expected far fewer than the 20 devices that are drawn for a shard, got 20",
        ),
    ],
)
def test_what_cannot_be_planned(tmp_path: Path, overrides: dict[str, Any], message: str) -> None:
    path = small_config(tmp_path)
    path.write_text(path.read_text().replace("noise_multiplier = 1.0\n", ""))
    with pytest.raises(ConfigError, match=message):
        prepare(load_config(path, overrides))


def _fl_sim(*arguments: str, limit: int | None = None) -> subprocess.Popen[str]:
    """The command; with `limit`, no file of its may grow beyond that many bytes."""
    program = "import resource, signal, sys; from simulations.cli import app;"
    if limit:
        program += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        program += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
    return subprocess.Popen(
        [sys.executable, "-c", program + "app()", "run", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def _await(process: subprocess.Popen[str], path: Path, written: int = 0) -> None:
    """Until the file has grown beyond `written` bytes."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size > written) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_runs_on_one_population_share_a_ledger_and_its_budget(tmp_path: Path) -> None:
    """A tuning run is composed with what follows it, named in its report, and leaves it less to spend."""
    shared = {"privacy.ledger": str(tmp_path / "shared.db"), "privacy.epsilon": 3.5}
    tuning = load_config(small_config(tmp_path, rounds=1), {**shared, "purpose": "tuning"})
    training = load_config(small_config(tmp_path, rounds=2), {**shared, "server.learning_rate": 10.0})
    start(tuning, tmp_path / "first", force=False, workers=1)
    outcome = start(training, tmp_path / "second", force=False, workers=1)
    assert outcome.summary is not None
    report = json.loads((tmp_path / "second" / "report.json").read_text())
    assert report["composition"]["tasks"] == 2
    assert report["composition"]["purposes"] == [
        {"charges": 1, "purpose": "training"},
        {"charges": 1, "purpose": "tuning"},
    ]
    assert outcome.summary["ended"] == "budget exhausted"
    assert not (tmp_path / "second" / "ledger.db").exists()


NEARLY_ALL_LOST = {"faults.drop_out.input": 0.99, "privacy.participation": "bounded"}


def test_a_run_that_released_nothing_publishes_nothing(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, rounds=3), NEARLY_ALL_LOST)
    with pytest.raises(RunError, match=r"no round released anything in 3 rounds .*complete.*nothing is published"):
        start(config, tmp_path / "run", force=False, workers=1)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"ledger.db", "run.log", "metrics.jsonl"} <= left
    assert not left & {"release", "summary.json", "report.html"}


def test_the_clip_adapts_and_is_kept(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, rounds=4), {"privacy.clip": 5.0, "privacy.clip_quantile": 0.5})
    assert start(config, tmp_path / "run", force=False, workers=1).summary is not None
    with safe_open(tmp_path / "run" / "checkpoint.safetensors", framework="numpy") as file:
        clip = json.loads(file.metadata()["havenfl"])["clip"]
    assert 0 < clip < 5.0
    assert json.loads((tmp_path / "run" / "report.json").read_text())["mechanism"]["clip_adapts"] is True


def test_correlated_noise_end_to_end(tmp_path: Path) -> None:
    changes = {
        "privacy.noise": "correlated",
        "privacy.participation": "bounded",
        "privacy.max_participations": 2,
        "privacy.min_separation": 2,
        "server.cohort": 15,
    }
    config = load_config(small_config(tmp_path, rounds=4), changes)
    outcome = start(config, tmp_path / "run", force=False, workers=1)
    assert outcome.summary is not None
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    task = prepare(config).task
    assert task.mechanism.correlation is not None
    squared = squared_sensitivity(task.mechanism.correlation, 4, 2, 2)
    assert float(report["spend"]["device"]["mu"]) == pytest.approx(squared**0.5)
    assert report["participation"]["rounds_released"] == 4
    assert "nobody who sees into the server" in report["claim"]["holds_against"]
