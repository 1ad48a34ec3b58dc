"""What the benchmarks have in common: CPU time, medians of pairs, one table or one JSON object."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, TypeVar

T = TypeVar("T")


class Row(TypedDict):
    """One comparison: medians of `runs` pairs, `ratio` the median of their quotients, `spread` the range of these."""

    name: str
    ours: float
    peer: float
    against: str
    ratio: float
    spread: tuple[float, float]
    unit: str
    runs: int


def cpu(call: Callable[[], T]) -> tuple[float, T]:
    """Return the CPU seconds of this process, all its threads together, and the call's result."""
    started = time.process_time()
    result = call()
    return time.process_time() - started, result


def compare(
    name: str, ours: Sequence[float], peers: Sequence[float], *, against: str, unit: str = "s", times_less: bool = False
) -> Row:
    """Make the row of figures measured in turn: ours[i] beside peers[i].

    Args:
        name: what was measured.
        ours: figures of ours.
        peers: as many of the peer's.
        against: who the peer is.
        unit: of all figures.
        times_less: whether the ratio is peer / ours, how many times less ours is, and not ours / peer.

    Raises:
        ValueError: when there are no pairs, or one side has more runs.
    """
    if not ours or len(ours) != len(peers):
        raise ValueError(f"{name}: expected as many runs of ours as of the peer, got {len(ours)} and {len(peers)}")
    ratios = [peer / own if times_less else own / peer for own, peer in zip(ours, peers, strict=True)]
    return {
        "name": name,
        "ours": statistics.median(ours),
        "peer": statistics.median(peers),
        "against": against,
        "ratio": statistics.median(ratios),
        "spread": (min(ratios), max(ratios)),
        "unit": unit,
        "runs": len(ours),
    }


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


Measure = Callable[[int], list[Row]]
"""Measures so many pairs of each of its rows."""


def run(description: str, measure: Measure) -> None:
    """Do what a benchmark's command line says: measure(runs), then print the rows."""
    arguments = _parser(description).parse_args()
    show(measure(arguments.runs), as_json=arguments.json)


def run_chosen(
    description: str,
    groups: Mapping[str, Measure],
    default: Sequence[str],
    against_build: Callable[[Path, int], list[Row]] | None = None,
) -> None:
    """Do what a benchmark's command line says, with `--rows` for the groups of rows to measure.

    Args:
        description: what the benchmark measures.
        groups: what measures each group.
        default: the groups that are measured unless others are asked for.
        against_build: what measures this build in pairs with the one in a checkout, so many of each row; with it there
            is an option `--against` that names the checkout, and nothing else is measured then.
    """
    parser = _parser(description)
    parser.add_argument(
        "--rows", nargs="+", choices=groups, default=default, help=f"groups of rows; default: {' '.join(default)}"
    )
    if against_build:
        parser.add_argument("--against", type=Path, metavar="DIR", help="measure against the build in this checkout")
    arguments = parser.parse_args()
    if against_build and arguments.against:
        rows = against_build(arguments.against, arguments.runs)
    else:
        rows = [row for group in arguments.rows for row in groups[group](arguments.runs)]
    show(rows, as_json=arguments.json)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="pairs to measure")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def show(rows: Sequence[Row], *, as_json: bool) -> None:
    """Print the rows as one JSON object or as a table."""
    print(json.dumps({"rows": rows, "machine": machine()}) if as_json else _table(rows))


def _table(rows: Sequence[Row]) -> str:
    width = max(len(row["name"]) for row in rows)
    return "\n".join([machine(), *(_line(row, width) for row in rows)])


def _line(row: Row, width: int) -> str:
    figures = f"{row['ours']:10.4g} {row['unit']}  {row['peer']:10.4g} {row['unit']}  ratio {row['ratio']:8.3g}"
    least, most = row["spread"]
    return f"{row['name']:{width}} {figures} ({least:.3g} to {most:.3g})  against {row['against']}"
