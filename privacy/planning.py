"""What a cohort will cost before anything runs: noise, bits, thresholds, bytes, from the code that will run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy.stats import binom

from privacy.accountant import noise_multiplier_for, spend
from privacy.events import round_event
from privacy.mechanism import Mechanism, smallest_modulus, with_modulus
from privacy.secagg.messages import Advert, Dealt, Members, Roster, encode_dealt, encode_echo, encode_revealed
from privacy.secagg.packing import word_count, word_type
from privacy.secagg.params import Parameters, parameters
from privacy.secagg.shamir import SHARE_BYTES
from privacy.signing import SIGNATURE_BYTES
from privacy.task import (
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    LocalTraining,
    ModelSpec,
    ParameterSpec,
    Participation,
    PoissonParticipation,
    TaskSpec,
)

_ONE_SHARD, _SHARD = 750, 400
_GRINDING_BITS = 64
"""An operator may try so many task ids, in bits, until the lots suit it."""
_MOST_BITS = 32


@dataclass(frozen=True)
class Goal:
    """What an engineer wants. `epsilon` or `noise_multiplier` is given, not both; None elsewhere leaves it open."""

    cohort: int
    rounds: int
    dimension: int
    clip: float
    delta: float
    epsilon: float | None = None
    noise_multiplier: float | None = None
    participation: Literal["poisson", "bounded"] = "poisson"
    population: int | None = None
    max_participations: int = 1
    corrupt_share: float = 0.05
    dropout_share: float = 0.1
    min_survivors: int | None = None
    shards: int | None = None
    bits: int | None = None


@dataclass(frozen=True)
class Plan:
    """One column of figures; bytes are of one device in one round, noise is per coordinate."""

    cohort: int
    shards: int
    shard_cohort: int
    noise_multiplier: float
    epsilon: float
    delta: float
    bits: int
    rounding_cost: float
    holders: int
    threshold: int
    quorum: int
    survivors_required: int
    masks: int
    noise_steps: float
    """Standard deviation of one device's noise, in steps of the grid."""
    noise_device: float
    """The same in the units of the model's weights."""
    noise_mean: float
    """Of the mean update, drop-outs aside."""
    error_over_clip: float
    """Expected length of the noise in the mean update, over the clip."""
    upload: int
    download: int
    shard_corrupt_share: float | None
    """What `corrupt_share` has to be in each shard for the goal's to hold of the whole cohort; None with one shard."""


def plan(goal: Goal) -> Plan:
    """The figures of a goal.

    Raises:
        ValueError: naming what to change, when no parameters meet the goal (ParameterError, MechanismError and
            pydantic's ValidationError are ValueErrors).
    """
    task = _task(goal)
    cohort = round(task.shard_cohort)
    params, mechanism = parameters(cohort, task.aggregation), Mechanism.for_cohort(task, cohort)
    spent = spend([round_event(task)] * goal.rounds, goal.delta)
    noise_mean = mechanism.noise_std * math.sqrt(task.aggregation.shards) / goal.cohort
    return Plan(
        cohort=goal.cohort,
        shards=task.aggregation.shards,
        shard_cohort=cohort,
        noise_multiplier=task.mechanism.noise_multiplier,
        epsilon=spent.epsilon,
        delta=spent.delta,
        bits=task.aggregation.modulus_bits,
        rounding_cost=mechanism.rounding_cost,
        holders=params.degree,
        threshold=params.threshold,
        quorum=params.quorum,
        survivors_required=params.survivors_required,
        masks=_masks(params),
        noise_steps=math.sqrt(mechanism.variance),
        noise_device=math.sqrt(mechanism.variance) / mechanism.scale,
        noise_mean=noise_mean,
        error_over_clip=noise_mean * math.sqrt(goal.dimension) / goal.clip,
        upload=_upload(task, params),
        download=_download(task, params),
        shard_corrupt_share=_shard_share(task, cohort),
    )


def shard_corrupt_share(fleet_share: float, shard_cohort: int, shards: int, security_bits: int) -> float:
    """The corrupt share to assume of every shard when `fleet_share` of a cohort is corrupt and lots are drawn.

    The corrupt members of one shard are then at most binomial, and an operator may try 2^64 task ids for lots that suit
    it: so this is the smallest c / n with shards * 2^64 * P[Bin(n, fleet_share) > c] <= 2^-security_bits.
    """
    goal = 2.0 ** -(security_bits + _GRINDING_BITS) / shards
    most = next(count for count in range(shard_cohort + 1) if binom.sf(count, shard_cohort, fleet_share) <= goal)
    return most / shard_cohort


def _task(goal: Goal) -> TaskSpec:
    participation, shards = _participation(goal), goal.shards or _shards(goal.cohort)
    aggregation = AggregationPolicy(
        corrupt_share=goal.corrupt_share,
        dropout_share=goal.dropout_share,
        min_survivors=goal.min_survivors or max(2, goal.cohort // shards // 4),
        modulus_bits=goal.bits or _MOST_BITS,
        shards=shards,
    )
    task = TaskSpec(
        name="plan",
        population="plan",
        model=ModelSpec(architecture="plan", parameters=(ParameterSpec(name="all", shape=(goal.dimension,)),)),
        features=FeatureSpec(),
        training=LocalTraining(
            steps=1, sampling_rate=1.0, expected_batch=1.0, learning_rate=1.0, message_clip=1.0, message_noise=0.0
        ),
        mechanism=DeviceMechanism(clip=goal.clip, noise_multiplier=_noise(goal, participation, aggregation)),
        participation=participation,
        aggregation=aggregation,
        budget=Budget(delta=goal.delta),
        rounds=goal.rounds,
    )
    return task if goal.bits else with_modulus(task, smallest_modulus(task))


def _participation(goal: Goal) -> Participation:
    if goal.participation == "bounded":
        return BoundedParticipation(cohort=goal.cohort, max_participations=goal.max_participations)
    if goal.population is None or goal.population < goal.cohort:
        raise ValueError(f"population: expected at least the cohort's {goal.cohort} devices, got {goal.population}")
    return PoissonParticipation(population=goal.population, sampling_rate=goal.cohort / goal.population)


def _noise(goal: Goal, participation: Participation, aggregation: AggregationPolicy) -> float:
    if (goal.epsilon is None) == (goal.noise_multiplier is None):
        raise ValueError("epsilon: expected either epsilon or noise_multiplier")
    if goal.noise_multiplier is not None:
        return goal.noise_multiplier
    return noise_multiplier_for(participation, goal.rounds, goal.epsilon or 0.0, goal.delta, aggregation)


def _shards(cohort: int) -> int:
    return 1 if cohort <= _ONE_SHARD else -(-cohort // _SHARD)


def _shard_share(task: TaskSpec, cohort: int) -> float | None:
    policy = task.aggregation
    if policy.shards == 1:
        return None
    return shard_corrupt_share(policy.corrupt_share, cohort, policy.shards, policy.security_bits)


def _masks(params: Parameters) -> int:
    """Of one device, its own included: on a random graph those that it draws, and as many that draw it."""
    if params.complete:
        return params.cohort
    others = params.cohort - 1
    both = params.degree * params.degree / others
    return round(2 * params.degree - both) + 1


def _upload(task: TaskSpec, params: Parameters) -> int:
    dealt = {member: Dealt(bytes(2 * SHARE_BYTES + 16), bytes(16), bytes(16)) for member in range(_dealt(params))}
    revealed = dict.fromkeys(range(params.degree), bytes(SHARE_BYTES))
    bits = task.aggregation.modulus_bits
    masked = 9 + word_count(bits, task.length) * word_type(bits).itemsize
    echo = encode_echo(bytes(SIGNATURE_BYTES))
    return Advert.BYTES + len(encode_dealt(dealt)) + masked + len(echo) + len(encode_revealed(revealed))


def _download(task: TaskSpec, params: Parameters) -> int:
    """Task and revocation list aside, which are as long as their contents."""
    roster = len(Roster(()).encode()) + params.cohort * Advert.BYTES
    members = len(Members(tuple(range(params.cohort))).encode())
    dealt = _dealt(params) * 120
    echoes = params.quorum * (4 + SIGNATURE_BYTES)
    return roster + dealt + members + 4 * task.model.dimension + members + echoes


def _dealt(params: Parameters) -> int:
    return params.cohort - 1 if params.complete else params.degree
