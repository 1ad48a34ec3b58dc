"""A trusted aggregator: the sums of the protocol without its many roundings, and all noise drawn at once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from fl_server.publishing.registry import open_release
from privacy.cli.app import app as privacy_cli
from privacy.mechanism.mechanism import Mechanism, padded_variance
from privacy.report.build import EpsilonReport, render_html
from privacy.report.registry_entry import NoDeployment, registry_entry
from privacy.secagg.membership.identity import DevicePolicy, PolicyError
from privacy.task.task import BoundedParticipation, SimulationOnly
from simulations.config.config import load_config
from simulations.federation.central import finish
from simulations.randomness import SeedTree
from simulations.runs.artifacts import curves
from simulations.runs.run import start
from simulations.runs.rundir import RunDirectory
from simulations.terminal.console import describe
from simulations.training.engines import Engine, Participant, choose
from simulations.training.engines.base import Scale
from simulations.training.engines.sequential import SequentialEngine
from simulations.training.engines.stacked import StackedEngine
from tests.support.reading import METHODS, SHIPPED, readers, reading_task
from tests.support.runs import model_bytes, small_config
from tests.support.tasks import make_task

SEED = SeedTree.root(5)
STEPS = 2.0**40


def trained(path: Path, aggregation: str, workers: int = 1, **more: object) -> Path:
    path.mkdir()
    overrides = {"server.aggregation": aggregation, **more}
    start(load_config(small_config(path, rounds=3), overrides), path / "run", force=False, workers=workers)
    return path / "run"


NO_NOISE = {"privacy.noise_multiplier": 0.0, "server.statistics": ("examples", "correct")}
SERVERS_NOISE = {
    "privacy.noise": "correlated",
    "privacy.participation": "bounded",
    "privacy.max_participations": 2,
    "privacy.min_separation": 2,
    "server.cohort": 15,
}


@pytest.mark.parametrize("more", [NO_NOISE, SERVERS_NOISE])
def test_where_devices_add_no_noise_it_is_the_model_of_the_protocol_but_for_rounding(
    tmp_path: Path, more: dict[str, object]
) -> None:
    runs = [trained(tmp_path / name, name, **more, **{"server.modulus_bits": 32}) for name in ("ideal", "central")]
    ideal, central = (load_file(run / "release" / "stable" / "model.safetensors")["buckets.weight"] for run in runs)
    assert np.linalg.norm(central - ideal) < 1e-4 * np.linalg.norm(ideal)
    told, other = (json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["statistics"] for run in runs)
    assert other == pytest.approx(told, rel=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("more", [{}, {"privacy.clip_quantile": 0.5}])
def test_the_model_does_not_depend_on_who_added_what(tmp_path: Path, more: dict[str, object]) -> None:
    runs = [trained(tmp_path / str(workers), "central", workers, **more) for workers in (1, 2, 3)]
    assert len({model_bytes(run) for run in runs}) == 1


def test_every_output_says_whom_it_trusts(tmp_path: Path) -> None:
    run = trained(tmp_path / "central", "central")
    summary = json.loads((run / "summary.json").read_bytes())
    assert summary["aggregation"] == "central"
    assert "TRUSTED AGGREGATOR" in describe(summary, run)
    assert "a trusted aggregator stood in for secure aggregation" in (run / "run.log").read_text()
    version = open_release(run / "release" / "stable")
    assert version.task.simulation.trusted_aggregator
    assert (version.card["trusted_aggregator"], version.card["hypothetical"]) == (True, True)
    assert "trusted aggregator" in curves(RunDirectory(run).metrics(), version.task).get_suptitle()
    report = EpsilonReport.model_validate_json((run / "report.json").read_bytes())
    assert report.claim.trust[0].party == "Aggregator"
    assert "nobody who sees into the aggregator" in report.claim.holds_against
    assert "trusted aggregator" in report.mechanism.name
    page = render_html(report)
    assert "a trusted aggregator stood in for secure aggregation" in page
    assert "securely aggregated" not in page
    assert "or nothing" not in page
    with pytest.raises(NoDeployment, match="trusted aggregator"):
        registry_entry(report)
    checked = verify(run)
    assert checked["noise: real"]["passed"] is None
    assert "HYPOTHETICAL: a simulation" in checked["noise: real"]["detail"]
    assert "a trusted aggregator saw every update" in checked["noise: real"]["detail"]
    assert checked["report: all that follows from task, ledger and log, recomputed"]["passed"]


def test_a_run_of_the_protocol_is_hypothetical_and_trusts_no_aggregator(tmp_path: Path) -> None:
    run = trained(tmp_path / "ideal", "ideal")
    card = open_release(run / "release" / "stable").card
    assert (card["trusted_aggregator"], card["hypothetical"]) == (False, True)
    assert "HYPOTHETICAL: a simulation" in verify(run)["noise: real"]["detail"]
    assert "ggregator" not in render_html(EpsilonReport.model_validate_json((run / "report.json").read_bytes()))


def test_nobody_real_takes_such_a_task() -> None:
    with pytest.raises(PolicyError, match="the task has an aggregator that sees it"):
        DevicePolicy(min_noise_multiplier=0, min_survivors=2, min_corrupt_fraction=0, min_draw_bits=0).check(
            make_task(simulation=SimulationOnly(trusted_aggregator=True))
        )
    with pytest.raises(ValueError, match="trusted_aggregator: expected a simulation"):
        make_task(simulation=SimulationOnly(trusted_aggregator=True), randomness="system")


def verify(run: Path) -> dict[str, dict[str, Any]]:
    arguments = ["verify", "--ledger", str(run / "ledger.db"), "--operator", str(run / "operator.pub")]
    release = ["--release", str(run / "release" / "stable"), "--report", str(run / "report.json"), "--json"]
    result = CliRunner().invoke(privacy_cli, arguments + release)
    assert result.exit_code == 0, result.output
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


@pytest.mark.parametrize("sampled", [False, True])
def test_its_noise_is_that_of_a_released_sum(sampled: bool) -> None:
    task = reading_task("character-cnn", SHIPPED["character-cnn"], METHODS["sgd"])
    if not sampled:
        task = task.model_copy(update={"participation": BoundedParticipation(cohort=12, max_participations=2)})
    mechanism = Mechanism.for_cohort(task, 12)
    sums = np.zeros((20, task.length), np.int64)
    for run, own in enumerate(sums):
        finish(mechanism, own, 10, SEED.child(run))
    drawn = sums.ravel()
    expected = math.sqrt(padded_variance(task) if sampled else 10 * mechanism.variance)
    # The deviation of a sample of n normals is within four standard errors of sigma / sqrt(2 n).
    assert drawn.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * drawn.size))
    assert abs(drawn.mean()) < 4 * expected / math.sqrt(drawn.size)


def test_it_sums_what_it_is_given() -> None:
    task = reading_task("character-cnn", SHIPPED["character-cnn"], METHODS["sgd"])
    quiet = task.model_copy(
        update={
            "mechanism": task.mechanism.model_copy(update={"noise_multiplier": 0.0}),
            "budget": task.budget.model_copy(update={"epsilon": None}),
        }
    )
    mechanism = Mechanism.for_cohort(quiet, 12)
    given = np.random.default_rng(1).normal(size=task.length)
    sums = np.rint(given * STEPS / quiet.contribution_bound).astype(np.int64)
    finish(mechanism, sums, 3, SEED)
    assert sums / mechanism.scale == pytest.approx(given, abs=4 / mechanism.scale)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", SHIPPED)
def test_every_engine_adds_what_the_clients_trainer_learns_within_the_clip(architecture: str, method: str) -> None:
    task = reading_task(architecture, SHIPPED[architecture], METHODS[method])
    engines: list[Engine] = [SequentialEngine(task), StackedEngine(task), choose(task, "auto").make(task)]
    start = np.random.default_rng(2).normal(size=task.model.dimension).astype(np.float32)
    sums, norms = [], []
    for engine in engines:
        held = readers(SHIPPED[architecture], [5, 0, 9, 1])
        participants = [Participant(place, examples, SEED.child(place).stream()) for place, examples in enumerate(held)]
        into = np.zeros(task.model.dimension, np.int64)
        norms.append([done.norm for done in engine.add(start, participants, Scale(0.05, STEPS), into)])  # type: ignore[union-attr]
        sums.append(into / STEPS)
    for other, own_norms in zip(sums[1:], norms[1:], strict=True):
        assert own_norms == pytest.approx(norms[0], abs=1e-5)
        assert np.abs(other - sums[0]).max() < 1e-5
    assert np.linalg.norm(sums[0]) <= 4 * 0.05 + 1e-6
