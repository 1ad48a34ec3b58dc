"""The log of a run, a line a round, and what the epsilon report needs of it."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fl_server.training.coordinator import RoundReport
from privacy.report.build import RoundCounts, RunFacts


def round_line(report: RoundReport) -> dict[str, Any]:
    """One round as JSON: counts and reasons, never who took part; an unbounded epsilon is null."""
    release = report.release
    return {
        "round": report.round,
        "invited": report.facts.invited,
        "cohort": release.cohort if release else 0,
        "survivors": release.survivors if release else 0,
        "refusals": dict(report.facts.refusals),
        "aborted": report.aborted or None,
        "epsilon": report.epsilon if math.isfinite(report.epsilon) else None,
        "noise_std": release.noise_std if release else 0.0,
        "noise_multiplier": release.noise_multiplier if release else None,
        "statistics": dict(release.statistics) if release else {},
        "statistics_noise_std": dict(release.statistics_noise_std) if release else {},
    }


def run_facts(lines: Sequence[Mapping[str, Any]], packages: Sequence[str]) -> RunFacts:
    """Realised sizes and least noise of the released rounds, from their lines, and the versions of `packages`."""
    released = [line for line in lines if line["aborted"] is None]
    counts = [RoundCounts(round=one["round"], cohort=one["cohort"], survivors=one["survivors"]) for one in released]
    least = min((one["noise_multiplier"] for one in released), default=None)
    return RunFacts(counts, least, versions(packages))


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Of Python and of what ran on it."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
