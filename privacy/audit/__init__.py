"""Empirical audits: lower bounds of what is lost, to hold against the upper bounds that are claimed.

An audit can refute a claim, never prove one. `audit_rounds` and `audit_one_round` bound the epsilon of the mechanism
from below by what an observer can tell; `run_battery` looks for the faults that implementations have had; `audit_task`
runs all of them on a task, and `audit_release` what every release reports.
"""

from privacy.audit.battery import run_battery
from privacy.audit.pipeline import Audited, Pipeline, Shipped
from privacy.audit.record import AuditResult, Battery, Check
from privacy.audit.rounds import audit_one_round, audit_rounds
from privacy.audit.suite import (
    AuditPlan,
    NothingToAudit,
    TaskAudits,
    audit_part,
    audit_release,
    audit_task,
    claimed_epsilon,
)

__all__ = [
    "AuditPlan",
    "AuditResult",
    "Audited",
    "Battery",
    "Check",
    "NothingToAudit",
    "Pipeline",
    "Shipped",
    "TaskAudits",
    "audit_one_round",
    "audit_part",
    "audit_release",
    "audit_rounds",
    "audit_task",
    "claimed_epsilon",
    "run_battery",
]
