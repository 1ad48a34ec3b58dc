"""A population's budget against what was charged: over its life, and in any window of days."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from privacy.accounting.accountant import spend, within
from privacy.accounting.events import Event
from privacy.ledger.entries import Account, LedgerError, LedgerState
from privacy.task.task import Budget, Window


class BudgetExhausted(LedgerError):
    """A charge would exceed the budget.

    Attributes:
        spent: epsilon so far.
        would_make: epsilon with the charge.
        limit: epsilon that may be spent.
        span: over what time: "the population's life" or "any 30 days".
        budget: what may be spent.
    """

    def __init__(self, limit: Limit, event: Event, budget: Budget) -> None:
        self.limit, self.span, self.budget = limit.epsilon, limit.span, budget
        self.spent = spend(limit.counts, budget.delta).epsilon
        self.would_make = spend(limit.counts + Counter({event: 1}), budget.delta).epsilon
        super().__init__(
            f"budget: epsilon {self.spent} of {self.limit} is spent at delta {budget.delta} in {self.span}, and this "
            f"round would make it {self.would_make}; nothing of it was unmasked"
        )


@dataclass(frozen=True)
class Limit:
    """What may be spent over a span of time, and what was charged in it.

    Attributes:
        span: the time, in words.
        epsilon: what may be spent; inf for no limit.
        counts: how often each event was charged.
    """

    span: str
    epsilon: float
    counts: Counter[Event]


def limits(ledger_state: LedgerState, budget: Budget, now: int) -> list[Limit]:
    """Return the limit of the population's life, and that of the window which ends at `now` if there is one.

    Args:
        ledger_state: what was charged.
        budget: what may be spent.
        now: Unix time in seconds.
    """
    whole = Limit("the population's life", math.inf if budget.epsilon is None else budget.epsilon, ledger_state.counts)
    if budget.window is None:
        return [whole]
    return [whole, _windowed(budget.window, ledger_state.charged_since(now - budget.window.seconds + 1))]


def check_charge(ledger_state: LedgerState, budget: Budget, event: Event, now: int) -> None:
    """Check that one more event stays within every limit.

    Args:
        ledger_state: what was charged.
        budget: what may be spent.
        event: what is to be charged.
        now: Unix time in seconds.

    Raises:
        BudgetExhausted: when it would exceed one.
        AccountantsDisagree: when no epsilon can be stated.
    """
    for limit in limits(ledger_state, budget, now):
        if not within(limit.counts + Counter({event: 1}), budget.delta, limit.epsilon):
            raise BudgetExhausted(limit, event, budget)


def first_overspent(ledger_state: LedgerState, budget: Budget) -> tuple[Account, Limit] | None:
    """Return the first charge with which a limit was exceeded, and that limit; None where all were kept.

    Raises:
        AccountantsDisagree: when no epsilon can be stated.
    """
    accounts = list(ledger_state.accounts.values())
    whole = limits(ledger_state, budget, ledger_state.time)[0]
    if not within(whole.counts, budget.delta, whole.epsilon):
        return accounts[_culprit(accounts, whole.epsilon, budget.delta)], whole
    if budget.window is None:
        return None
    return _first_in_window(accounts, budget.window, budget.delta)


def worst_in_window(ledger_state: LedgerState, window: Window, delta: float) -> float:
    """Return the epsilon of the costliest window so far; 0 before the first charge.

    Args:
        ledger_state: what was charged.
        window: its days.
        delta: between 0 and 1.

    Raises:
        AccountantsDisagree: when no epsilon can be stated.
    """
    distinct = {
        frozenset(counts.items()): counts for _, counts in _fullest(list(ledger_state.accounts.values()), window)
    }
    return max((spend(counts, delta).epsilon for counts in distinct.values()), default=0.0)


def _windowed(window: Window, counts: Counter[Event]) -> Limit:
    return Limit(f"any {window.days} days", window.epsilon, counts)


def _culprit(accounts: list[Account], epsilon: float, delta: float) -> int:
    """Return the place of the first charge too many: epsilon only grows, so it can be searched for."""
    events = [account.charge.event for account in accounts]
    too_much = range(len(events))
    return bisect_left(too_much, True, key=lambda last: not within(events[: last + 1], delta, epsilon))


def _first_in_window(accounts: list[Account], window: Window, delta: float) -> tuple[Account, Limit] | None:
    fine: set[frozenset[tuple[Event, int]]] = set()
    for account, counts in _fullest(accounts, window):
        key = frozenset(counts.items())
        if key not in fine and not within(counts, delta, window.epsilon):
            return account, _windowed(window, counts)
        fine.add(key)
    return None


def _fullest(accounts: list[Account], window: Window) -> Iterator[tuple[Account, Counter[Event]]]:
    """Yield windows just before something leaves them, and the last: any other window is part of one of these."""
    counts: Counter[Event] = Counter()
    first = 0
    for last, account in enumerate(accounts):
        gone = first
        while accounts[gone].time <= account.time - window.seconds:
            gone += 1
        if gone > first:
            yield accounts[last - 1], counts.copy()
            counts -= Counter(left.charge.event for left in accounts[first:gone])
            first = gone
        counts[account.charge.event] += 1
    if accounts:
        yield accounts[-1], counts
