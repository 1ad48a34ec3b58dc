"""What the benchmarks share: CPU time, medians of pairs, one table or one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypedDict, TypeVar

T = TypeVar("T")


class Row(TypedDict):
    """One comparison: medians of `runs` pairs, `ratio` the median of ours / peer."""

    name: str
    ours: float
    peer: float
    against: str
    ratio: float
    unit: str
    runs: int


def cpu(call: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of this process, all its threads together, and the call's result."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def compare(name: str, ours: Sequence[float], peers: Sequence[float], *, against: str, unit: str = "s") -> Row:
    """The row of figures measured in turn: ours[i] beside peers[i].

    Raises:
        ValueError: when there are no pairs, or one side has more runs.
    """
    if not ours or len(ours) != len(peers):
        raise ValueError(f"{name}: expected as many runs of ours as of the peer, got {len(ours)} and {len(peers)}")
    return {
        "name": name,
        "ours": statistics.median(ours),
        "peer": statistics.median(peers),
        "against": against,
        "ratio": statistics.median(one / peer for one, peer in zip(ours, peers, strict=True)),
        "unit": unit,
        "runs": len(ours),
    }


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def run(description: str, measure: Callable[[int], list[Row]]) -> None:
    """A benchmark's command line: measure(runs), then print the rows."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="pairs to measure")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    rows = measure(arguments.runs)
    print(json.dumps({"rows": rows, "machine": machine()}) if arguments.json else _table(rows))


def _table(rows: Sequence[Row]) -> str:
    width = max(len(row["name"]) for row in rows)
    return "\n".join([machine(), *(_line(row, width) for row in rows)])


def _line(row: Row, width: int) -> str:
    figures = f"{row['ours']:10.4g} {row['unit']}  {row['peer']:10.4g} {row['unit']}  ratio {row['ratio']:8.3g}"
    return f"{row['name']:{width}} {figures}  against {row['against']}"
