"""Tables that the terminal shows."""

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


def _known(plan: Plan) -> str:
    """Say what holds towards the server, members of cohorts, and holders of the round log."""
    known = plan.known_cohorts_epsilon
    return "the same" if known is None else f"{known:.10g}: server, members, holders of the log"


_ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("rounds", lambda plan: str(plan.rounds)),
    ("noise multiplier", lambda plan: f"{plan.noise_multiplier:g}"),
    ("epsilon of all rounds", lambda plan: f"{plan.epsilon:.10g} at delta {plan.delta:g}"),
    ("where cohorts are known", _known),
    ("devices within reach at a draw, at least", lambda plan: _count(plan.least_reachable)),
    ("shards", lambda plan: f"{plan.shards} of {plan.shard_cohort} devices"),
    ("bits a coordinate", lambda plan: str(plan.bits)),
    ("half the modulus, in deviations of the sum", lambda plan: f"{plan.headroom:.1f}"),
    ("rounding adds to the sensitivity", lambda plan: f"{plan.rounding_cost - 1:.2%}"),
    ("holders of a device's shares, k", lambda plan: str(plan.holders)),
    ("threshold, t", lambda plan: str(plan.threshold)),
    ("quorum of signatures", lambda plan: str(plan.quorum)),
    ("survivors required in a shard", lambda plan: str(plan.survivors_required)),
    ("corrupt devices sized for", lambda plan: str(plan.corrupt)),
    ("more are in an honest draw", lambda plan: _chance(plan.draw_bits)),
    ("colluders withstood, whoever picked them", lambda plan: str(plan.withstands)),
    ("noise multiplier with that many corrupt", lambda plan: f"{plan.tail_noise_multiplier:.3g}"),
    ("a device is betrayed, in a round", lambda plan: _chance(plan.security_bits)),
    ("drop-outs as assumed spoil a round", lambda plan: _chance(plan.failure_bits)),
    ("masks a device", lambda plan: str(plan.masks)),
    ("noise a device, in steps of the grid", lambda plan: f"{plan.noise_steps:.1f}"),
    ("noise a device, in weights", lambda plan: f"{plan.noise_device:.3g}"),
    ("noise in the sum, in weights", lambda plan: f"{plan.noise_sum:.3g}"),
    ("noise in the mean, in weights", lambda plan: f"{plan.noise_mean:.3g}"),
    ("expected error of the mean, in clips", lambda plan: f"{plan.error_over_clip:.3g}"),
    ("signal over noise, of the best", lambda plan: "-" if plan.signal is None else f"{plan.signal:.0%}"),
    ("server learning rate, linear models", lambda plan: f"{plan.learning_rate:g}"),
    ("noise of all rounds in a logit", lambda plan: f"{plan.logit_noise:.2g}"),
    ("upload a device and round", lambda plan: _bytes(plan.upload)),
    ("download a device and round", lambda plan: _bytes(plan.download)),
    ("corrupt fraction to assume of a shard", lambda plan: _fraction(plan.shard_corrupt_fraction)),
)
_MARKS = {True: "[green]ok[/green]", False: "[red]FAILED[/red]", None: "[yellow]not verified[/yellow]"}


def plans_table(plans: Sequence[Plan]) -> Table:
    """Draw plans side by side, a column for each."""
    table = Table("", *(f"cohort {plan.cohort}" for plan in plans))
    for name, show in _ROWS:
        table.add_row(name, *map(show, plans))
    return table


def plan_fields(plan: Plan) -> dict[str, object]:
    """Return a plan for JSON, which has no infinity: an epsilon of null promises nothing."""
    known = plan.known_cohorts_epsilon
    return {
        **asdict(plan),
        "epsilon": plan.epsilon if math.isfinite(plan.epsilon) else None,
        "known_cohorts_epsilon": known if known is not None and math.isfinite(known) else None,
    }


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def audits_table(audits: Sequence[AuditPart]) -> Table:
    """Draw audits, a line for each."""
    table = Table("", "audit", "certified", "of any mechanism", "estimate", "claimed", "found")
    for audit in audits:
        figures = (audit.epsilon_bound, audit.epsilon_bound_any, audit.epsilon_estimate)
        shown = [figure or "-" for figure in figures]
        table.add_row(_MARKS[audit.passed], audit.name, *shown, audit.epsilon_claimed, audit.statement)
    return table


def checks_table(checks: Sequence[Check]) -> Table:
    """Draw checks, a line for each."""
    table = Table("", "check", "found")
    for check in checks:
        table.add_row(_MARKS[check.passed], check.name, check.detail)
    return table


def budget_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Draw what is left of a budget, a line for each limit."""
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
    """Draw changes between two reports, a line for each."""
    table = Table("where", "before", "after")
    for change in changes:
        table.add_row(change.place, change.before or "-", change.after or "-")
    return table


def _bytes(size: int) -> str:
    return f"{size:,} B"


def _chance(bits: int | None) -> str:
    return "never" if bits is None else f"at most 2^-{bits}"


def _fraction(fraction: float | None) -> str:
    return "as given" if fraction is None else f"{fraction:.3f}"
