"""Which model a run trains: known ones, and one's own by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from fl_client.training import models
from privacy.task.task import FeatureSpec, SequenceSpec
from simulations.config.architectures import input_spec, make_known
from simulations.config.config import ConfigError, TrainingConfig, load_config
from simulations.config.data import DataConfig
from simulations.evaluation.scoring import ScoringError, ScoringJob, score_file
from simulations.runs.run import start
from simulations.training.engines import EngineError, choose
from tests.support.learning import learning_task, registry_of_its_own
from tests.support.paths import ROOT
from tests.support.runs import model_bytes, small_config

PAGE = ROOT / "docs" / "simulation.md"
OWN = "tests.simulations.config.test_architectures:small_network"


def small_network(features: FeatureSpec) -> nn.Module:
    return nn.Sequential(nn.Linear(features.buckets, 3), nn.Tanh(), nn.Linear(3, 1))


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({}, FeatureSpec(buckets=16_384)),
        ({"architecture": "word-embedding"}, SequenceSpec(unit="words", vocabulary=16_384, length=64)),
        ({"architecture": "character-cnn"}, SequenceSpec(unit="characters", vocabulary=256, length=128)),
        (
            {"architecture": OWN, "inputs": "words", "buckets": 99, "length": 7},
            SequenceSpec(unit="words", vocabulary=99, length=7),
        ),
        ({"architecture": OWN}, FeatureSpec(buckets=16_384)),
    ],
)
def test_every_architecture_reads_what_it_can(training: dict[str, object], expected: object) -> None:
    assert input_spec(TrainingConfig.model_validate(training)) == expected


def test_the_pages_model_trains_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [source] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mymodel.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"server.aggregation": "ideal", "training.architecture": "mymodel:make", "training.inputs": "words"}
    data = tmp_path / "new.csv"
    data.write_text("text\nhello\n")
    with registry_of_its_own():
        start(load_config(small_config(tmp_path), settings), tmp_path / "run", force=False, workers=1)
        release = tmp_path / "run" / "release" / "stable"
        job = ScoringJob(release, DataConfig(path=data), tmp_path / "scores.csv", None, "mymodel:make")
        counts = score_file(job)
    assert counts["rows"] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.such.module:factory", "cannot import no.such.module:factory: .*PYTHONPATH"),
        ("tests.simulations.config.test_architectures:nothing", "cannot import .*nothing"),
        ("tests.simulations.config.test_architectures:OWN", "expected .*:OWN to make a module"),
        (":factory", "cannot import :factory"),
    ],
)
def test_what_is_no_factory_is_refused_by_name(name: str, reason: str) -> None:
    with registry_of_its_own(), pytest.raises(ConfigError, match=f"training.architecture: {reason}"):
        make_known(name)


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"architecture": "transformer"}, "training.architecture: expected one of"),
        ({"architecture": "character-cnn", "length": 3}, "expected a length of at least 5, got 3"),
        ({"architecture": "character-cnn", "inputs": "ngrams"}, "expected inputs `words` or `characters`"),
        ({"architecture": "hashed-linear", "inputs": "words"}, "expected inputs `ngrams`"),
        ({"method": "sgd", "message_noise": 1.0}, "message_noise: expected method `dp-sgd`"),
    ],
)
def test_models_that_cannot_read_their_inputs_are_refused(
    tmp_path: Path, training: dict[str, object], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        start(load_config(small_config(tmp_path), {"training": training}), tmp_path / "run", force=False, workers=1)
    assert not (tmp_path / "run").exists()


def test_a_model_of_ones_own_is_trained_by_all_workers_and_scored_when_named(tmp_path: Path) -> None:
    with registry_of_its_own():
        runs = []
        for name, workers in (("secure", 1), ("ideal", 2)):
            (tmp_path / name).mkdir()
            overrides = {
                "training.architecture": OWN,
                "training.learning_rate": 0.5,
                "server.aggregation": name,
                "engine": "sequential",
            }
            config = load_config(small_config(tmp_path / name, rounds=2), overrides)
            runs.append(start(config, tmp_path / name / "run", force=False, workers=workers).directory.path)
        assert model_bytes(runs[0]) == model_bytes(runs[1])
    data = tmp_path / "new.jsonl"
    data.write_text("\n".join(json.dumps({"text": text, "label": 0}) for text in ("hello", "you")))
    with registry_of_its_own():
        job = (runs[0] / "release" / "stable", DataConfig(path=data), tmp_path / "scores.csv", None)
        with pytest.raises(ScoringError, match="give --architecture"):
            score_file(ScoringJob(*job))
        assert score_file(ScoringJob(*job, OWN))["rows"] == 2


@pytest.mark.parametrize("architecture", ["word-embedding", "character-cnn"])
def test_the_known_models_go_through_the_whole_protocol(tmp_path: Path, architecture: str) -> None:
    overrides = {"training.architecture": architecture, "training.method": "sgd", "training.learning_rate": 0.5}
    config = load_config(small_config(tmp_path, rounds=1), overrides)
    outcome = start(config, tmp_path / "run", force=False, workers=1)
    assert outcome.summary is not None
    assert outcome.summary["message_epsilon"] is None


def test_a_gpu_that_is_not_there_is_an_error_before_work_starts() -> None:
    if torch.cuda.is_available():
        assert choose(learning_task("hashed-linear"), "auto", "cuda").name == "vectorised"
        return
    with registry_of_its_own():
        models.register("own", small_network)
        with pytest.raises(EngineError, match="--device: expected a GPU"):
            choose(learning_task("own"), "auto", "cuda")
        with pytest.raises(EngineError, match="--device: expected cpu for engine sequential"):
            choose(learning_task("own"), "sequential", "cuda")
