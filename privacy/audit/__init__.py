"""Empirical audits: lower bounds of what is lost, to hold against the upper bounds that are claimed.

An audit can refute a claim, never prove one. `audit_rounds` and `audit_one_round` bound the epsilon of the mechanism
from below by what an observer can tell; `run_battery` looks for the faults that implementations have had; `audit_task`
runs all of them on a task, and `audit_release` what every release reports.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
