"""How a task went, recomputed from the ledger: its course, and what its population had spent after each round."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from privacy.accounting.accountant import AccountantsDisagree, spend
from privacy.accounting.events import Event
from privacy.ledger.entries import LedgerState
from privacy.task.task import TaskSpec

_POINTS = 64
"""Rounds that are recomputed; the epsilon of another one must lie between its neighbours'."""


def recomputed_rounds(count: int) -> list[int]:
    """Return which of so many rounds are recomputed: all, or evenly spread ones with the first and the last."""
    points = min(count, _POINTS)
    return sorted({1, *(math.ceil(count * point / points) for point in range(1, points + 1))}) if count else []


def course(task: TaskSpec, ledger_state: LedgerState, last_round: int | None) -> dict[str, Any]:
    """Return how a task went, as a run's summary and a model's card tell it.

    Args:
        task: the task.
        ledger_state: the verified ledger.
        last_round: the last round that was attempted; None where nothing tells.
    """
    own = (account for account in ledger_state.accounts.values() if account.charge.task == task.id)
    released = {"rounds_released": sum(account.model_digest is not None for account in own)}
    if last_round is None:
        return released
    return {**released, "rounds": last_round, "ended": "complete" if last_round == task.rounds else "budget exhausted"}


def spent_by_rounds(ledger_state: LedgerState, task: TaskSpec, count: int) -> dict[int, float]:
    """Return epsilon after some of a task's first rounds, by their number; empty where the accountants disagree.

    Args:
        ledger_state: the verified ledger.
        task: the task.
        count: how many rounds it had.
    """
    if ledger_state.opened is None:
        return {}
    ends = _ends(ledger_state, task)
    try:
        return {
            number: spend(_charged_before(ledger_state, ends, number), ledger_state.opened.budget.delta).epsilon
            for number in recomputed_rounds(count)
        }
    except AccountantsDisagree:
        return {}


def out_of_place(spent: Mapping[int, float], stated: Mapping[int, float]) -> int | None:
    """Return the first round whose stated epsilon cannot be; None where all may.

    Args:
        spent: epsilon after the rounds that were recomputed, by number; that of another lies between its neighbours'.
        stated: what is stated, by number.
    """
    known = sorted(spent)
    for number, epsilon in sorted(stated.items()):
        below = max((spent[one] for one in known if one <= number), default=0.0)
        above = min((spent[one] for one in known if one >= number), default=math.inf)
        if not below <= epsilon <= above:
            return number
    return None


def _ends(ledger_state: LedgerState, task: TaskSpec) -> dict[int, int]:
    """Return the place in the ledger of each round's last charge, by the round's number."""
    own = (account for account in ledger_state.accounts.values() if account.charge.task == task.id)
    return {account.charge.round: account.seq for account in own}


def _charged_before(ledger_state: LedgerState, ends: Mapping[int, int], number: int) -> Counter[Event]:
    """Count what was charged by the end of a round: up to its own charge or, without one, before the next round's."""
    later = min((seq for charged, seq in ends.items() if charged > number), default=ledger_state.size)
    last = ends.get(number, later - 1)
    return Counter(account.charge.event for account in ledger_state.accounts.values() if account.seq <= last)
