"""How long the audits of a task look: a module of its own, so that a command's help does not load the audits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditPlan:
    """How long the audits of a task look.

    Attributes:
        trials: rounds with a canary, and as many without, at least 20.
        battery: rounds of each kind for the battery, at least 20.
        canaries: devices in the audit by one run.
    """

    trials: int = 20_000
    battery: int = 300
    canaries: int = 16_000
