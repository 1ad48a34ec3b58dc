"""A run that stands for a fleet, through all its rooms: every output says so, and none can be taken for a fleet's."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fl_server.publishing.registry import open_release
from privacy.accounting.accountant import spend
from privacy.accounting.events import PoissonGaussian
from privacy.base.canonical import canonical_json
from privacy.cli.app import app
from privacy.release.files import open_statement, release_name, sign_statement
from privacy.report.build import EpsilonReport, render_html
from privacy.report.fleet import extrapolation_part
from privacy.task.task import TaskSpec
from simulations.config.config import ConfigError, load_config
from simulations.config.data import DataConfig
from simulations.evaluation.scoring import ScoringJob, score_file
from simulations.federation.devices import Authorities
from simulations.randomness import SeedTree
from simulations.runs.artifacts import curves
from simulations.runs.plan import plan_task, warnings_about, with_schedule
from simulations.runs.run import start
from simulations.runs.rundir import RunDirectory
from simulations.terminal.console import describe
from tests.support.runs import small_config

OPERATOR = Authorities(SeedTree.root(11)).operator
FLEET = {"fleet.population": 1_000_000, "fleet.cohort": 1_000, "privacy.delta": 1e-7}
NEVER_PIVOTAL = 1e-24
"""The least that is counted: of some 440 survivors expected in a shard, fewer than 125 come with less than e^-100."""
EPSILON = "extrapolated: the fleet's epsilon, HYPOTHETICAL, is as reported"
CARD = "card.json: its figures follow"
MARKED = "release: signed as what it is"
BOUND = "task: bound by a signature"
"""Where it fails, nothing is computed from the task, and so nothing built anew."""
REPORT = "report: all that follows from task, ledger and log, recomputed"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """With secure aggregation, so that simulated devices were asked."""
    base = tmp_path_factory.mktemp("extrapolated")
    outcome = start(load_config(small_config(base, rounds=2), FLEET), base / "run", force=False, workers=1)
    assert outcome.summary is not None
    return base / "run", outcome.summary


def release_of(run: Path) -> Path:
    return (run / "release" / "extrapolated").resolve()


def verify(run: Path, *more: str) -> dict[str, dict[str, Any]]:
    given = ["--ledger", run / "ledger.db", "--operator", run / "operator.pub", "--release", release_of(run)]
    result = CliRunner().invoke(app, ["verify", *map(str, given), *more, "--json"])
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def failed(run: Path) -> set[str]:
    return {name for name, check in verify(run).items() if check["passed"] is False}


@pytest.mark.long
def test_the_fleets_epsilon_is_the_accountants_and_the_runs_own_is_not_hidden(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    _, summary = finished
    there = PoissonGaussian(sampling_rate=1e-3, noise_multiplier=1.0, pivotal_probability=NEVER_PIVOTAL, shards=2)
    assert summary["fleet_epsilon"] == spend([there] * 2, 1e-7).epsilon
    assert (summary["fleet_cohort"], summary["fleet_population"], summary["fleet_shards"]) == (1_000, 1_000_000, 2)
    assert (summary["extrapolated"], summary["fleet_noise_multiplier"]) == (True, 1.0)
    # Of every cohort the noise of so large a part is counted on: three survivors beside two lost here, there 125 of a
    # shard beside 63 of the hundred that may be lost, by lot; and a twentieth is corrupt.
    here, there = 3 / (3 + 2) - 0.05, 125 / (125 + 63) - 0.05
    assert summary["noise_multiplier"] == pytest.approx((2 * here / there) ** 0.5 * 20 / 1_000, rel=1e-9)
    assert summary["device_epsilon"] > 100 * summary["fleet_epsilon"]


def test_every_output_says_so(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, summary = finished
    version = open_release(release_of(run), OPERATOR.public)
    assert not (run / "release" / "stable").exists()
    assert (version.card["extrapolated"], version.predicate["extrapolated"]) == (True, True)
    assert "noise rescaled to a larger fleet" in version.card["extrapolation"]
    lines = RunDirectory(run).metrics()
    assert [line["extrapolated"] for line in lines] == [True, True]
    assert lines[-1]["fleet_epsilon"] == summary["fleet_epsilon"] < lines[-1]["epsilon"] == summary["device_epsilon"]
    assert "EXTRAPOLATED: rounds of 20 devices get the noise of cohorts of 1,000 of" in (run / "run.log").read_text()
    assert "EXTRAPOLATED to cohorts of 1,000 of 1,000,000 devices" in describe(summary, run)
    assert str(run / "release" / "extrapolated") in describe(summary, run)
    texts = [text.get_text() for text in curves(lines, version.task).texts]
    assert "EXTRAPOLATED" in texts
    data = tmp_path / "new.csv"
    data.write_text("text\nhello\n")
    assert score_file(ScoringJob(release_of(run), DataConfig(path=data), tmp_path / "scores.csv", None))["extrapolated"]


def test_the_report_states_both_and_never_one_for_the_other(finished: tuple[Path, dict[str, Any]]) -> None:
    run, summary = finished
    report = EpsilonReport.model_validate_json((run / "report.json").read_bytes())
    assert report.hypothetical
    assert float(report.claim.epsilon) == float(report.spend.device.epsilon) == summary["device_epsilon"]
    assert report.claim.warnings[0].startswith("Extrapolated, hypothetical: noise rescaled to a larger fleet.")
    stated = report.extrapolation
    assert stated is not None
    assert float(stated.spend.epsilon) == summary["fleet_epsilon"]
    assert "it could be said" in stated.claim
    assert any("stands for that of 1,000" in line for line in stated.assumptions)
    page = render_html(report)
    assert "<title>Extrapolated epsilon report" in page
    assert '<p class="banner">Extrapolated to a fleet of 1,000,000 devices that were never asked</p>' in page
    assert page.index(report.claim.epsilon) < page.index(stated.spend.epsilon)


def test_a_reviewer_is_told_and_the_fleets_epsilon_recomputed(finished: tuple[Path, dict[str, Any]]) -> None:
    run, summary = finished
    log = ("--log", str(run / "rounds.jsonl"), "--authority", str(run / "authority.pub"))
    checks = verify(run, *log)
    assert all(check["passed"] is not False for check in checks.values())
    assert f"{summary['fleet_epsilon']} at 1e-07 in cohorts of 1,000 of 1,000,000" in checks[EPSILON]["detail"]
    assert f"own devices: {summary['device_epsilon']}" in checks[EPSILON]["detail"]
    assert checks[CARD]["passed"]
    assert checks[MARKED]["passed"]


def test_it_is_no_deployment_to_be_registered(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, _ = finished
    out = tmp_path / "deployment.json"
    result = CliRunner().invoke(app, ["report", "--report", str(run / "report.json"), "--registry", str(out)])
    assert result.exit_code == 2
    assert "--registry: expected a report of what was deployed, got one extrapolated to 1,000,000" in result.stderr
    assert not out.exists()


def test_one_sum_of_thousands_takes_a_trusted_aggregator() -> None:
    task = planned(fleet__cohort=5_000, fleet__shards=1, privacy__participation="bounded")
    assert task.simulation.fleet is not None
    assert "nobody who sees into the server" in extrapolation_part(task, task.simulation.fleet, []).holds_against
    sharded = planned(fleet__cohort=5_000, privacy__participation="bounded")
    assert sharded.simulation.fleet is not None
    assert "the server itself" in extrapolation_part(sharded, sharded.simulation.fleet, []).holds_against


def test_a_diff_shows_it(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run, summary = finished
    report = EpsilonReport.model_validate_json((run / "report.json").read_bytes())
    plain = tmp_path / "plain.json"
    plain.write_bytes(report.model_copy(update={"extrapolation": None}).canonical())
    result = CliRunner().invoke(app, ["diff", str(plain), str(run / "report.json"), "--json"])
    changes = {change["place"]: change for change in json.loads(result.stdout)["changes"]}
    assert changes["extrapolation.spend.epsilon"]["before"] is None
    assert changes["extrapolation.spend.epsilon"]["after"] == str(summary["fleet_epsilon"])


def tampered(run: Path, name: str, change: Callable[[Any], None], predicate: Mapping[str, Any] | None = None) -> None:
    """Changed by the operator, who signs the release anew and names it after its content."""
    release = release_of(run)
    document = json.loads((release / name).read_bytes())
    change(document)
    (release / name).write_bytes(canonical_json(document))
    statement = release / "statement.dsse.json"
    digests, stated = open_statement(statement.read_bytes(), OPERATOR.public)
    digests[name] = hashlib.sha256((release / name).read_bytes()).hexdigest()
    statement.write_bytes(sign_statement(digests, {**stated, **(predicate or {})}, OPERATOR))
    renamed = release.rename(release.with_name(release_name(digests)))
    channel = run / "release" / "extrapolated"
    channel.unlink()
    channel.symlink_to(renamed.name, target_is_directory=True)


@pytest.mark.parametrize(
    ("name", "change", "caught"),
    [
        ("report.json", lambda document: document.update(extrapolation=None), {REPORT, EPSILON, CARD}),
        ("report.json", lambda document: document["extrapolation"]["spend"].update(epsilon="0.1"), {REPORT, EPSILON}),
        ("report.json", lambda document: document["extrapolation"].update(population=10**9), {REPORT}),
        ("report.json", lambda document: document["extrapolation"].update(assumptions=[]), {REPORT}),
        ("report.json", lambda document: document["claim"].update(warnings=[]), {REPORT}),
        (
            "report.json",
            lambda document: document["claim"].update(epsilon=document["extrapolation"]["spend"]["epsilon"]),
            {REPORT, CARD, "report: its epsilon is what the ledger costs"},
        ),
        ("card.json", lambda document: document.update(extrapolated=False), {CARD}),
        ("card.json", lambda document: document.clear(), {CARD}),
        (
            "task.json",
            lambda document: document.update(fleet=None),
            {BOUND, MARKED, "release: of this task", "release: its model was charged"},
        ),
    ],
)
def test_an_operator_who_hides_it_is_caught(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, name: str, change: Callable[[Any], None], caught: set[str]
) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run", symlinks=True))
    tampered(run, name, change)
    assert failed(run) == caught


def test_a_statement_that_hides_it_is_caught(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished[0], tmp_path / "run", symlinks=True))
    tampered(run, "card.json", lambda _: None, {"extrapolated": False})
    assert failed(run) == {MARKED}


def planned(**changes: Any) -> TaskSpec:
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return task_of({"privacy.noise_multiplier": 1.0, **dotted})


def task_of(settings: dict[str, Any]) -> TaskSpec:
    config = load_config(None, {**FLEET, "server.rounds": 30, "server.cohort": 64, **settings})
    return plan_task(with_schedule(config, 1_000), 1_000, "ab" * 32)


def test_a_budget_is_the_fleets() -> None:
    task = task_of({"privacy.epsilon": 2.0})
    assert task.simulation.fleet is not None
    assert (task.simulation.fleet.epsilon, task.budget.epsilon) == (2.0, None)
    there = PoissonGaussian(
        sampling_rate=1e-3,
        noise_multiplier=task.simulation.fleet.noise_multiplier,
        pivotal_probability=NEVER_PIVOTAL,
        shards=2,
    )
    assert 1.8 < spend([there] * 30, 1e-7).epsilon <= 2.0
    less = there.model_copy(update={"noise_multiplier": round(task.simulation.fleet.noise_multiplier - 0.01, 2)})
    assert spend([less] * 30, 1e-7).epsilon > 2.0


def test_the_limits_of_bounded_participation_are_the_fleets_own() -> None:
    task = planned(
        privacy__participation="bounded", privacy__max_participations=9, fleet__max_participations=1,
        fleet__min_separation=100, fleet__shards=1,
    )  # fmt: skip
    assert task.simulation.fleet is not None
    assert (task.participation.max_participations, task.participation.min_separation) == (9, 1)  # type: ignore[union-attr]
    there = task.simulation.fleet.participation
    assert (there.max_participations, there.min_separation) == (1, 100)  # type: ignore[union-attr]
    own, of_fleet = (64 - 6 - 0.05 * 64) / 64, (1_000 - 100 - 0.05 * 1_000) / 1_000
    """Fractions of each cohort whose noise counts: less a tenth, in whole devices, that may vanish, and the corrupt."""
    assert task.mechanism.noise_multiplier == pytest.approx(64 / 1_000 * (own / of_fleet) ** 0.5)


def test_correlated_noise_follows_the_fleets_schedule() -> None:
    task = planned(
        privacy__participation="bounded", privacy__noise="correlated", privacy__max_participations=30,
        fleet__max_participations=1, fleet__min_separation=30,
    )  # fmt: skip
    assert task.mechanism.correlation is not None
    assert task.mechanism.noise_multiplier == pytest.approx(64 / 1_000)


def test_what_adapts_or_is_counted_is_scaled_like_the_update() -> None:
    task = planned(privacy__clip_quantile=0.5, server__statistics=["loss"])
    assert task.simulation.fleet is not None
    assert task.mechanism.adaptive is not None
    assert task.mechanism.noise_multiplier == planned().mechanism.noise_multiplier


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fleet__population": None}, "fleet: population: expected together with cohort"),
        ({"fleet__cohort": None}, "fleet: population: expected together with cohort"),
        (
            {"fleet__population": None, "fleet__cohort": None, "fleet__shards": 2},
            "fleet: cohort: expected, with population",
        ),
        ({"fleet__cohort": 2_000_000}, "cohort: expected at most the population's 1000000 devices, got 2000000"),
        ({"fleet__cohort": 63}, r"fleet\.cohort: expected at least server\.cohort \(64\), got 63"),
        ({"fleet__devices": 3}, r"fleet\.devices: unknown key; known here: cohort, max_participations"),
        ({"privacy__noise_multiplier": 0.0}, r"privacy\.noise_multiplier: expected noise to scale"),
        ({"privacy__window_epsilon": 1.0, "privacy__window_days": 7}, r"privacy\.window_epsilon: no fleet was asked"),
        ({"privacy__ledger": "shared.db"}, r"privacy\.ledger: expected a ledger of the run's own"),
        (
            {"privacy__participation": "bounded", "fleet__population": 20_000, "fleet__max_participations": 1},
            r"fleet\.max_participations: 30 rounds of 1000 need 20000 devices to take part 2 times, got 1",
        ),
        (
            {"privacy__participation": "bounded", "fleet__min_separation": 1_001},
            "fleet: population: cohorts of 1000 that are disjoint over 1001 rounds need 1001000 devices, got 1000000",
        ),
        (
            {"server__modulus_bits": 16, "fleet__cohort": 100_000, "fleet__shards": 1},
            r"server\.modulus_bits: 16 bits are too coarse.*; the noise of a fleet is small",
        ),
        (
            {"fleet__population": 10**10, "fleet__cohort": 10**8, "fleet__shards": 1},
            r"32 bits are too coarse.*fleet\.cohort",
        ),
    ],
)
def test_a_fleet_that_makes_no_sense_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        planned(**changes)


def test_delta_is_held_against_the_fleets_size() -> None:
    def warned(**settings: float) -> str:
        config = with_schedule(load_config(None, {**FLEET, **settings}), 1_000)
        return " ".join(warnings_about(config, 1_000, task_of({})))

    assert "delta 1e-05 is larger than 1/devices (1e-06)" in warned(**{"privacy.delta": 1e-5})
    assert "1/devices" not in warned()
