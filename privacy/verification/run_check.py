"""Checks of what a run's directory holds for people to read: page, summary and metrics follow from the evidence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from privacy.accounting.extrapolation import fleet_epsilon
from privacy.ledger.entries import LedgerState
from privacy.report.figures import summary_figures
from privacy.report.html import render_html
from privacy.report.model import EpsilonReport
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check
from privacy.verification.comparison import compared, difference
from privacy.verification.evidence import RunFiles
from privacy.verification.log_facts import LoggedRound
from privacy.verification.spent import course, out_of_place, recomputed_rounds

_METRICS = "metrics.jsonl"
_NOTHING: Mapping[str, Any] = {
    "cohort": 0,
    "survivors": 0,
    "noise_std": 0.0,
    "noise_multiplier": None,
    "statistics": {},
}
"""What a line says of a round that released nothing."""


@dataclass(frozen=True)
class Proven:
    """What the files of a run are held against.

    Attributes:
        task: the run's task, tied to the ledger; None where there is none.
        report: the run's report, whatever its own checks said of it.
        ledger_state: the verified ledger.
        rounds: what the round log says, its signatures verified; None where there is none.
        release: the name of the release's directory; None where there is none.
        spent: epsilon after each of the task's rounds that was recomputed, by the round's number.
    """

    task: TaskSpec | None
    report: EpsilonReport | None
    ledger_state: LedgerState
    rounds: Sequence[LoggedRound] | None
    release: str | None
    spent: Mapping[int, float]


def check_run(run: RunFiles, proven: Proven) -> list[Check]:
    """Check the page, the summary and the metrics, and name every file that nothing was compared with.

    Args:
        run: the directory's files.
        proven: what they are held against.
    """
    checks = [] if run.page is None else [_page(run.page, proven.report)]
    checks += [] if run.metrics is None else _metrics(run.metrics, proven)
    checks += [] if run.summary is None else _summary(run.summary, proven, run.metrics)
    if run.unread:
        checks.append(Check("directory: other files", None, f"nothing binds {', '.join(run.unread)}", run.unread))
    return checks


def _page(page: bytes, report: EpsilonReport | None) -> Check:
    name = "report.html: drawn from the report"
    if report is None:
        return Check(name, None, "there is no report to draw it from", ("report.html",))
    same = render_html(report).encode() == page
    draw = "expected the page that `fl-privacy report --report report.json --html report.html` draws, got another"
    return Check(name, same, "byte by byte" if same else draw)


def _summary(data: bytes, proven: Proven, metrics: bytes | None) -> list[Check]:
    file = "summary.json"
    try:
        stated = json.loads(data)
    except ValueError as error:
        return [Check(f"{file}: its figures follow", False, f"expected JSON: {error}")]
    if not isinstance(stated, dict) or (json.dumps(stated, indent=2) + "\n").encode() != data:
        return [
            Check(f"{file}: its figures follow", False, "expected one JSON object, indented by two, got other text")
        ]
    return compared(file, stated, _summarised(proven, metrics), word=True)


def _summarised(proven: Proven, metrics: bytes | None) -> dict[str, Any]:
    """Return what a summary must say, by key."""
    expected: dict[str, Any] = {}
    if proven.task is not None and proven.report is not None:
        expected |= summary_figures(proven.task, proven.report)
        expected["versions"] = dict(proven.report.provenance.versions)
    if proven.release is not None:
        expected["release"] = proven.release
    if proven.task is not None:
        expected |= course(proven.task, proven.ledger_state, _last_round(proven, metrics))
    return expected


def _last_round(proven: Proven, metrics: bytes | None) -> int | None:
    """Return the last round that was attempted: by the log or, where there is none, by the metrics."""
    if proven.rounds is not None:
        return max((one.round for one in proven.rounds), default=0)
    return None if metrics is None else len(_lines(metrics))


def _metrics(data: bytes, proven: Proven) -> list[Check]:
    name, lines = f"{_METRICS}: its figures follow", _lines(data)
    if problem := _malformed(data, lines, proven):
        return [Check(name, False, problem)]
    if proven.task is None:
        return [Check(name, None, "no task is tied to the ledger", (_METRICS,))]
    expected = [_expected_line(line, proven.task, proven) for line in lines]
    for line, figures in zip(lines, expected, strict=True):
        if problem := difference(line, figures):
            return [Check(name, False, f"round {line['round']}: {problem}")]
    return [*_epsilons(lines, proven, name), *_unknown(lines, expected)]


def _malformed(data: bytes, lines: Sequence[Mapping[str, Any]], proven: Proven) -> str:
    """Return what is wrong with the form of the metrics, or with their rounds; nothing when all is well."""
    numbers = [*range(1, len(lines) + 1)]
    if "".join(json.dumps(line) + "\n" for line in lines).encode() != data:
        return "expected lines of JSON as a run writes them, got other text"
    if [line.get("round") for line in lines] != numbers:
        return "expected every round, in order, got others"
    if len({tuple(line) for line in lines}) > 1:
        return "expected the same keys in every line, got others"
    if proven.rounds is not None and [one.round for one in proven.rounds] != numbers:
        return "expected the rounds of the log, got others"
    return ""


def _expected_line(line: Mapping[str, Any], task: TaskSpec, proven: Proven) -> dict[str, Any]:
    """Return what a round's line must say, by key; epsilon is compared apart."""
    number = int(line["round"])
    own = [one for one in proven.ledger_state.accounts.values() if one.charge.task == task.id]
    released = any(one.charge.round == number and one.model_digest is not None for one in own)
    figures: dict[str, Any] = {"aborted": None} if released else {}
    if not released and line.get("aborted") is None:
        figures["aborted"] = "why nothing was released"
    if proven.rounds is None:
        return figures if released else {**figures, **_kept(line, _NOTHING)}
    logged = proven.rounds[number - 1]
    figures |= {"aborted": logged.aborted, "noise_multiplier": logged.noise_multiplier}
    sizes = {"invited": logged.invited, "cohort": logged.cohort, "survivors": logged.survivors}
    figures |= _kept(line, {**sizes, "refusals": dict(logged.refusals)})
    if logged.noise_std is not None:
        units = {one.name: task.mechanism.clip * one.sensitivity_fraction / one.bound for one in task.statistics}
        deviations = {name: logged.noise_std / unit for name, unit in units.items()} if released else {}
        figures |= {"noise_std": logged.noise_std, "statistics_noise_std": deviations}
    return figures


def _kept(line: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that a line has: sizes of cohorts are left out of it where they are secret."""
    return {key: value for key, value in figures.items() if key in line}


def _epsilons(lines: Sequence[Mapping[str, Any]], proven: Proven, name: str) -> list[Check]:
    """Check the epsilon after each round, and the fleet's where the run stands for one."""
    if proven.task is None:
        return []
    spent = {"epsilon": proven.spent}
    if proven.task.simulation.fleet is not None:
        spent["fleet_epsilon"] = {one: fleet_epsilon(proven.task, one) for one in recomputed_rounds(len(lines))}
    checks, places = [], []
    for key, figures in spent.items():
        stated = {int(line["round"]): _number(line.get(key, -1)) for line in lines}
        if wrong := out_of_place(figures, stated):
            return [
                Check(name, False, f"round {wrong}: {key}: expected {figures.get(wrong, 'less or more')}, got another")
            ]
        places += [f"{_METRICS}#{number - 1}.{key}" for number in stated if number not in figures]
    if places:
        detail = f"{len(places)} are only known to lie between their neighbours'"
        checks.append(Check(f"{_METRICS}: epsilon of each round", None, detail, tuple(places)))
    return [Check(name, True, f"{len(lines)} rounds"), *checks]


def _number(value: object) -> float:
    """Return an epsilon of a line, where null stands for no bound; what is no number is below every bound."""
    if value is None:
        return math.inf
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else -1.0


def _unknown(lines: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Name the keys of lines that nothing was compared with."""
    checked = {"round", "epsilon", "fleet_epsilon"}
    places = {
        (at, key)
        for at, (line, figures) in enumerate(zip(lines, expected, strict=True))
        for key in line.keys() - figures.keys() - checked
    }
    if not places:
        return []
    detail = ", ".join(sorted({key for _, key in places}))
    named = tuple(f"{_METRICS}#{at}.{key}" for at, key in sorted(places))
    return [Check(f"{_METRICS}: the rest", None, detail, named, word=True)]


def _lines(data: bytes) -> list[dict[str, Any]]:
    """Parse lines of JSON objects; what is none is left out, and missed by whoever compares them with the bytes."""
    lines = []
    for line in data.split(b"\n"):
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            lines.append(parsed)
    return lines
