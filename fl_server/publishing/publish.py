"""A model made public: its report recomputed from the ledger, and both bound into one signed release."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed_version
from typing import Any

from fl_server.publishing.registry import ModelVersion, Registry, ReleaseContents
from fl_server.training.coordinator import Result
from privacy.audit import audit_release
from privacy.base.randomness import Randomness
from privacy.base.signing import Signer
from privacy.ledger.ledger import Ledger
from privacy.release.files import model_digest
from privacy.report.build import EpsilonReport, RoundCounts, RunFacts, build_report
from privacy.report.figures import card_marking
from privacy.task.task import TaskSpec


class NotReleased(RuntimeError):
    """A model that no charge of its task paid for; nothing is published."""


class ClaimRefuted(RuntimeError):
    """An attack on the mechanism succeeded better than the claim allows: it is not the mechanism that is accounted."""


@dataclass(frozen=True)
class Publication:
    """A release and the report in it.

    Attributes:
        version: the release.
        report: its report.
        rounds_released: how many rounds of the task released a sum.
    """

    version: ModelVersion
    report: EpsilonReport
    rounds_released: int


def publish_model(
    registry: Registry,
    *,
    task: TaskSpec,
    result: Result,
    card: Mapping[str, Any],
    ledger: Ledger,
    facts: RunFacts,
    operator: Signer,
    rng: Randomness,
) -> Publication:
    """Audit the mechanism, report on the ledger as it stands, publish, and point a channel at the release.

    Args:
        registry: where the release goes.
        task: what the model was trained for.
        result: the model, and how its run ended.
        card: what a scorer needs beside the weights; how the run ended, and what makes it less than a real release,
            is added.
        ledger: what the task's rounds were charged to.
        facts: what else the report states, such as realised sizes.
        operator: signs the release.
        rng: of the audit.

    Raises:
        NotReleased: when the ledger has no release of this very model by this task, as when no round released anything.
        ClaimRefuted: when an audit certifies more than is claimed.
        LedgerInvalid: when the ledger does not verify.
        ReportError: when task, ledger and facts do not belong together.
        AccountantsDisagree: when no epsilon can be stated.

    Whatever is raised, nothing is published then.
    """
    released = _released(ledger, task, result)
    audits = (*facts.audits, *audit_release(task, rng))
    if refuted := [audit for audit in audits if not audit.passed]:
        raise ClaimRefuted(f"audit: expected a claim that holds, got: {refuted[0].statement}")
    head = ledger.head()
    report = build_report(task, ledger.entries(), head, operator.public, replace(facts, audits=audits))
    course = {"rounds": result.round, "rounds_released": released, "ended": str(result.ended)}
    marked = {**card, **course, **card_marking(task, report)}
    contents = ReleaseContents(task, result.state.weights, marked, report.canonical())
    version = registry.publish(contents, head.model_dump(mode="json"), operator)
    return Publication(version, report, released)


def _released(ledger: Ledger, task: TaskSpec, result: Result) -> int:
    """Return how many rounds of the task released a sum; one of them made this model."""
    models, digest = ledger.released_models(task.id), model_digest(result.state.weights)
    if digest in models:
        return len(models)
    if not models:
        raise NotReleased(
            f"no round released anything in {result.round} rounds (the run's end: {result.ended}); nothing is published"
        )
    raise NotReleased(f"model {digest[:16]} is none that a charge of this task paid for; nothing is published")


def run_facts(lines: Sequence[Mapping[str, Any]], packages: Sequence[str]) -> RunFacts:
    """Collect realised sizes and the least noise of released rounds, why others failed, and versions of packages.

    Args:
        lines: what `RoundReport.line` gave of each round.
        packages: distributions that took part, by name.
    """
    released = [line for line in lines if line["aborted"] is None]
    counts = [
        RoundCounts(round=line["round"], cohort=line["cohort"], survivors=line["survivors"])
        for line in released
        if "survivors" in line
    ]
    least = min((line["noise_multiplier"] for line in released), default=None)
    return RunFacts(
        rounds=counts,
        attempted=max((line["round"] for line in lines), default=0),
        failures={line["round"]: line["aborted"] for line in lines if line["aborted"] is not None},
        least_noise_multiplier=least,
        versions=versions(packages),
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of packages, by name."""
    return {"python": platform.python_version(), **{name: installed_version(name) for name in packages}}
