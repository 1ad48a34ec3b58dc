"""One seed gives one run: with the protocol or its sum, on any number of workers, whatever goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simulations.config.config import load_config
from simulations.runs.run import RunError, start
from tests.support.runs import model_bytes, small_config

TROUBLE = """
[availability]
hours = "night"
time_zones = [0, 6]
start_hour = 23
round_minutes = 60
[faults]
latency = 5.0
deadline = 60.0
crashing = 0.05
not_finite = 0.05
[faults.drop_out]
advertise = 0.02
share = 0.02
input = 0.02
echo = 0.1
unmask = 0.2
[poison]
fraction = 0.2
attack = "backdoor"
boost = 3.0
"""
SIZE = {
    "data.devices": 60,
    "privacy.participation": "bounded",
    "server.cohort": 30,
    "server.dropout_fraction": 0.4,
    "server.corrupt_fraction": 0.0,
    "server.min_survivors": 13,
}


def trained(path: Path, aggregation: str, workers: int = 1, trouble: str = TROUBLE, **more: object) -> Path:
    path.mkdir()
    config = load_config(small_config(path, 2, trouble), {"server.aggregation": aggregation, **SIZE, **more})
    start(config, path / "run", force=False, workers=workers)
    return path / "run"


def figures(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def ideal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "ideal", "ideal", engine="sequential")


@pytest.mark.long
def test_the_protocol_and_its_sum_lose_the_same_devices_and_give_the_same_model(tmp_path: Path, ideal: Path) -> None:
    secure = trained(tmp_path / "secure", "secure", workers=2)
    assert figures(secure) == figures(ideal)
    assert model_bytes(secure) == model_bytes(ideal)
    lost = {reason.split(":")[0] for line in figures(ideal) for reason in line["refusals"]}  # type: ignore[attr-defined]
    assert {"advertise", "input", "unmask"} <= lost


@pytest.mark.long
@pytest.mark.parametrize("workers", [3])
def test_the_model_does_not_depend_on_the_number_of_workers(tmp_path: Path, ideal: Path, workers: int) -> None:
    run = trained(tmp_path / "workers", "ideal", workers, engine="sequential")
    assert model_bytes(run) == model_bytes(ideal)
    assert figures(run) == figures(ideal)


def test_a_round_that_loses_too_many_reveals_nothing_under_either(tmp_path: Path) -> None:
    """At the consistency check nothing is charged yet; at the last stage the charge stands."""
    for stage in ("echo", "unmask"):
        trouble = f"[faults.drop_out]\n{stage} = 0.6\n"
        runs = [tmp_path / f"{stage}-{kind}" for kind in ("secure", "ideal")]
        for run, kind in zip(runs, ("secure", "ideal"), strict=True):
            with pytest.raises(RunError, match="no round released anything"):
                trained(run, kind, trouble=trouble)
        first, second = (figures(run / "run") for run in runs)
        assert first == second
        assert all(str(line["aborted"]).startswith(f"{stage}: expected at least") for line in second)
        charged = [line["epsilon"] for line in second]
        assert all(charged) == (stage == "unmask")


def test_a_trusted_aggregator_meets_the_same_devices(tmp_path: Path, ideal: Path) -> None:
    central = figures(trained(tmp_path / "central", "central"))
    assert [line["survivors"] for line in central] == [line["survivors"] for line in figures(ideal)]
    assert all(line["attack_success"] is not None for line in central)
