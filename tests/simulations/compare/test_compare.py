"""A real comparison, small, and what is refused before one starts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from fl_client.training.training import Examples
from privacy.accounting.accountant import message_level_epsilon, spend
from privacy.accounting.events import round_event
from privacy.task.task import LocalTraining, TaskSpec
from simulations.cli import app
from simulations.compare import central, preparing, running
from simulations.compare import local_only as alone
from simulations.compare.baseline_context import BaselineContext
from simulations.compare.cli import _base
from simulations.compare.grids import EPOCHS, Schedule
from simulations.compare.methods import METRICS
from simulations.compare.pooling import pooled
from simulations.compare.preparing import epsilon_target, prepare_all, without_noise
from simulations.compare.training import Weights
from simulations.config.config import load_config
from simulations.evaluation.metrics import best_threshold, evaluate
from simulations.randomness import SeedTree
from simulations.runs.run import start
from tests.support.runs import model_bytes, small_config


@pytest.fixture(autouse=True)
def small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    """One calibration of noise, few rates."""
    monkeypatch.setattr(preparing, "SCHEDULES", (Schedule(1 / 4, 32),))
    monkeypatch.setattr(central, "DP_RATES", (0.5, 2.0, 8.0))
    for module in (alone, central):
        monkeypatch.setattr(module, "RATES", (0.5, 2.0, 8.0))


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(argument) for argument in arguments)])


def test_every_contender_is_run_and_told(tmp_path: Path) -> None:
    config, out = small_config(tmp_path, rounds=2), tmp_path / "out"
    done = compare(config, "--seeds", "2", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told == json.loads((out / "compare.json").read_text())
    rows = {row["contender"]: row for row in told["rows"]}
    assert list(rows) == ["federated", "federated_without_noise", "central", "central_dp_sgd", "alone"]
    assert {name for name, row in rows.items() if row["epsilon"] is None} == {
        "federated_without_noise",
        "central",
        "alone",
    }
    assert 0 < rows["central_dp_sgd"]["epsilon"] <= rows["federated"]["epsilon"]
    assert rows["central"]["auroc"]["mean"] > rows["alone"]["auroc"]["mean"]
    assert rows["alone"]["models"] == 40
    assert all(
        row[name]["count"] == 2 and row[name]["deviation"] is not None for row in rows.values() for name in METRICS
    )
    lines = list(csv.DictReader((out / "compare.csv").open()))
    assert [(line["contender"], line["seed"]) for line in lines] == [
        (name, seed) for seed in ("11", "12") for name in rows
    ]
    page = (out / "compare.html").read_text()
    assert "one message" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "").split("<body", 1)[0]

    refused = compare(config, "--out", out)
    assert refused.exit_code == 2
    assert "--force" in refused.output


def test_the_federation_is_an_ordinary_run_and_all_of_it_can_be_had_again(tmp_path: Path) -> None:
    config = _base(load_config(small_config(tmp_path, rounds=2), {}))
    first, second = (running.start(config, 1, tmp_path / name, force=False) for name in ("first", "second"))
    start(config, tmp_path / "alone", force=False, workers=1)
    assert model_bytes(first.path / "federated-11") == model_bytes(tmp_path / "alone")
    for one, other in zip(first.trials, second.trials, strict=True):
        assert (one.metrics, one.setting, one.epsilon) == (other.metrics, other.setting, other.epsilon)


def test_all_are_judged_by_the_same_users(tmp_path: Path) -> None:
    prepared = prepare_all(_base(load_config(small_config(tmp_path), {})), 1)[0]
    ground = BaselineContext.of(prepared)
    for data in (prepared.federated.data, prepared.noiseless.data):
        assert (data.test, data.calibration) == (ground.test, ground.calibration)


def test_calibration_users_choose_and_test_users_judge(tmp_path: Path) -> None:
    ground = BaselineContext.of(prepare_all(_base(load_config(small_config(tmp_path), {})), 1)[0])
    weights = np.random.default_rng(2).normal(size=ground.start.size).astype(np.float32)
    chosen, evaluate_models = (ground.scorer.scores(weights, one.features) for one in (ground.calibration, ground.test))
    positive, negative = (chosen[ground.calibration.labels == label][:, None] for label in (1, 0))
    pairs = (positive > negative.T).mean() + (positive == negative.T).mean() / 2
    assert ground.calibrated([weights]) == pytest.approx(pairs)
    threshold = best_threshold(ground.calibration.labels, chosen)
    assert (
        ground.evaluate_models([weights])[0]["macro_f1"]
        == evaluate(ground.test.labels, evaluate_models, threshold).macro_f1
    )
    assert np.isnan(ground.calibrated([np.full_like(weights, np.nan)]))


def test_several_models_score_as_each_alone(tmp_path: Path) -> None:
    ground = BaselineContext.of(prepare_all(_base(load_config(small_config(tmp_path), {})), 1)[0])
    features, source = ground.test.features, np.random.default_rng(1)
    models = [source.normal(size=ground.start.size).astype(np.float32) for _ in range(3)]
    together = ground.scorer.scores_of(models, features)
    for weights, scores in zip(models, together, strict=True):
        np.testing.assert_array_equal(scores, ground.scorer.scores(weights, features))
    dense = features.dense().astype(np.float64)
    by_hand = 1 / (1 + np.exp(-(dense @ models[0][:-1] + models[0][-1])))
    np.testing.assert_allclose(together[0], by_hand, atol=1e-5)


@pytest.mark.parametrize("privacy", ["noise_multiplier = 1.0", "epsilon = 4.0"])
def test_dp_sgd_gets_the_noise_of_the_federations_budget(tmp_path: Path, privacy: str) -> None:
    path = small_config(tmp_path)
    path.write_text(path.read_text().replace("noise_multiplier = 1.0", privacy))
    prepared = prepare_all(_base(load_config(path, {})), 1)[0]
    target = epsilon_target(prepared.task)
    assert target == (4.0 if "epsilon" in privacy else whole_spend(prepared.task))
    assert 0.9 * target < message_level_epsilon(prepared.schedules[0], 1, prepared.task.budget.delta) <= target


def whole_spend(task: TaskSpec) -> float:
    return spend([round_event(task, number) for number in range(1, task.rounds + 1)], task.budget.delta).epsilon


def test_a_grid_of_which_nothing_is_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(central, "RATES", (1e60,))
    failed = compare(small_config(tmp_path, rounds=1), "--out", tmp_path / "out")
    assert failed.exit_code == 1
    assert "every setting of the grid diverged" in failed.output


def test_ctrl_c_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.StopAfterRound, "requested", lambda _: True)
    stopped = compare(small_config(tmp_path, rounds=9), "--out", tmp_path / "out")
    assert stopped.exit_code == 130
    assert "begin again with --force" in stopped.output
    assert not (tmp_path / "out" / "compare.csv").exists()


def test_central_dp_sgd_steps_along_the_mean_of_its_expected_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare_all(_base(load_config(small_config(tmp_path), {})), 1)[0]
    ground, asked = BaselineContext.of(prepared), list[LocalTraining]()

    def untrained(task: TaskSpec, start: Weights, messages: Examples, given: LocalTraining, seed: SeedTree) -> Weights:  # noqa: ARG001
        asked.append(given)
        return start

    monkeypatch.setattr(central, "dp_sgd", untrained)
    messages = pooled(ground.held)
    central.central_dp(ground, messages, prepared.schedules, 11, lambda _: None)
    assert [one.learning_rate for one in asked] == [0.5, 2.0, 8.0]
    assert {one.expected_batch for one in asked} == {len(messages) / 4}
    assert {one.message_noise for one in asked} == {prepared.schedules[0].message_noise}


def test_a_device_alone_sees_its_own_messages_and_no_device_is_drawn_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = BaselineContext.of(prepare_all(_base(load_config(small_config(tmp_path), {})), 1)[0])
    seen: list[Examples] = []

    def untrained(task: TaskSpec, start: Weights, own: Examples, rate: float, seed: SeedTree) -> list[Weights]:  # noqa: ARG001
        seen.append(own)
        return [start] * len(EPOCHS)

    monkeypatch.setattr(alone, "course", untrained)
    monkeypatch.setattr(alone, "MOST_DEVICES", 30)
    trial = alone.alone(ground, 11, lambda _: None)
    evaluate_models = seen[-30:]
    assert trial.devices == 30
    assert len({id(one) for one in evaluate_models}) == 30
    assert {id(one) for one in seen} == {id(one) for one in evaluate_models} <= {id(one) for one in ground.held}


def test_without_noise_nothing_else_changes(tmp_path: Path) -> None:
    config = load_config(small_config(tmp_path, extra="[fleet]\n"), {"privacy.clip": 0.7, "server.momentum": 0.2})
    without = without_noise(config)
    assert without.privacy.noise_multiplier == 0
    assert without.privacy.epsilon is None
    assert without.model_copy(update={"privacy": config.privacy}) == config
    assert without.privacy.model_copy(update={"noise_multiplier": 1.0}) == config.privacy


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ("[fleet]\npopulation = 10_000_000\ncohort = 5_000\n", "fleet: expected none"),
        ("[poison]\nshare = 0.1\n", "poison.fraction: expected 0"),
        ("[availability]\nhorus = 1\n", "availability.horus"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(tmp_path: Path, extra: str, named: str) -> None:
    refused = compare(small_config(tmp_path, extra=extra), "--out", tmp_path / "out")
    assert (refused.exit_code, (tmp_path / "out").exists()) == (2, False)
    assert named in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("noise_multiplier = 1.0", "noise_multiplier = 0", "privacy.noise_multiplier: expected noise"),
        ("delta = 1e-3", 'delta = 1e-3\nledger = "shared.db"', "privacy.ledger: expected none"),
        ("devices = 40", "devices = 1_000_000", "data.devices: expected at most 100,000"),
        ("devices = 40", "devices = 10", "--cohort: expected at most"),
        ("seed = 11", 'seed = 11\nengine = "ray"', "engine: expected"),
        ("devices = 40", 'path = "nowhere.csv"\npartition = "dirichlet:0.3"', "--data"),
    ],
)
def test_bad_settings_are_refused_by_name(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = small_config(tmp_path)
    text = path.read_text().replace(old, new)
    path.write_text(text.replace("[server]", '[server]\naggregation = "ideal"') if "ray" in new else text)
    refused = compare(path, "--out", tmp_path / "out")
    assert (refused.exit_code, (tmp_path / "out").exists()) == (2, False), refused.output
    assert named in refused.output


def test_help_has_examples_and_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "fl-sim compare config.toml" in " ".join(compare("--help").output.split())
    assert "no file" in compare(tmp_path / "none.toml", "--out", tmp_path / "out").output
