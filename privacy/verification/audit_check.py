"""Checks of the attacks that a report states: their words follow from their figures, which nothing proves."""

from __future__ import annotations

from typing import cast, get_args

from privacy.audit import claimed_epsilon
from privacy.audit.record import Figures, Kind, in_words, sources
from privacy.report.model import AuditPart, EpsilonReport
from privacy.task.task import TaskSpec
from privacy.verification.checks import Check

_BATTERY = "battery"
_WORD = "the server's word; `fl-privacy audit --task` runs the same attacks"
_FIGURES = ("trials", "confidence", "epsilon_bound", "epsilon_bound_any", "epsilon_estimate")


def check_audits(report: EpsilonReport, task: TaskSpec) -> list[Check]:
    """Check the audits: what an attack found is the server's word, what it was held against and how it is told is not.

    Args:
        report: the report that states them.
        task: the task whose claim they tested.
    """
    if not report.audit:
        return [Check("report: audit", None, "no attack is stated", ("report.json#audit",), word=True)]
    refuted = [audit.name for audit in report.audit if not audit.passed or _refutes(audit)]
    detail = f"refuted by: {', '.join(refuted)}" if refuted else f"{len(report.audit)} attacks"
    places = [f"report.json#audit.*.{name}" for name in _FIGURES]
    places += [f"report.json#audit.{at}.statement" for at, one in enumerate(report.audit) if one.name == _BATTERY]
    return [
        _held_against(report, task),
        _told_right(report),
        Check("report: no attack refutes it", not refuted, detail),
        Check("report: how far attacks came", None, _WORD, tuple(places), word=True),
    ]


def _held_against(report: EpsilonReport, task: TaskSpec) -> Check:
    name, delta = "report: attacks were held against the task's own claim", repr(task.budget.delta)
    for audit in report.audit:
        expected = claimed_epsilon(task, audit.name)
        if (audit.epsilon_claimed, audit.delta) != (expected, delta):
            stated = f"{audit.epsilon_claimed} at delta {audit.delta}"
            return Check(name, False, f"{audit.name}: expected {expected} at delta {delta}, got {stated}")
    return Check(name, True, "for one round, of a device that is surely in it")


def _told_right(report: EpsilonReport) -> Check:
    name = "report: attacks are told as their figures say"
    wrong = next((problem for audit in report.audit if (problem := _mistold(audit))), "")
    return Check(name, not wrong, wrong or "each statement and its source")


def _mistold(audit: AuditPart) -> str:
    if audit.name == _BATTERY:
        stated = (audit.basis, audit.basis_any, audit.epsilon_bound, audit.epsilon_bound_any, audit.epsilon_estimate)
        return "" if stated == (None,) * len(stated) else f"{audit.name}: expected no bound of epsilon, got one"
    if audit.name not in get_args(Kind):
        return f"expected an attack that is known, got {audit.name!r}"
    kind, bound, delta = cast("Kind", audit.name), audit.epsilon_bound or "inf", audit.delta
    figures = Figures(audit.trials, audit.confidence, delta, bound, audit.epsilon_claimed, audit.passed)
    if (expected := in_words(kind, figures)) != audit.statement:
        return f"{audit.name}: expected {expected!r}, got {audit.statement!r}"
    gaussian, general = sources(kind)
    known = audit.basis in (gaussian, general) and audit.basis_any == general
    return "" if known else f"{audit.name}: expected a source that is known, got another"


def _refutes(audit: AuditPart) -> bool:
    bounds = [bound for bound in (audit.epsilon_bound, audit.epsilon_bound_any) if bound is not None]
    return any(float(bound) > float(audit.epsilon_claimed) for bound in bounds)
