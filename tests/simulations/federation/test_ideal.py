"""Ideal rounds: the model of the real ones, to the bit, without the protocol."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from privacy.ledger.entries import Charged, Released
from privacy.ledger.ledger import SignedHead, verify
from privacy.verification.evidence import read_ledger
from simulations.config.config import load_config
from simulations.runs.run import start
from tests.support.runs import model_bytes, small_config


def trained(path: Path, aggregation: str, workers: int = 1, **more: object) -> Path:
    path.mkdir()
    overrides = {"server.aggregation": aggregation, **more}
    start(load_config(small_config(path, rounds=3), overrides), path / "run", force=False, workers=workers)
    return path / "run"


def figures(run: Path) -> list[dict[str, object]]:
    """Every round's line, but for how long it took and how replies are counted."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


ADAPTIVE, NOISY, ONE_ROUND = {"privacy.clip_quantile": 0.5}, {"training.message_noise": 0.1}, {"server.rounds": 1}


@pytest.mark.parametrize(
    "more", [{**ADAPTIVE, **NOISY}, *(pytest.param(more, marks=pytest.mark.long) for more in ({}, ADAPTIVE, NOISY))]
)
def test_the_model_is_that_of_secure_aggregation_to_the_bit(tmp_path: Path, more: dict[str, object]) -> None:
    secure = trained(tmp_path / "secure", "secure", **more)
    ideal = trained(tmp_path / "ideal", "ideal", engine="sequential", **more)
    assert model_bytes(secure) == model_bytes(ideal)
    assert figures(secure) == figures(ideal)


def test_engines_differ_by_rounding_alone(tmp_path: Path) -> None:
    """In one round: in the next, devices draw other noise for another model, be it by a bit."""
    runs = [trained(tmp_path / engine, "ideal", engine=engine, **ONE_ROUND) for engine in ("sequential", "vectorised")]
    sequential, vectorised = (
        np.concatenate([part.ravel() for _, part in sorted(load(model_bytes(run)).items())]) for run in runs
    )
    assert np.linalg.norm(sequential) > 1
    assert np.linalg.norm(vectorised - sequential) < 1e-3 * np.linalg.norm(sequential)
    epsilons = {json.loads((run / "summary.json").read_text())["device_epsilon"] for run in runs}
    assert len(epsilons) == 1


@pytest.mark.long
def test_the_model_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    runs = [trained(tmp_path / str(workers), "ideal", workers) for workers in (1, 2, 3)]
    assert len({model_bytes(run) for run in runs}) == 1


def test_everything_is_charged_before_it_is_released(tmp_path: Path) -> None:
    run = trained(tmp_path / "charged", "ideal")
    entries, heads = read_ledger(run / "ledger.db")
    operator = bytes.fromhex((run / "operator.pub").read_text())
    kinds = [type(entry.body) for entry in verify(entries, SignedHead.model_validate_json(heads[-1]), operator)]
    assert kinds.count(Charged) == kinds.count(Released) == 3


@pytest.mark.long
def test_limits_of_participation_hold(tmp_path: Path) -> None:
    more = {"privacy.participation": "bounded", "privacy.max_participations": 1, "server.rounds": 2}
    secure = trained(tmp_path / "secure", "secure", **more)
    ideal = trained(tmp_path / "ideal", "ideal", engine="sequential", **more)
    assert model_bytes(secure) == model_bytes(ideal)


@pytest.mark.long
def test_several_shards(tmp_path: Path) -> None:
    run = trained(tmp_path / "shards", "ideal", **{"server.shards": 2, "server.min_survivors": 2})
    lines = figures(run)
    assert all(line["aborted"] is None for line in lines)
    assert np.isfinite([line["epsilon"] for line in lines]).all()  # type: ignore[call-overload]
