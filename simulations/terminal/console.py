"""The terminal of a run: a bar that shows how far it is, a few lines on what came of it, and Ctrl-C between rounds.

Where there is no terminal, as in a log of a batch job, a line is written every few seconds instead.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from rich import progress as bar
from rich.console import Console

if TYPE_CHECKING:
    from simulations.evaluation.metrics import Metrics


_EVERY_S = 10.0
"""Seconds between lines where there is no terminal."""


@dataclass(frozen=True)
class Spent:
    """Epsilon after a round.

    Attributes:
        own: epsilon of the devices of this run, as charged.
        budget: the most epsilon, of the fleet if the run stands for one; None where nothing limits it.
        fleet: what the same rounds would cost a device of that fleet; None without one.
    """

    own: float
    budget: float | None
    fleet: float | None = None

    def fields(self) -> dict[str, Any]:
        """Return what to add to the round's line, which has its own epsilon already; an unbounded one is None."""
        if self.fleet is None:
            return {}
        return {"extrapolated": True, "fleet_epsilon": self.fleet if math.isfinite(self.fleet) else None}

    def in_words(self) -> str:
        """Return the epsilon as the log has it."""
        own = f"epsilon {self.own:.10g}"
        return own if self.fleet is None else f"{own}, EXTRAPOLATED to a fleet {self.fleet:.10g}"

    def for_the_bar(self) -> str:
        """Return the epsilon as the bar has it: spent, of its budget."""
        shown, mark = (self.own, "") if self.fleet is None else (self.fleet, "EXTRAPOLATED ")
        return f"{mark}ε {rounded_up(shown)}" + ("" if self.budget is None else f"/{self.budget:g}")


def figures(metrics: Metrics, spent: Spent, speed: str) -> str:
    """Return the bar's text on a round.

    Args:
        metrics: of the model, on test users.
        spent: epsilon after the round.
        speed: devices a second; empty where their number is secret.
    """
    quality = f"loss {metrics.loss or 0:.3f}  AUROC {metrics.auroc or 0:.3f}"
    return f"{quality}  {spent.for_the_bar()}  {speed}".rstrip()


def describe(summary: Mapping[str, Any], path: Path) -> str:
    """Return a few lines on a finished run: its summary, and the path of its directory."""
    central = summary["aggregation"] == "central"
    novel, channel = summary["novel"], "extrapolated" if summary["extrapolated"] else "stable"
    return "\n".join(
        [
            *_extrapolation(summary),
            *(["TRUSTED AGGREGATOR: it saw every update; secure aggregation was left out"] if central else []),
            f"published  {path / 'release' / channel}  ({summary['ended']}, {_released(summary, path)})",
            f"test users AUROC {_show(summary['auroc'])}{_interval(summary)}  macro-F1 {_show(summary['macro_f1'])}  "
            f"recall at 1% false positives {_show(summary['recall_at_fpr_1pct'])}",
            f"           {summary['test_positives']:,} of {summary['test_messages']:,} messages are abuse, of "
            f"{summary['test_users_with_positives']:,} of {summary['test_users']:,} users",
            f"new texts  AUROC {_show(novel['auroc'])}  macro-F1 {_show(novel['macro_f1'])}",
            f"privacy    device ε {_bound(summary['device_epsilon'])} at δ {summary['delta']:g}{_known(summary)}; "
            f"message ε {_bound(summary['message_epsilon'])} (towards a server that breaks everything else)",
            f"look at    {path / 'report.html'}  {path / 'curves.png'}",
            *_marked(summary, path),
        ]
    )


def _interval(summary: Mapping[str, Any]) -> str:
    ends = summary["auroc_interval"]
    return "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"


def _marked(summary: Mapping[str, Any], path: Path) -> list[str]:
    marks = [f"WARNING    {mark['code'].replace('_', ' ')}: {mark['text']}" for mark in summary["marks"]]
    return [*marks, f"           why, and what to change: `fl-sim doctor {path}`"] if marks else []


def _released(summary: Mapping[str, Any], path: Path) -> str:
    rounds, released = summary["rounds"], summary["rounds_released"]
    return (
        f"{rounds} rounds" if released == rounds else f"{released} of {rounds} rounds released: see {path / 'run.log'}"
    )


def _known(summary: Mapping[str, Any]) -> str:
    """Return what holds towards those who learn who takes part, where that is not the same."""
    known = summary["device_epsilon_known_cohorts"]
    if known is None:
        return ""
    return f" towards those who see the models alone, {_bound(known)} towards server, cohorts and holders of the log"


def _extrapolation(summary: Mapping[str, Any]) -> list[str]:
    if not summary["extrapolated"]:
        return []
    return [
        f"EXTRAPOLATED to cohorts of {summary['fleet_cohort']:,} of {summary['fleet_population']:,} devices: their ε "
        f"{_bound(summary['fleet_epsilon'])} at δ {summary['delta']:g} is hypothetical and charged to nobody"
    ]


def _show(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def rounded_up(epsilon: float) -> str:
    """Return an epsilon in two decimals, rounded up: what is read is never less than what is claimed."""
    if not math.isfinite(epsilon):
        return "∞"
    return str(Decimal(str(epsilon)).quantize(Decimal("0.01"), ROUND_CEILING))


def _bound(epsilon: float | None) -> str:
    return "unbounded" if epsilon is None else rounded_up(epsilon)


class Progress(Protocol):
    """A listener that a run tells how far it is."""

    def resumed_at(self, round_number: int) -> None:
        """Take note that the run begins, and that so many rounds were complete before."""
        ...

    def round_ended(self, round_number: int, figures: str) -> None:
        """Take note of a round, and of what there is to say of it."""
        ...

    def note(self, text: str) -> None:
        """Take note of a line for people."""
        ...


class RunProgress:
    """A bar on standard error; implements `Progress`.

    It shows round, loss, AUROC, epsilon spent of its budget, devices a second, and time left. Without a terminal there
    is a line after the first and the last round, and in between one at most every ten seconds.
    """

    def __init__(self, rounds: int, clock: Callable[[], float] = time.monotonic) -> None:
        console = Console(stderr=True)
        self._rounds, self._clock = rounds, clock
        self._plain = not console.is_terminal
        self._written = -math.inf
        self._progress = bar.Progress(
            bar.TextColumn("[bold]round"),
            bar.MofNCompleteColumn(),
            bar.BarColumn(bar_width=None),
            bar.TextColumn("{task.fields[figures]}"),
            bar.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=False,
        )
        self._task = self._progress.add_task("rounds", total=rounds, figures="starting workers")

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def resumed_at(self, round_number: int) -> None:
        """Move the bar to the last round that was complete before."""
        self._progress.update(self._task, completed=round_number, figures="")

    def round_ended(self, round_number: int, figures: str) -> None:
        """Move the bar to a round, and show its figures."""
        self._progress.update(self._task, completed=round_number, figures=figures)
        if self._plain and (round_number == self._rounds or self._clock() - self._written >= _EVERY_S):
            self._written = self._clock()
            self.note(f"round {round_number}/{self._rounds}  {figures}")

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, soft_wrap=True)


class Bar:
    """A bar on standard error with a line about what is going on."""

    def __init__(self, title: str, total: int) -> None:
        console = Console(stderr=True)
        self._progress = bar.Progress(
            bar.TextColumn(f"[bold]{title}"),
            bar.BarColumn(bar_width=None),
            bar.TextColumn("{task.fields[line]}"),
            bar.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total, line="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, done: int, line: str) -> None:
        """Move the bar to so much of the total, and show a few words."""
        self._progress.update(self._task, completed=done, line=line)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, highlight=False, soft_wrap=True)


class StopAfterRound:
    """Turns the first SIGINT or SIGTERM, while active, into a request to stop after the round in progress.

    The second one stops now; the last complete round survives. Only the main thread may set handlers.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._requested = False
        self._previous: dict[int, object] = {}

    def requested(self) -> bool:
        """Return whether a signal has asked for the run to stop."""
        return self._requested

    def __enter__(self) -> StopAfterRound:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
        self._tell("stopping after this round; once more to stop now")
