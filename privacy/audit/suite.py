"""The audits of one task: what its release reports, and what `fl-privacy audit` runs at length.

All run the code that devices and server run, with the task's clip, noise, statistics and assumptions. Where epsilon is
bounded other things differ from the task's own rounds, on which the claim does not depend: the number of the model's
parameters, the size of the cohort, which is chosen so that there is hardly more noise than is accounted, and the grid
that follows from both. The battery looks at the task's own rounds as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from privacy.accounting.accountant import message_level_epsilon
from privacy.accounting.composition import epsilon_bracket
from privacy.audit.battery import run_battery
from privacy.audit.participation import usual_sizes
from privacy.audit.pipeline import Audited
from privacy.audit.plan import AuditPlan
from privacy.audit.record import AuditResult, Battery, rounded
from privacy.audit.rounds import audit_one_round, audit_rounds
from privacy.base.canonical import Frozen
from privacy.base.randomness import Randomness
from privacy.ledger.entries import Digest
from privacy.report.model import AuditPart
from privacy.task.task import BoundedParticipation, ParameterSpec, TaskSpec

RELEASE_CANARIES = 8000
"""Canaries of the audit that a release reports: fewer certify less, and more cost their square; about a second."""
_LAYERS = (4, 4, 4, 4)
"""Sizes of the model's layers in audits with one canary: a clip by layer would be seen."""
_SMALL_COHORTS = range(2, 101)
_SURPLUS = 1.01
"""The noise beyond what is accounted that an audit puts up with, as a ratio of variances: it loosens the bound."""
_MODULUS_BITS = 32
_MOST_DROPOUTS = 0.45
"""The largest fraction of drop-outs in a round of an audit's own, so that some devices are left to count on."""
_MANY = 1 << 16
"""Coordinates of a round whose noise is drawn in large blocks."""


class TaskAudits(Frozen):
    """The audits of one task, for its report.

    Attributes:
        task: the task's digest.
        audits: their results.
    """

    task: Digest
    audits: tuple[AuditPart, ...]


class NothingToAudit(ValueError):
    """A task whose claim these audits cannot test; the text says why."""


def auditable(task: TaskSpec) -> None:
    """Require that these audits can test a task's claim.

    Raises:
        NothingToAudit: when they cannot; the text says why.
    """
    if not task.mechanism.noise_multiplier:
        raise NothingToAudit("noise_multiplier: expected more than 0, got 0; nothing is claimed without noise")
    if task.mechanism.correlation is not None:
        raise NothingToAudit("mechanism.correlation: expected noise of the devices; no audit covers the server's")
    if task.simulation.trusted_aggregator:
        raise NothingToAudit("trusted_aggregator: expected noise of the devices; no audit covers an aggregator's")


def audit_release(task: TaskSpec, rng: Randomness) -> tuple[AuditPart, ...]:
    """Run what each release reports: the audit in one run, within seconds; nothing where `auditable` refuses."""
    try:
        auditable(task)
    except NothingToAudit:
        return ()
    return (audit_part(audit_one_round(_with_canaries(task, RELEASE_CANARIES), rng)),)


def audit_task(task: TaskSpec, plan: AuditPlan, rng: Randomness) -> Iterator[AuditPart]:
    """Run the battery, many rounds with one canary, and one round with many canaries; yield each result as it is done.

    Args:
        task: the task whose claim is tested.
        plan: how long to look.
        rng: source of all randomness.

    Raises:
        NothingToAudit: before anything is run.
        ValueError: with fewer than 20 trials.
        MechanismError: when the mechanism refuses the task.
    """
    auditable(task)
    small = _at_full_noise(task)
    yield battery_part(task, run_battery(small, rng, trials=plan.battery, others=_own_rounds(task)))
    yield audit_part(audit_rounds(small, plan.trials, rng))
    yield audit_part(audit_one_round(_with_canaries(task, plan.canaries), rng))


def audit_part(result: AuditResult) -> AuditPart:
    """Return a result as a report has it: bounds rounded down and claims up, to four decimals."""
    return AuditPart(
        name=result.kind,
        statement=result.statement,
        trials=result.trials,
        confidence=repr(result.confidence),
        basis=result.basis,
        epsilon_bound=rounded(result.epsilon_bound, math.floor),
        basis_any=result.basis_any,
        epsilon_bound_any=rounded(result.epsilon_bound_any, math.floor),
        epsilon_estimate=None if result.epsilon_estimate is None else rounded(result.epsilon_estimate, round),
        epsilon_claimed=rounded(result.epsilon_claimed, math.ceil),
        delta=repr(result.delta),
        passed=result.passed,
    )


def claimed_epsilon(task: TaskSpec, name: str) -> str:
    """Return the epsilon, at the task's delta, that the account counts for what an audit runs, as a report has it.

    Args:
        task: the task.
        name: the audit's, as in `AuditPart.name`.
    """
    if name == "message-many-runs":
        return rounded(message_level_epsilon(task.training, 1, task.budget.delta), math.ceil)
    noise = task.mechanism.noise_multiplier
    return rounded(epsilon_bracket(1 / noise if noise else math.inf, task.budget.delta)[1], math.ceil)


def battery_part(task: TaskSpec, battery: Battery) -> AuditPart:
    """Return the battery as a report has it: it bounds no epsilon."""
    return AuditPart(
        name="battery",
        statement=battery.statement,
        trials=battery.trials,
        confidence=repr(battery.confidence),
        basis=None,
        epsilon_bound=None,
        basis_any=None,
        epsilon_bound_any=None,
        epsilon_estimate=None,
        epsilon_claimed=claimed_epsilon(task, "battery"),
        delta=repr(task.budget.delta),
        passed=battery.passed,
    )


def _at_full_noise(task: TaskSpec) -> Audited:
    """Return a round of the smallest cohort in which the devices that are counted on are nearly a whole number."""
    rounds = [_audited(task, _LAYERS, cohort) for cohort in _SMALL_COHORTS]
    return next((audited for audited in rounds if audited.surplus <= _SURPLUS), rounds[-1])


def _own_rounds(task: TaskSpec) -> list[Audited]:
    """Return rounds of the task's own dimension, modulus and participation, and one of many coordinates.

    The last lets the far tails of the noise be seen whatever the task's own dimension.
    """
    return [*(Audited(task, size) for size in usual_sizes(task)), _audited(task, (_MANY,), _at_full_noise(task).cohort)]


def _with_canaries(task: TaskSpec, count: int) -> Audited:
    """Return a round of the largest cohort in which at most so many devices are counted on."""
    most = math.floor(count / (1 - task.aggregation.corrupt_fraction - _dropouts(task))) + 1
    rounds = (_audited(task, (count,), cohort) for cohort in range(most, 0, -1))
    return next(audited for audited in rounds if audited.devices <= count)


def _dropouts(task: TaskSpec) -> float:
    """Return the fraction of an expected cohort that may drop out."""
    return min(task.aggregation.max_dropouts / task.shard_cohort, _MOST_DROPOUTS)


def _audited(task: TaskSpec, layers: Sequence[int], cohort: int) -> Audited:
    parameters = tuple(ParameterSpec(name=f"layer{at}", shape=(size,)) for at, size in enumerate(layers))
    policy = {
        "modulus_bits": _MODULUS_BITS,
        "shards": 1,
        "min_survivors": max(2, cohort // 4),
        "max_dropouts": math.floor(_dropouts(task) * cohort),
    }
    changes = {
        "model": task.model.model_copy(update={"parameters": parameters}),
        "aggregation": task.aggregation.model_copy(update=policy),
        "participation": BoundedParticipation(cohort=cohort, max_participations=1),
    }
    return Audited(task.model_copy(update=changes), cohort)
