"""What a cohort will cost before anything runs: noise, bits, thresholds, bytes, from the code that will run."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import binom

from privacy import schedule
from privacy.accounting.accountant import known_cohorts_epsilon, spend
from privacy.accounting.calibration import noise_multiplier_for
from privacy.accounting.events import round_event
from privacy.accounting.pivotal import least_reachable
from privacy.base.signing import SIGNATURE_BYTES
from privacy.mechanism.mechanism import Mechanism, smallest_modulus, with_modulus
from privacy.mechanism.rotation import spread
from privacy.secagg.membership.graph import NeighbourTable
from privacy.secagg.membership.params import (
    Parameters,
    default_max_dropouts,
    default_min_survivors,
    default_shards,
    parameters,
)
from privacy.secagg.membership.room import require_room
from privacy.secagg.messages import (
    Advert,
    EncryptedShares,
    InputRequest,
    Members,
    Roster,
    Survivors,
    encode_consistency_check,
    encode_consistency_checks,
    encode_encrypted_shares,
    encode_masked,
    encode_revealed,
)
from privacy.secagg.primitives.keys import CHECK_TAG_BYTES, SEAL_OVERHEAD, TAG_BYTES
from privacy.secagg.primitives.masking import word_count, word_type
from privacy.secagg.primitives.shamir import SHARE_BYTES
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

_GRINDING_BITS = 64
"""The binary logarithm of how many task ids an operator may try until the lots suit it."""
_MOST_BITS = 32
_THOUSANDTHS = 1_000
_EMPTY_SHARES = EncryptedShares(bytes(2 * SHARE_BYTES + SEAL_OVERHEAD), bytes(TAG_BYTES), bytes(TAG_BYTES))


@dataclass(frozen=True)
class Goal:
    """What an engineer wants of a task.

    Attributes:
        cohort: devices expected in a round.
        rounds: rounds of the task.
        dimension: coordinates of the model.
        clip: L2 bound of a device's update, in the units of the model's weights.
        delta: delta of the guarantee, between 0 and 1.
        epsilon: what all rounds may spend; this or `noise_multiplier` is given, not both.
        noise_multiplier: noise of the honest devices' sum over the sensitivity.
        participation: whether the server draws cohorts in secret, or nothing random is claimed.
        population: devices to draw from, under `poisson`.
        max_participations: rounds that one device takes part in at most, under `bounded`.
        corrupt_fraction: fraction of a cohort that may work with the server, at least 0 and below 0.5.
        dropout_fraction: fraction of the expected cohort that may vanish in a round, at least 0 and below 0.5.
        min_survivors: fewest devices in a shard's sum; None: as `default_min_survivors` says.
        shards: sums that a cohort is split into; None: as many as `default_shards` says.
        bits: bits of the modulus, 8 to 32; None: the fewest that do.
        momentum: of the server's steps, in [0, 1).
    """

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
    corrupt_fraction: float = 0.05
    dropout_fraction: float = 0.1
    min_survivors: int | None = None
    shards: int | None = None
    bits: int | None = None
    momentum: float = 0.7


@dataclass(frozen=True)
class Plan:
    """What one cohort costs; bytes are of one device in one round, noise is a standard deviation per coordinate."""

    cohort: int
    shards: int
    shard_cohort: int
    noise_multiplier: float
    epsilon: float
    delta: float
    known_cohorts_epsilon: float | None
    """Epsilon towards the server, members of cohorts and holders of the round log; None: the same."""
    least_reachable: int | None
    """The devices that must be within reach before a cohort is drawn; None where nothing random is claimed."""
    bits: int
    headroom: float
    """Half the modulus over the standard deviation of a coordinate of the sum, should all devices pull one way."""
    rounding_cost: float
    """The sensitivity after rounding over that before it, at least 1."""
    holders: int
    """The devices that hold secret shares of one device."""
    threshold: int
    """The holders that it takes to recover a secret."""
    quorum: int
    """The signatures under one survivor set that a device wants to see."""
    survivors_required: int
    """The devices of a shard that must be in its sum."""
    corrupt: int
    """The corrupt devices of a shard that the thresholds are made for."""
    draw_bits: int
    """An honestly drawn shard has more corrupt devices with probability at most 2^-draw_bits."""
    withstands: int
    """The colluders in one shard that read no single vector even if the server picked them."""
    tail_noise_multiplier: float
    """The noise left, over the sensitivity, where `corrupt` devices of a shard add none."""
    security_bits: int | None
    """Holders drawn at random betray some device with probability at most 2^-security_bits a round; None without a
    draw."""
    failure_bits: int | None
    """Drop-outs as assumed spoil a round with probability at most 2^-failure_bits; None: never."""
    masks: int
    """The masks that one device adds, its own included."""
    noise_steps: float
    """The noise of one device, in steps of the grid."""
    noise_device: float
    """The noise of one device, in the units of the model's weights."""
    noise_sum: float
    """The noise of all devices' sum, in the units of the model's weights: more than the honest part that is charged."""
    noise_mean: float
    """The noise of the mean update, in the units of the model's weights."""
    error_over_clip: float
    """The expected length of the noise in the mean update, over the clip."""
    rounds: int
    learning_rate: float
    """The server's, for a model that is linear on rows of norm 1."""
    logit_noise: float
    """The noise of all rounds in a logit of such a model, at that learning rate."""
    signal: float | None
    """Signal over noise, over the best of any schedule (`privacy.schedule`); None where only the noise was given."""
    warnings: tuple[str, ...]
    upload: int
    download: int
    shard_corrupt_fraction: float | None
    """What `corrupt_fraction` must be in each shard for the goal's to hold of the cohort; None with a single shard."""


def plan(goal: Goal) -> Plan:
    """Compute what a goal costs, with the code that will run it.

    Raises:
        ValueError: naming what to change, when no parameters meet the goal (ParameterError, MechanismError and
            pydantic's ValidationError are ValueErrors).
    """
    task = _task(goal)
    require_room(task)
    cohort = round(task.shard_cohort)
    params, mechanism = parameters(cohort, task.aggregation), Mechanism.for_cohort(task, cohort)
    events = Counter({round_event(task, task.rounds): goal.rounds})
    spent, sampled = spend(events, goal.delta), task.participation
    noise_device = math.sqrt(mechanism.variance) / mechanism.scale
    noise_sum = noise_device * math.sqrt(goal.cohort)
    public, own = circumstances(goal), schedule.Schedule(goal.rounds, goal.cohort, task.aggregation.shards)
    rate = schedule.learning_rate(task, goal.momentum)
    return Plan(
        cohort=goal.cohort,
        shards=task.aggregation.shards,
        shard_cohort=cohort,
        noise_multiplier=task.mechanism.noise_multiplier,
        epsilon=spent.epsilon,
        delta=spent.delta,
        known_cohorts_epsilon=known_cohorts_epsilon(events, goal.delta),
        least_reachable=(
            least_reachable(sampled, task.aggregation) if isinstance(sampled, PoissonParticipation) else None
        ),
        bits=task.aggregation.modulus_bits,
        headroom=_headroom(mechanism, cohort),
        rounding_cost=mechanism.rounding_cost,
        holders=params.degree,
        threshold=params.threshold,
        quorum=params.quorum,
        survivors_required=params.survivors_required,
        corrupt=params.corrupt,
        draw_bits=params.draw_bits,
        withstands=params.withstands,
        tail_noise_multiplier=_tail_noise(mechanism, params),
        security_bits=None if params.complete else task.aggregation.security_bits,
        failure_bits=None if params.complete else task.aggregation.failure_bits,
        masks=_masks(params),
        noise_steps=math.sqrt(mechanism.variance),
        noise_device=noise_device,
        noise_sum=noise_sum,
        noise_mean=noise_sum / goal.cohort,
        error_over_clip=noise_sum / goal.cohort * math.sqrt(goal.dimension) / goal.clip,
        rounds=goal.rounds,
        learning_rate=rate,
        logit_noise=schedule.logit_noise(task, rate, goal.momentum),
        signal=schedule.signal(public, own),
        warnings=tuple(schedule.warnings(public, own)),
        upload=_upload(task, params),
        download=_download(task, params),
        shard_corrupt_fraction=_shard_corrupt_fraction(task, goal.cohort),
    )


def circumstances(goal: Goal) -> schedule.Circumstances:
    """Return the public numbers that a schedule is chosen by."""
    return schedule.Circumstances(
        devices=goal.population or goal.cohort,
        epsilon=goal.epsilon,
        delta=goal.delta,
        participation=goal.participation,
        max_participations=goal.max_participations,
    )


def shard_corrupt_fraction(fleet_fraction: float, cohort: int, shards: int, security_bits: int) -> float:
    """Return the corrupt fraction to assume of each shard, by lot, when `fleet_fraction` of a cohort is corrupt.

    Each of the K = floor(fleet_fraction * cohort) corrupt devices falls into a given shard with probability 1 / shards,
    and so does each honest one: they number X ~ Bin(K, 1 / shards) and, independently, Y ~ Bin(cohort - K, 1 / shards).
    A fraction c of the shard's X + Y devices is exceeded when c Y < (1 - c) X, so with probability

        sum over x of P[X = x] P[Y < x (1 - c) / c],

    which falls as c grows. The union bound over the shards, and over 2^64 task ids that an operator may try for lots
    that suit it, asks for at most 2^-(security_bits + 64) / shards. Whoever chose the cohort must not have known the
    lots.

    Args:
        fleet_fraction: fraction of the cohort that is corrupt, at least 0 and below 0.5.
        cohort: devices in all shards together.
        shards: how many shards the lots are over.
        security_bits: the binary logarithm of how seldom any shard may hold more.

    Returns:
        The smallest such c in thousandths, to be put into the task.
    """
    corrupt = math.floor(fleet_fraction * cohort + 1e-9)
    goal = 2.0 ** -(security_bits + _GRINDING_BITS) / shards
    drawn = np.arange(1, corrupt + 1)
    of_corrupt = binom.pmf(drawn, corrupt, 1 / shards)

    def fits(thousandths: int) -> bool:
        too_few = (drawn * (_THOUSANDTHS - thousandths) - 1) // thousandths
        return bool(of_corrupt @ binom.cdf(too_few, cohort - corrupt, 1 / shards) <= goal)

    return (1 + bisect_left(range(1, _THOUSANDTHS), True, key=fits)) / _THOUSANDTHS


def _task(goal: Goal) -> TaskSpec:
    participation = _participation(goal)
    shards = default_shards(goal.cohort) if goal.shards is None else goal.shards
    max_dropouts = default_max_dropouts(goal.cohort, shards, goal.dropout_fraction)
    default = default_min_survivors(goal.cohort, shards, max_dropouts, goal.corrupt_fraction)
    aggregation = AggregationPolicy(
        corrupt_fraction=goal.corrupt_fraction,
        max_dropouts=max_dropouts,
        min_survivors=default if goal.min_survivors is None else goal.min_survivors,
        modulus_bits=_MOST_BITS if goal.bits is None else goal.bits,
        shards=shards,
    )
    task = TaskSpec(
        name="plan",
        population="plan",
        model=ModelSpec(architecture="plan", parameters=(ParameterSpec(name="all", shape=(goal.dimension,)),)),
        initial=InitialModel(digest="0" * 64),
        features=FeatureSpec(),
        training=LocalTraining(
            steps=1, sampling_rate=1.0, expected_batch=1.0, learning_rate=1.0, message_clip=1.0, message_noise=0.0
        ),
        mechanism=DeviceMechanism(clip=goal.clip, noise_multiplier=_noise(goal, participation, aggregation)),
        optimiser=ServerOptimiser(learning_rate=1.0, momentum=goal.momentum),
        participation=participation,
        aggregation=aggregation,
        budget=Budget(delta=goal.delta),
        rounds=goal.rounds,
    )
    return with_modulus(task, smallest_modulus(task)) if goal.bits is None else task


def _participation(goal: Goal) -> Participation:
    if goal.participation == "bounded":
        return BoundedParticipation(cohort=goal.cohort, max_participations=goal.max_participations)
    if goal.population is None or goal.population < goal.cohort:
        raise ValueError(f"population: expected at least the cohort's {goal.cohort} devices, got {goal.population}")
    return PoissonParticipation(population=goal.population, sampling_rate=goal.cohort / goal.population)


def _noise(goal: Goal, participation: Participation, aggregation: AggregationPolicy) -> float:
    if goal.noise_multiplier is not None and goal.epsilon is None:
        return goal.noise_multiplier
    if goal.epsilon is None or goal.noise_multiplier is not None:
        raise ValueError("epsilon: expected either epsilon or noise_multiplier")
    return noise_multiplier_for(participation, goal.rounds, goal.epsilon, goal.delta, aggregation)


def _headroom(mechanism: Mechanism, cohort: int) -> float:
    """Return `Plan.headroom`: the rotation spreads a sum of norm n * bound as evenly as `rotation.spread` says."""
    pulled = cohort * mechanism.norm_bound / math.sqrt(spread(mechanism.task.length))
    half = 2.0 ** (mechanism.task.aggregation.modulus_bits - 1)
    return half / math.hypot(pulled, math.sqrt(mechanism.variance * cohort))


def _tail_noise(mechanism: Mechanism, params: Parameters) -> float:
    """Return `Plan.tail_noise_multiplier`: noise is sized for the corrupt devices to be expected."""
    return mechanism.noise_multiplier_of(params.survivors_required - params.corrupt)


def _shard_corrupt_fraction(task: TaskSpec, cohort: int) -> float | None:
    policy = task.aggregation
    if policy.shards == 1:
        return None
    return shard_corrupt_fraction(policy.corrupt_fraction, cohort, policy.shards, policy.security_bits)


def _masks(params: Parameters) -> int:
    """Return the masks of one device, its own included; a random graph has those it draws, and as many that draw it."""
    if params.complete:
        return params.cohort
    others = params.cohort - 1
    both = params.degree * params.degree / others
    return round(2 * params.degree - both) + 1


def _upload(task: TaskSpec, params: Parameters) -> int:
    bits = task.aggregation.modulus_bits
    revealed = dict.fromkeys(range(params.degree), bytes(SHARE_BYTES))
    masked = len(encode_masked(np.empty(0, word_type(bits)))) + word_count(bits, task.length) * word_type(bits).itemsize
    check = len(encode_consistency_check(bytes(SIGNATURE_BYTES), _check_tags(_masks(params) - 1)))
    shares = len(encode_encrypted_shares(_shares(params)))
    return Advert.BYTES + shares + masked + check + len(encode_revealed(revealed))


def _download(task: TaskSpec, params: Parameters) -> int:
    """Return the bytes that a device is sent in a round, but for task and revocation list."""
    everyone = tuple(range(params.cohort))
    roster = len(Roster(()).encode()) + params.cohort * Advert.BYTES
    own = len(InputRequest(_shares(params), everyone, b"").encode_own())
    model = len(InputRequest.encode_model(b"")) + 4 * task.model.dimension
    table = NeighbourTable.of(dict.fromkeys(everyone, ()), everyone, params).encode()
    survivors = len(Survivors(Members(everyone), table).encode())
    signatures = dict.fromkeys(range(params.quorum), bytes(SIGNATURE_BYTES))
    vouching = round((_masks(params) - 1) * params.quorum / params.cohort)
    checks = encode_consistency_checks(signatures, _check_tags(vouching))
    return roster + own + model + survivors + len(checks)


def _check_tags(count: int) -> dict[int, bytes]:
    return dict.fromkeys(range(count), bytes(CHECK_TAG_BYTES))


def _shares(params: Parameters) -> dict[int, EncryptedShares]:
    """Return as many encrypted shares as a device sends, and on average is sent."""
    return dict.fromkeys(range(params.cohort - 1 if params.complete else params.degree), _EMPTY_SHARES)
