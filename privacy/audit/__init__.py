"""Empirical audits: lower bounds of what is lost, to hold against the upper bounds that are claimed.

An audit can refute a claim, never prove one. `audit_rounds` and `audit_one_round` bound the epsilon of the mechanism
from below by what an observer can tell; `run_battery` looks for the faults that implementations have had.
"""

from privacy.audit.battery import run_battery
from privacy.audit.pipeline import Audited, Pipeline, Shipped
from privacy.audit.record import AuditResult, Battery, Check
from privacy.audit.rounds import audit_one_round, audit_rounds

__all__ = [
    "AuditResult",
    "Audited",
    "Battery",
    "Check",
    "Pipeline",
    "Shipped",
    "audit_one_round",
    "audit_rounds",
    "run_battery",
]
