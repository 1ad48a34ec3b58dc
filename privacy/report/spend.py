"""What events cost one device, as a report states it: decimal strings, upper bounds rounded up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_CEILING, Context, Decimal

from privacy.accounting.accountant import Spend, privacy_curve, spend_by_round
from privacy.accounting.events import Event
from privacy.report import words
from privacy.report.model import AtDelta, DeviceSpend

_STATED = tuple(Decimal(factor) for factor in ("0.01", "0.1", "1", "10"))
"""Deltas of the table, as factors of the task's."""
_DRAWN = tuple(Decimal(f"{digits}e{power}") for power in range(-6, 2) for digits in (1, 3))
"""Deltas of the curve, as factors of the task's."""
_UP = Context(prec=3, rounding=ROUND_CEILING)


def device_spend(events: Sequence[Event], device: Spend) -> DeviceSpend:
    """State what the events, in order, cost together and on the way; `device` is what they were found to cost."""
    counts = Counter(events)
    return DeviceSpend(
        epsilon=number(device.epsilon),
        delta=number(device.delta),
        lots_delta=number(device.lots_delta),
        mu=None if device.mu is None else number(device.mu),
        rho=None if device.mu is None else number(device.mu**2 / 2),
        rounding=words.ROUNDING,
        accountant=device.accountant,
        second_accountant=device.second_accountant,
        second_epsilon=number(_ceiling(device.second_epsilon)),
        discrepancy=_short(device.discrepancy),
        at_deltas=_points(counts, _times(device.delta, _STATED)),
        curve=_points(counts, _times(device.delta, _DRAWN)),
        by_charge=tuple(number(epsilon) for epsilon in spend_by_round(events, device.delta)),
    )


def _times(delta: float, factors: Sequence[Decimal]) -> list[float]:
    return [float(Decimal(repr(delta)) * factor) for factor in factors if Decimal(repr(delta)) * factor < 1]


def _points(counts: Counter[Event], deltas: Sequence[float]) -> tuple[AtDelta, ...]:
    epsilons = privacy_curve(counts, deltas)
    return tuple(
        AtDelta(delta=number(delta), epsilon=number(epsilon)) for delta, epsilon in zip(deltas, epsilons, strict=True)
    )


def number(value: float) -> str:
    """Write the shortest decimal that is exactly this float; `inf` for infinity."""
    return "inf" if math.isinf(value) else repr(float(value)).removesuffix(".0")


def _ceiling(value: float) -> float:
    return math.ceil(value * 1e4) / 1e4 if math.isfinite(value) else value


def _short(value: float) -> str:
    """Write three significant digits, rounded up."""
    return "inf" if math.isinf(value) else number(float(_UP.create_decimal(repr(value))))
