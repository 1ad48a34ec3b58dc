"""Checks of a run that stands for a larger fleet: its report must say so, and the fleet's epsilon is recomputed."""

from __future__ import annotations

from privacy.accounting.accountant import AccountantsDisagree, confirmed_spend
from privacy.accounting.extrapolation import fleet_events
from privacy.ledger.entries import LedgerState
from privacy.report.model import EpsilonReport
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check

_EPSILON = "extrapolated: the fleet's epsilon, HYPOTHETICAL, is as reported"


def check_fleet(task: TaskSpec | None, ledger_state: LedgerState, report: EpsilonReport | None) -> list[Check]:
    """Check that a report says that its run stands for a fleet, and recompute the fleet's epsilon.

    Args:
        task: the task; one that stands for itself gives no checks, and its report is checked where it is built anew.
        ledger_state: the verified ledger.
        report: the epsilon report, if there is one.
    """
    if task is None or task.simulation.fleet is None or report is None:
        return []
    return [_epsilon(task, ledger_state, report)]


def _epsilon(task: TaskSpec, ledger_state: LedgerState, report: EpsilonReport) -> Check:
    stated = report.extrapolation
    if stated is None:
        return Check(_EPSILON, False, "expected one that says that its run stands for a fleet, got none of it")
    size = report.provenance.ledger_head.size
    rounds = [
        account.charge.round
        for account in ledger_state.accounts.values()
        if account.charge.task == task.id and account.seq < size
    ]
    try:
        spent = confirmed_spend(fleet_events(task, rounds), task.budget.delta)
    except AccountantsDisagree as error:
        return Check(_EPSILON, False, str(error))
    if (float(stated.spend.epsilon), float(stated.spend.delta)) != (spent.epsilon, spent.delta):
        return Check(_EPSILON, False, f"expected {spent.epsilon} at {spent.delta:g}, got {stated.spend.epsilon}")
    sizes = f"cohorts of {float(stated.cohort):,.0f} of {stated.population:,} devices that were never asked"
    own = f"this run's own devices: {report.claim.epsilon}"
    return Check(_EPSILON, True, f"{spent.epsilon} at {spent.delta:g} in {sizes}; {own}")
