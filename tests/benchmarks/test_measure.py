"""How benchmarks count: which way a ratio goes, which rows are chosen, and the CPU time of whole process trees."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

from tests.support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
_SPENDS = "import time\nwhile time.process_time() < {}: pass\n"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("measure")


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("processes")


def test_a_ratio_is_the_median_of_pairs_either_way(measure: ModuleType) -> None:
    over = measure.compare("a", [2.0, 3.0, 8.0], [1.0, 1.0, 2.0], against="b")
    assert (over["ours"], over["peer"], over["ratio"], over["spread"], over["runs"]) == (3.0, 1.0, 3.0, (2.0, 4.0), 3)
    under = measure.compare("a", [2.0, 3.0, 8.0], [1.0, 1.0, 2.0], against="b", times_less=True)
    assert (under["ratio"], under["spread"]) == (1 / 3, (1 / 4, 1 / 2))


def test_only_the_groups_asked_for_are_measured(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def group(name: str) -> object:
        return lambda runs: [measure.compare(name, [1.0] * runs, [2.0] * runs, against="peer")]

    monkeypatch.setattr(sys, "argv", ["benchmark", "--json", "--runs", "2", "--rows", "second"])
    measure.run_chosen("A benchmark.", {"first": group("first"), "second": group("second")}, default=["first"])
    printed = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["runs"]) for row in printed["rows"]] == [("second", 2)]
    assert printed["machine"]


def test_the_time_of_a_tree_counts_living_and_ended_descendants(processes: ModuleType) -> None:
    """The child spends .2 s, and so does its own child before it ends; ticks of .01 s are rounded down."""
    code = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {_SPENDS.format(0.2)!r}])\n{_SPENDS.format(0.2)}"
        "print(flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert 0.36 <= processes.tree_seconds(child.pid) < 5
        child.communicate()


def test_the_peak_of_memory_starts_anew(processes: ModuleType) -> None:
    bytes(100 << 20)
    before = processes.resident_from_now_on()
    held = b"x" * (64 << 20)
    grown = processes.most_resident() - before
    assert len(held) <= grown + (1 << 20) < len(held) + (16 << 20)
