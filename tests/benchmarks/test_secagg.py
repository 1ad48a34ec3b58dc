"""The benchmark of secure aggregation runs, on a round too small to measure, so that it keeps up with the code."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def secagg(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("secagg")


@pytest.mark.parametrize("warm", [False, True])
def test_a_round_is_measured_in_every_part(secagg: ModuleType, warm: bool) -> None:
    """Of 10 devices one sends no input: the others' self-masks, and the pairwise mask of each with it.

    Besides its 2 bytes a coordinate a masked vector has 5 bytes of a header and two lengths of 4, its own and that of
    a complaint, of which there is none.
    """
    spent = secagg.measure_round(secagg.Setting(10, 64, 16), warm=warm)
    assert (spent.masks, spent.agreements) == (18, 9)
    assert spent.vector == 64 * 2 + 5 + 2 * 4
    assert min(spent.device, spent.handshake, spent.server, spent.unmask, spent.upload) > 0


def test_another_build_is_measured_in_turn_with_this_one(secagg: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[Path, object]] = []

    def round_of(checkout: Path, setting: object) -> dict[str, float]:
        measured.append((checkout, setting))
        return dict.fromkeys(("device", "server", "upload"), 1.0 if checkout == secagg.ROOT else 4.0)

    monkeypatch.setattr(secagg, "_round_of", round_of)
    rows = secagg.against_build(Path("elsewhere"), 2)
    assert [row["name"].split(",")[0] for row in rows] == ["device", "server", "handshake bytes", "device"]
    assert {row["ratio"] for row in rows} == {0.25}
    assert [checkout for checkout, _ in measured] == [ROOT, Path("elsewhere")] * 4


@pytest.mark.long
def test_a_round_of_a_checkout_runs_in_a_process_that_has_nothing_else(secagg: ModuleType) -> None:
    spent = secagg._round_of(ROOT, secagg.Setting(10, 64, 16))
    assert (spent["masks"], spent["agreements"]) == (18, 9)
    assert spent["device"] > 0
