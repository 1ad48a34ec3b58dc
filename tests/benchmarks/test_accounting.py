"""The benchmark of accounting empties every cache that its gate has filled."""

from __future__ import annotations

from collections import Counter
from importlib import import_module

import pytest

from privacy.accounting.accountant import within
from tests.support.caches import filled
from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


def test_it_measures_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    accounting = import_module("accounting")
    accounting._forget()
    assert within(Counter({accounting._POISSON: 10}), 1e-6, 8.0)
    assert filled("privacy.")
    accounting._forget()
    assert filled("privacy.") == []
