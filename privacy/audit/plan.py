"""How much an audit of a task does, apart from the audit so that a command can state it in its help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditPlan:
    """How long to look.

    Attributes:
        trials: rounds with a canary, and as many without.
        battery: likewise, of each kind.
        canaries: of the audit in one run.
    """

    trials: int = 20_000
    battery: int = 300
    canaries: int = 16_000
