"""The results of audits, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from privacy.base.canonical import Frozen

Kind = Literal["mechanism-many-runs", "mechanism-one-run", "message-many-runs"]
Method = Literal["gaussian", "any"]


class AuditResult(Frozen):
    """A certified lower bound of epsilon against the claimed upper one.

    Attributes:
        kind: what was run.
        method: `gaussian` when the bound counts on a Gaussian curve, `any` when it holds for any mechanism.
        trials: runs with the canary, and as many without; of one run, the canaries.
        confidence: the probability with which both bounds hold, between 0 and 1.
        mu_bound: lower bound of the Gaussian differential privacy; None with method `any`.
        epsilon_bound: lower bound of epsilon at delta.
        epsilon_bound_any: lower bound of epsilon at delta that holds for any mechanism, with either method.
        delta: the delta of all epsilons, between 0 and 1.
        epsilon_claimed: what the account counts for the same runs.
        epsilon_estimate: an estimate from the scores' means and spread, not a bound; None where there is no spread.
        passed: whether the claim is at least either bound.
    """

    kind: Kind
    method: Method
    trials: int
    confidence: float
    mu_bound: float | None
    epsilon_bound: float
    epsilon_bound_any: float
    delta: float
    epsilon_claimed: float
    epsilon_estimate: float | None
    passed: bool

    @property
    def certified_fraction(self) -> float:
        """The certified bound over the claim; above 1 the claim is wrong."""
        return self.epsilon_bound / self.epsilon_claimed

    @property
    def statement(self) -> str:
        """The result in plain words."""
        bound, claimed = rounded(self.epsilon_bound, math.floor), rounded(self.epsilon_claimed, math.ceil)
        figures = Figures(self.trials, repr(self.confidence), repr(self.delta), bound, claimed, self.passed)
        return in_words(self.kind, figures)

    @property
    def basis(self) -> str:
        """The source that the bound rests on."""
        gaussian, general = sources(self.kind)
        return gaussian if self.method == "gaussian" else general

    @property
    def basis_any(self) -> str:
        """The source that the bound for any mechanism rests on."""
        return sources(self.kind)[1]


@dataclass(frozen=True)
class Figures:
    """What an audit's statement tells, numbers as a report has them.

    Attributes:
        trials: runs with the canary, and as many without; of one run, the canaries.
        confidence: the probability with which the bound holds.
        delta: the delta of both epsilons.
        bound: the certified lower bound of epsilon.
        claimed: the claimed upper bound of epsilon.
        passed: whether the claim is at least the bound.
    """

    trials: int
    confidence: str
    delta: str
    bound: str
    claimed: str
    passed: bool


def in_words(kind: Kind, figures: Figures) -> str:
    """Tell an audit in plain words, from the figures that a report states of it and no others."""
    verdict = "The claim stands." if figures.passed else "THE CLAIM IS REFUTED."
    return (
        f"{_WORDS[kind].format(trials=figures.trials)}: at delta {float(figures.delta):g}, epsilon is at least "
        f"{float(figures.bound):.3f} with {float(figures.confidence):.0%} confidence; claimed is at most "
        f"{float(figures.claimed):.3f}. {verdict}"
    )


def rounded(value: float, towards: Callable[[float], int]) -> str:
    """Return a number to four decimals, rounded by `towards`."""
    return repr(towards(value * 1e4) / 1e4) if math.isfinite(value) else "inf"


def sources(kind: Kind) -> tuple[str, str]:
    """Return the sources of the bound for Gaussian noise and of that for any mechanism."""
    one_run = kind == "mechanism-one-run"
    return _GAUSSIAN[one_run], _ANY[one_run]


class Check(Frozen):
    """One check of the battery.

    Attributes:
        name: what was checked.
        passed: whether what was measured is allowed.
        line: what was measured, and what is allowed.
    """

    name: str
    passed: bool
    line: str


class Battery(Frozen):
    """All checks of one run of the battery.

    Attributes:
        confidence: the probability, at least, with which a correct mechanism passes every check.
        trials: rounds of each kind.
        checks: the checks, in order.
    """

    confidence: float
    trials: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    @property
    def statement(self) -> str:
        """The result in plain words."""
        if self.passed:
            return f"All {len(self.checks)} checks passed over {self.trials} runs each."
        return f"FAILED: {', '.join(self.failed)}. A correct mechanism fails with at most {1 - self.confidence:.2%}."


_GAUSSIAN = (
    "for Gaussian noise, from limits of both rates of error: Dong, Roth and Su 2022; Nasr et al. 2023",
    "for Gaussian noise, from right guesses: Mahloujifar, Melis and Chaudhuri 2024, Theorem 3.2",
)
_ANY = (
    "from limits of both rates of error: Kairouz, Oh and Viswanath 2015, Theorem 2.1",
    "from right guesses: Steinke, Nasr and Jagielski 2023, Theorem 5.2",
)
"""The sources, first for many runs, then for a single one."""

_WORDS: dict[Kind, str] = {
    "mechanism-many-runs": "{trials:,} rounds with and {trials:,} without one device's largest update",
    "mechanism-one-run": "One round of {trials:,} devices, each present or not by its own coin",
    "message-many-runs": "{trials:,} local trainings with and {trials:,} without one message",
}
