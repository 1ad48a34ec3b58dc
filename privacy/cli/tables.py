"""What the terminal shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from privacy.planning import Plan
    from privacy.report.diff import Change
    from privacy.report.model import AuditPart
    from privacy.verification.checks import Check


_ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("noise multiplier", lambda one: f"{one.noise_multiplier:g}"),
    ("epsilon of all rounds", lambda one: f"{one.epsilon:.10g} at delta {one.delta:g}"),
    ("shards", lambda one: f"{one.shards} of {one.shard_cohort} devices"),
    ("bits a coordinate", lambda one: str(one.bits)),
    ("half the modulus, in deviations of the sum", lambda one: f"{one.headroom:.1f}"),
    ("rounding adds to the sensitivity", lambda one: f"{one.rounding_cost - 1:.2%}"),
    ("holders of a device's shares, k", lambda one: str(one.holders)),
    ("threshold, t", lambda one: str(one.threshold)),
    ("quorum of echoes", lambda one: str(one.quorum)),
    ("survivors required in a shard", lambda one: str(one.survivors_required)),
    ("a device is betrayed, in a round", lambda one: _chance(one.security_bits)),
    ("drop-outs as assumed spoil a round", lambda one: _chance(one.failure_bits)),
    ("masks a device", lambda one: str(one.masks)),
    ("noise a device, in steps of the grid", lambda one: f"{one.noise_steps:.1f}"),
    ("noise a device, in weights", lambda one: f"{one.noise_device:.3g}"),
    ("noise in the sum, in weights", lambda one: f"{one.noise_sum:.3g}"),
    ("noise in the mean, in weights", lambda one: f"{one.noise_mean:.3g}"),
    ("expected error of the mean, in clips", lambda one: f"{one.error_over_clip:.3g}"),
    ("upload a device and round", lambda one: _bytes(one.upload)),
    ("download a device and round", lambda one: _bytes(one.download)),
    ("corrupt share to assume of a shard", lambda one: _share(one.shard_corrupt_fraction)),
)
_MARKS = {True: "[green]ok[/green]", False: "[red]FAILED[/red]", None: "[yellow]not verified[/yellow]"}


def plans_table(plans: Sequence[Plan]) -> Table:
    """A column a plan."""
    table = Table("", *(f"cohort {one.cohort}" for one in plans))
    for name, show in _ROWS:
        table.add_row(name, *map(show, plans))
    return table


def plan_fields(one: Plan) -> dict[str, object]:
    """The plan for JSON, which has no infinity: an epsilon of null promises nothing."""
    return {**asdict(one), "epsilon": one.epsilon if math.isfinite(one.epsilon) else None}


def audits_table(audits: Sequence[AuditPart]) -> Table:
    """A line an audit."""
    table = Table("", "audit", "certified", "of any mechanism", "estimate", "claimed", "found")
    for one in audits:
        figures = (one.epsilon_bound, one.epsilon_bound_any, one.epsilon_estimate)
        shown = [figure or "-" for figure in figures]
        table.add_row(_MARKS[one.passed], one.name, *shown, one.epsilon_claimed, one.statement)
    return table


def checks_table(checks: Sequence[Check]) -> Table:
    """A line a check."""
    table = Table("", "check", "found")
    for check in checks:
        table.add_row(_MARKS[check.passed], check.name, check.detail)
    return table


def budget_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """A line a limit."""
    table = Table("population", "over", "spent", "limit", "charges", "rounds left")
    for row in rows:
        spent, limit, left = row["spent"], row["limit"], row["rounds_left"]
        table.add_row(
            str(row["population"]),
            str(row["span"]),
            f"epsilon {spent} at delta {row['delta']:g}" if spent is not None else "no finite epsilon",
            "none" if limit is None else f"epsilon {limit}",
            str(row["charges"]),
            "no limit" if left is None else str(left),
        )
    return table


def changes_table(changes: Sequence[Change]) -> Table:
    """A line a change."""
    table = Table("where", "before", "after")
    for change in changes:
        table.add_row(change.place, change.before or "-", change.after or "-")
    return table


def _bytes(size: int) -> str:
    return f"{size:,} B"


def _chance(bits: int | None) -> str:
    return "never" if bits is None else f"at most 2^-{bits}"


def _share(share: float | None) -> str:
    return "as given" if share is None else f"{share:.3f}"
