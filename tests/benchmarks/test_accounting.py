"""The benchmark of accounting knows the caches that it has to empty."""

from __future__ import annotations

from importlib import import_module

import pytest

from privacy.accounting import composition
from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


def test_it_measures_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    accounting = import_module("accounting")
    caches = [value for value in vars(composition).values() if hasattr(value, "cache_info")]
    assert len(caches) > 5
    accounting._forget()
    assert all(cache.cache_info().currsize == 0 for cache in caches)
