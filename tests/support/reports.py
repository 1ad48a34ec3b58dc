"""Reports of a small task, without a run behind them."""

from __future__ import annotations

import itertools

from privacy.base.canonical import sha256
from privacy.base.signing import Signer
from privacy.ledger.ledger import Charge, Ledger
from privacy.report.build import EpsilonReport, RoundCounts, RunFacts, build_report
from privacy.task.task import (
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    InitialModel,
    LocalTraining,
    ModelSpec,
    ParameterSpec,
    Participation,
    PoissonParticipation,
    ServerOptimiser,
    TaskSpec,
)
from tests.support.stores import MemoryStore

SIGNER = Signer.from_seed(b"\x07" * 32)
POISSON = PoissonParticipation(population=1_000, sampling_rate=0.064)
BOUNDED = BoundedParticipation(cohort=64, max_participations=3)
ROUNDS = 4
COUNTS = tuple(RoundCounts(round=number, cohort=7_001, survivors=6_001) for number in range(1, ROUNDS + 1))


def task_with(participation: Participation = POISSON, **changes: object) -> TaskSpec:
    spec = TaskSpec(
        name="abuse",
        population="demo",
        model=ModelSpec(architecture="linear", parameters=(ParameterSpec(name="w", shape=(2, 8)),)),
        initial=InitialModel(digest="ab" * 32),
        features=FeatureSpec(),
        training=LocalTraining(
            steps=3, sampling_rate=0.2, expected_batch=2.0, learning_rate=0.5, message_clip=1.0, message_noise=1.0
        ),
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=1.2),
        optimiser=ServerOptimiser(learning_rate=1.0, momentum=0.5),
        participation=participation,
        aggregation=AggregationPolicy(max_dropouts=6, min_survivors=16, modulus_bits=16),
        budget=Budget(epsilon=8.0, delta=1e-5),
        rounds=ROUNDS,
    )
    return spec.model_copy(update=changes)


def ledger_of(task: TaskSpec) -> Ledger:
    """All rounds charged; all but the last released, and that one abandoned."""
    ticks = itertools.count()
    ledger = Ledger(MemoryStore(), SIGNER, task.population, task.budget, lambda: next(ticks))
    for number in range(1, ROUNDS + 1):
        transcript = sha256(b"transcript", bytes([number])).hex()
        receipt = ledger.reserve(Charge.of(task, number, transcript, 1_000))
        if number < ROUNDS:
            ledger.released(receipt, sha256(b"model", bytes([number])).hex())
        else:
            ledger.abandoned(receipt, "too few")
    return ledger


def report_of(task: TaskSpec, facts: RunFacts | None = None) -> EpsilonReport:
    ledger = ledger_of(task)
    facts = RunFacts(COUNTS, 1.25, {"havenfl": "0.1.0"}) if facts is None else facts
    return build_report(task, ledger.entries(), ledger.head(), SIGNER.public, facts)
