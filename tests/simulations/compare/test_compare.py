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
from simulations.compare import central, local_only, preparing, running
from simulations.compare.baseline_context import BaselineContext
from simulations.compare.cli import _base
from simulations.compare.grids import EPOCHS, Schedule
from simulations.compare.pooling import pooled
from simulations.compare.preparing import epsilon_target, prepare_all, without_noise
from simulations.compare.training import Weights
from simulations.config.config import load_config
from simulations.evaluation.metrics import HEADLINE_METRICS, best_threshold, evaluate
from simulations.randomness import SeedTree
from simulations.runs.run import start
from tests.support.runs import model_bytes, small_config


@pytest.fixture(autouse=True)
def small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single calibration of noise, few rates."""
    monkeypatch.setattr(preparing, "SCHEDULES", (Schedule(1 / 4, 32),))
    monkeypatch.setattr(central, "DP_RATES", (0.5, 2.0, 8.0))
    for module in (local_only, central):
        monkeypatch.setattr(module, "RATES", (0.5, 2.0, 8.0))


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["compare", *(str(argument) for argument in arguments)])


def test_every_method_is_run_and_told(tmp_path: Path) -> None:
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
        row[name]["count"] == 2 and row[name]["deviation"] is not None
        for row in rows.values()
        for name in HEADLINE_METRICS
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


@pytest.mark.long
def test_the_federation_is_an_ordinary_run_and_all_of_it_can_be_had_again(tmp_path: Path) -> None:
    config = _base(load_config(small_config(tmp_path, rounds=2), {}))
    first, second = (running.start(config, 1, tmp_path / name, force=False) for name in ("first", "second"))
    start(config, tmp_path / "single", force=False, workers=1)
    assert model_bytes(first.path / "federated-11") == model_bytes(tmp_path / "single")
    for trial, again in zip(first.trials, second.trials, strict=True):
        assert (trial.metrics, trial.setting, trial.epsilon) == (again.metrics, again.setting, again.epsilon)


def test_all_are_evaluated_on_the_same_users(tmp_path: Path) -> None:
    prepared = prepare_all(_base(load_config(small_config(tmp_path), {})), 1)[0]
    context = BaselineContext.of(prepared)
    for data in (prepared.federated.data, prepared.noiseless.data):
        assert (data.test, data.calibration) == (context.test, context.calibration)


def test_calibration_users_choose_and_test_users_evaluate(tmp_path: Path) -> None:
    context = context_of(small_config(tmp_path))
    weights = np.random.default_rng(2).normal(size=context.start.size).astype(np.float32)
    calibration, test = (context.scorer.scores(weights, part.features) for part in (context.calibration, context.test))
    positive, negative = (calibration[context.calibration.labels == label][:, None] for label in (1, 0))
    pairs = (positive > negative.T).mean() + (positive == negative.T).mean() / 2
    assert context.calibrated([weights]) == pytest.approx(pairs)
    threshold = best_threshold(context.calibration.labels, calibration)
    expected = evaluate(context.test.labels, test, threshold).macro_f1
    assert context.evaluate([weights])[0]["macro_f1"] == expected
    assert np.isnan(context.calibrated([np.full_like(weights, np.nan)]))


def context_of(config: Path) -> BaselineContext:
    return BaselineContext.of(prepare_all(_base(load_config(config, {})), 1)[0])


def test_several_models_score_as_each_by_itself(tmp_path: Path) -> None:
    context = context_of(small_config(tmp_path))
    features, source = context.test.features, np.random.default_rng(1)
    models = [source.normal(size=context.start.size).astype(np.float32) for _ in range(3)]
    together = context.scorer.scores_of(models, features)
    for weights, scores in zip(models, together, strict=True):
        np.testing.assert_array_equal(scores, context.scorer.scores(weights, features))
    dense = features.dense().astype(np.float64)
    by_hand = 1 / (1 + np.exp(-(dense @ models[0][:-1] + 0.3 * models[0][-1])))
    np.testing.assert_allclose(together[0], by_hand, atol=1e-5)


@pytest.mark.long
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


@pytest.mark.long
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
    context, asked = BaselineContext.of(prepared), list[LocalTraining]()

    def untrained(task: TaskSpec, start: Weights, messages: Examples, given: LocalTraining, seed: SeedTree) -> Weights:  # noqa: ARG001
        asked.append(given)
        return start

    monkeypatch.setattr(central, "dp_sgd", untrained)
    messages = pooled(context.held)
    central.central_dp(context, messages, prepared.schedules, 11, lambda _: None)
    assert [training.learning_rate for training in asked] == [0.5, 2.0, 8.0]
    assert {training.expected_batch for training in asked} == {len(messages) / 4}
    assert {training.message_noise for training in asked} == {prepared.schedules[0].message_noise}


def test_a_device_alone_sees_its_own_messages_and_no_device_is_drawn_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(small_config(tmp_path))
    seen: list[Examples] = []

    def untrained(task: TaskSpec, start: Weights, own: Examples, rate: float, seed: SeedTree) -> list[Weights]:  # noqa: ARG001
        seen.append(own)
        return [start] * len(EPOCHS)

    monkeypatch.setattr(local_only, "course", untrained)
    monkeypatch.setattr(local_only, "MOST_DEVICES", 30)
    trial = local_only.local_only(context, 11, lambda _: None)
    sample = set(map(id, seen[-30:]))
    assert trial.devices == 30
    assert len(sample) == 30
    assert set(map(id, seen)) == sample <= set(map(id, context.held))


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
        ("[poison]\nfraction = 0.1\n", "poison.fraction: expected 0"),
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
