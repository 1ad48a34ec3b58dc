"""What a reader of a model's figures has to know before believing them: marks, each with the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CHANCE = 0.5
FEWEST_POSITIVES, FEWEST_USERS = 30, 10
"""Below so much abuse, or so many users who wrote it, an AUROC is nearly a guess."""
FALL = 0.03
"""How much of its loss a model may still shed in the last fifth of its rounds, over the fifth before."""
_FIFTH = 5


@dataclass(frozen=True)
class Mark:
    """One thing that is wrong with a model or with its test.

    Attributes:
        code: its name for programs.
        text: what it is, with its numbers.
    """

    code: str
    text: str


def marks_of(summary: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> list[Mark]:
    """Return what is wrong with a run's model, judged by its test users.

    Args:
        summary: as in `summary.json`; `auroc`, its interval and the counts of the test users are read.
        lines: those of `metrics.jsonl`.
    """
    found = list[Mark]()
    positives, users = summary["test_positives"], summary["test_users_with_positives"]
    if positives < FEWEST_POSITIVES or users < FEWEST_USERS:
        of = summary["test_messages"]
        found.append(Mark("few_positives", f"{positives} of {of} test messages are abuse, of {users} users"))
    interval = summary["auroc_interval"]
    if interval is None:
        found.append(Mark("no_auroc", "test users have messages of one class alone: nothing can be told apart"))
    elif interval[0] <= CHANCE:
        found.append(
            Mark(
                "no_better_than_chance",
                f"test AUROC {summary['auroc']:.3f}, 95% interval {interval[0]:.3f} to {interval[1]:.3f}",
            )
        )
    if (fall := still_falling(lines)) is not None and fall > FALL:
        found.append(
            Mark("undertrained", f"the test loss still fell by {fall:.1%} in the last fifth of {len(lines)} rounds")
        )
    return found


def still_falling(lines: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how much of its loss a model shed in the last fifth of the rounds, over the fifth before.

    Args:
        lines: those of `metrics.jsonl`.

    Returns:
        A fraction, negative where the loss rose; None of fewer than two rounds with a loss.
    """
    losses = [float(line["loss"]) for line in lines if line["loss"] is not None]
    if len(losses) < 2:
        return None
    fifth = max(1, len(losses) // _FIFTH)
    before, last = (sum(part) / fifth for part in (losses[-2 * fifth : -fifth], losses[-fifth:]))
    return (before - last) / before
