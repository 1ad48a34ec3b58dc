"""The benchmark of secure aggregation runs, on a round too small to measure, so that it keeps up with the code."""

from __future__ import annotations

from importlib import import_module
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
