"""What a whole `fl-sim run` costs from its start to its summary: imports, data, plan, rounds, every round's epsilon.

Against a checkout of an earlier version, which the environment variable AGAINST names, under the same interpreter. The
first run of each compiles kernels and is not counted.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from measure import Row, compare
from startup import HERE, cpu_seconds

_GOAL_S = 20.0
"""CPU seconds that 100 rounds of 500 devices may take."""


def rows(runs: int) -> list[Row]:
    earlier = os.environ.get("AGAINST")
    if earlier is None:
        print("AGAINST names no earlier checkout: the rows of whole runs are left out", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as scratch:
        small = [whole_run(checkout, Path(scratch) / "out", 200, 30) for checkout in (HERE, Path(earlier)) * (runs + 1)]
        large = [whole_run(HERE, Path(scratch) / "out", 500, 100) for _ in range(runs)]
    return [
        compare("30 rounds, 200 of 7,000 devices", small[2::2], small[3::2], against=earlier),
        compare("100 rounds, 500 of 7,000 devices", large, [_GOAL_S] * runs, against="the goal"),
    ]


def whole_run(checkout: Path, out: Path, cohort: int, rounds: int) -> float:
    """CPU seconds of one run in a process of its own."""
    sizes = {"--devices": 7_000, "--cohort": cohort, "--rounds": rounds, "--seed": 1, "--workers": 1}
    given = [part for name, value in sizes.items() for part in (name, str(value))]
    command = ["-m", "simulations", "run", "--aggregation", "central", *given, "--out", str(out), "--force"]
    return cpu_seconds(checkout, command, 0)
