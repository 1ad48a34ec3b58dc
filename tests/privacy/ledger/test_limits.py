"""Budgets over a window of days."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings, strategies as st

from privacy.accounting.accountant import spend
from privacy.accounting.events import BoundedGaussian, Event
from privacy.base.signing import Signer
from privacy.ledger.entries import Entry, LedgerState
from privacy.ledger.ledger import BudgetExhausted, Charge, Ledger, verify
from privacy.ledger.limits import first_overspent
from privacy.task.task import Budget, Window
from tests.support.stores import MemoryStore

TASK = "ab" * 32
EVENT = BoundedGaussian(task=TASK, noise_multiplier=4.0, max_participations=100)
QUIET = BoundedGaussian(task=TASK, noise_multiplier=9.0, max_participations=100)
SIGNER = Signer.from_seed(b"\x07" * 32)
DAY = 86_400


def charge(number: int, event: Event = EVENT) -> Charge:
    return Charge(
        task=TASK, population="demo", round=number, purpose="training", event=event, transcript=f"{number:064x}"
    )


def check(ledger: Ledger) -> tuple[Entry, ...]:
    return verify(ledger.entries(), ledger.head(), SIGNER.public)


@dataclass
class Clock:
    now: int = 0

    def __call__(self) -> int:
        return self.now


def windowed(clock: Clock, epsilon: float) -> Ledger:
    budget = Budget(delta=1e-6, window=Window(epsilon=epsilon, days=7))
    return Ledger(MemoryStore(), SIGNER, "demo", budget, clock)


def test_a_window_limits_what_is_in_it_and_forgets_what_is_older() -> None:
    clock = Clock()
    ledger = windowed(clock, spend([EVENT] * 3, 1e-6).epsilon)
    for day in (0, 3, 6):
        clock.now = day * DAY
        ledger.reserve(charge(day + 1))
    clock.now = 7 * DAY - 1
    with pytest.raises(BudgetExhausted, match="any 7 days"):
        ledger.reserve(charge(20))
    clock.now = 7 * DAY
    ledger.reserve(charge(21))
    with pytest.raises(BudgetExhausted):
        ledger.reserve(charge(22))
    assert len(check(ledger)) == 5
    assert ledger.spent() == spend([EVENT] * 4, 1e-6)


def test_a_clock_that_is_set_back_gives_nothing_free() -> None:
    clock = Clock(now=100 * DAY)
    ledger = windowed(clock, spend([EVENT], 1e-6).epsilon)
    ledger.reserve(charge(1))
    clock.now = 0
    with pytest.raises(BudgetExhausted):
        ledger.reserve(charge(2))
    assert [entry.time for entry in check(ledger)] == [100 * DAY] * 2


@given(st.lists(st.tuples(st.integers(0, 3 * DAY), st.sampled_from([EVENT, QUIET])), max_size=12), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_verification_finds_the_fullest_window(steps: list[tuple[int, Event]], days: int) -> None:
    """Against every window that ends at a charge, one by one."""
    clock = Clock()
    ledger = Ledger(MemoryStore(), SIGNER, "demo", Budget(delta=1e-6), clock)
    times = list(itertools.accumulate(step for step, _ in steps))
    for number, (now, (_, event)) in enumerate(zip(times, steps, strict=True), 1):
        clock.now = now
        ledger.reserve(charge(number, event=event))
    ledger_state = LedgerState()
    for raw in ledger.entries():
        ledger_state.apply(raw)
    costs = [
        spend(
            [event for at, (_, event) in zip(times, steps, strict=True) if end - days * DAY < at <= end], 1e-6
        ).epsilon
        for end in times
    ]
    worst = max(costs, default=0.5)
    for limit, over in ((worst, False), (worst - 0.01, bool(steps))):
        overspent = first_overspent(ledger_state, Budget(delta=1e-6, window=Window(epsilon=limit, days=days)))
        assert (overspent is not None) == over
