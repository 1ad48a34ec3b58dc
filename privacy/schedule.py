"""Rounds, cohort, shards and the server's learning rate, chosen from public numbers alone.

What is compared is a model's signal with its noise. Almost every device's update is cut to the clip C, one message
being enough to reach it, so R rounds of n devices can move a model in proportion to R n C. The noise in a logit, for a
row of norm 1 and whatever the model's dimension, has standard deviation

    rate / (1 - momentum) * s * sqrt(R) / n,

s being that of the released sum's noise per coordinate, in units of the weights. Signal over noise is therefore
sqrt(R) n C / s, and s / C is the noise multiplier z times sqrt(shards), as every shard carries the whole noise.

For a choice, before any accountant is asked, z is that of limits. Of Poisson sampling at rate q it is the central limit
of Bu, Dong, Long and Su 2020, mu = q sqrt(R (exp(1 / z^2) - 1)), mu being that of the Gaussian mechanism that keeps
epsilon at delta; of p participations, mu = sqrt(p) / z. Under sampling, with t = q sqrt(R) / mu, signal over noise is

    N mu * t sqrt(log(1 + 1 / t^2)) / sqrt(shards),

which more rounds and larger cohorts bring closer to N mu, and none beyond. The noise that is added follows from the
accountant, never from this. docs/defaults.md has the runs that the constants come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter

from privacy.accounting.composition import log_delta
from privacy.mechanism.correlated_noise import tree_prefix_variances
from privacy.mechanism.mechanism import planned_noise_std
from privacy.secagg.membership.params import ONE_SHARD, default_shards
from privacy.task.correlation import BinaryTree, toeplitz_coefficients
from privacy.task.task import LocalSgd, TaskSpec

ROUNDS = 100
"""Fewer leave a model short of what it could learn, whatever the noise."""
_BOUNDED_ROUNDS = 30
"""Without sampling, larger cohorts are worth more than further rounds."""
_USED = 0.8
"""The fraction of the participations that devices have which is planned with: some drop out, and the last are few."""
ENOUGH = 0.95
"""A cohort is as large as it takes for this fraction of the best signal over noise: the rest would cost devices twice
as much."""
LEAST_COHORT = 100
"""Where noise does not ask for a larger cohort: smaller ones differ too much from each other."""
NOISELESS_COHORT = 200
REACH = 40.0
"""The learning rate times the clip at which training without noise does best, at `_TUNED_MOMENTUM`."""
UNKNOWN_RATE = 20.0
"""The learning rate for models that are not linear on rows of norm 1, of which no rule is known."""
_TUNED_MOMENTUM = 0.7
_SETTLED = 4_096
FAR_RATE = 3.0
"""A learning rate so many times the rule's, either way, is worth a warning: the best one is within 2 in the study."""
_FAR_SIGNAL = 0.8
"""Signal over noise below this fraction of another schedule's is worth a warning."""


@dataclass(frozen=True)
class Circumstances:
    """The public numbers that a schedule follows from.

    Attributes:
        devices: of the population.
        epsilon: what all rounds may spend at device level; None for no noise.
        delta: delta of the guarantee, between 0 and 1.
        participation: whether the server draws cohorts in secret, or nothing random is claimed.
        max_participations: rounds that one device takes part in at most, under `bounded`.
    """

    devices: int
    epsilon: float | None
    delta: float
    participation: Literal["poisson", "bounded"] = "poisson"
    max_participations: int = 1


@dataclass(frozen=True)
class Schedule:
    """So many rounds of an expected cohort, in so many shards."""

    rounds: int
    cohort: int
    shards: int


@dataclass(frozen=True)
class Reason:
    """A value that was chosen, and why."""

    name: str
    value: str
    why: str


def default_rounds(participation: Literal["poisson", "bounded"]) -> int:
    """Return how many rounds are chosen, for any population."""
    return _BOUNDED_ROUNDS if participation == "bounded" else ROUNDS


def choose(
    public: Circumstances, *, rounds: int | None = None, cohort: int | None = None, shards: int | None = None
) -> Schedule:
    """Choose what is not given.

    Args:
        public: the public numbers.
        rounds: rounds of the task; None to choose.
        cohort: devices expected in a round; None to choose, for one shard unless more are given.
        shards: sums that a cohort is split into; None for as few as can be.
    """
    planned = rounds or default_rounds(public.participation)
    if cohort is None:
        most = min(public.devices, ONE_SHARD * (shards or 1))
        cohort = min(most, _cohort(public, planned))
    return Schedule(planned, cohort, shards or default_shards(cohort))


def signal(public: Circumstances, schedule: Schedule) -> float | None:
    """Return a schedule's signal over noise, over the best of any under sampling; None without noise.

    Of bounded participation, which gains nothing by sampling, it is over that of one participation of every device.
    """
    if public.epsilon is None:
        return None
    mu = _mu(public.epsilon, public.delta)
    if public.participation == "bounded":
        noise = math.sqrt(public.max_participations * schedule.shards) / mu
        return math.sqrt(schedule.rounds) * schedule.cohort / noise / (public.devices * mu)
    t = schedule.cohort / public.devices * math.sqrt(schedule.rounds) / mu
    return t * math.sqrt(math.log1p(1 / t**2) / schedule.shards)


def released_noise_std(task: TaskSpec) -> float:
    """Return the standard deviation per coordinate of the noise in a round's released sum, in units of the weights.

    It is that of all devices expected, of whom only the honest survivors are counted on, in all shards; or what the
    server adds, once.
    """
    if task.mechanism.correlation is not None:
        return task.mechanism.noise_multiplier * task.contribution_bound
    shard = task.shard_cohort
    return planned_noise_std(task, task.aggregation.shards) * math.sqrt(shard / task.counted(shard))


def message_noise_std(task: TaskSpec) -> float:
    """Return the standard deviation per coordinate of what devices' own DP-SGD noise leaves in a round's released sum.

    The noise of a device's steps has norm L = rate / batch * multiplier * clip of a message * sqrt(steps * d), and the
    clip of the update leaves at most min(L, C) of it, spread over d coordinates.
    """
    training, dimension = task.training, task.model.dimension
    if isinstance(training, LocalSgd) or not training.message_noise:
        return 0.0
    step = training.learning_rate / training.expected_batch * training.message_noise * training.message_clip
    norm = min(step * math.sqrt(training.steps * dimension), task.mechanism.clip)
    return norm * math.sqrt(task.participation.expected_cohort / dimension)


def is_ruled(task: TaskSpec) -> bool:
    """Tell whether a rule of the learning rate is known: for models that are linear on rows of norm 1."""
    return task.model.architecture == "hashed-linear"


def learning_rate(task: TaskSpec, momentum: float) -> float:
    """Return the server's learning rate for a model that is linear on rows of norm 1, to three digits.

    The smaller of two: the rate that is best without noise, and that at which the noise of all rounds together has a
    standard deviation of 1 in a logit.

    Args:
        task: whose clip, noise, cohort and rounds these are.
        momentum: the server's, in [0, 1).
    """
    best = REACH / task.mechanism.clip / (1 - _TUNED_MOMENTUM)
    unit = logit_noise(task, 1.0, momentum=0.0)
    return float(f"{(1 - momentum) * min(best, 1 / unit if unit else math.inf):.3g}")


def logit_noise(task: TaskSpec, rate: float, momentum: float) -> float:
    """Return the standard deviation of all rounds' noise, the devices' own included, in the logit of a row of norm 1.

    Args:
        task: whose noise, cohort and rounds these are.
        rate: the server's learning rate.
        momentum: the server's, in [0, 1).
    """
    server = released_noise_std(task) * math.sqrt(_rounds_of_noise(task))
    devices = message_noise_std(task) * math.sqrt(task.rounds)
    return rate / (1 - momentum) * math.hypot(server, devices) / task.participation.expected_cohort


def _rounds_of_noise(task: TaskSpec) -> float:
    """Return the variance of all rounds' noise together, over that of one z: less than the rounds where correlated.

    For noise C^-1 z, a filter with C's coefficients in its denominator gives what each z adds up to; it has settled
    long before `_SETTLED` rounds.
    """
    correlation = task.mechanism.correlation
    if correlation is None:
        return task.rounds
    if isinstance(correlation, BinaryTree):
        return float(tree_prefix_variances(task.rounds)[-1])
    known = min(task.rounds, _SETTLED)
    response = lfilter([1.0], toeplitz_coefficients(correlation, known), np.ones(known))
    return float(response @ response) * task.rounds / known


def _mu(epsilon: float, delta: float) -> float:
    """Return mu of the Gaussian mechanism that keeps epsilon at delta and no less."""
    goal = math.log(delta)
    return float(brentq(lambda mu: max(log_delta(epsilon, mu), -1e6) - goal, 1e-6, 1e6, xtol=1e-9))


def _cohort(public: Circumstances, rounds: int) -> int:
    """Return the devices that are worth asking in a round, however many there are and fit a shard."""
    if public.participation == "bounded":
        return max(2, int(_USED * public.devices * public.max_participations / rounds))
    if public.epsilon is None:
        return NOISELESS_COHORT
    t = brentq(lambda t: t * math.sqrt(math.log1p(1 / t**2)) - ENOUGH, 1e-3, 1e3)
    enough = t * _mu(public.epsilon, public.delta) * public.devices / math.sqrt(rounds)
    return max(LEAST_COHORT, 10 * math.ceil(enough / 10))


def reasons(public: Circumstances, schedule: Schedule, task: TaskSpec) -> list[Reason]:
    """Say of a task's schedule and optimiser what they come to, a line each."""
    clip, optimiser = task.mechanism.clip, task.optimiser
    reached = signal(public, schedule)
    drawn = schedule.rounds * schedule.cohort / public.devices
    noise = logit_noise(task, optimiser.learning_rate, optimiser.momentum)
    of_best = "" if reached is None else f": {reached:.0%} of the best signal over noise"
    usual, few = default_rounds(public.participation), default_shards(schedule.cohort)
    enough = ": as few as can be" if schedule.shards <= few else f", and {few} would do"
    in_logit = f"all rounds' noise in a logit comes to {noise:.2g}" if noise else "there is no noise to hold it back"
    named = {
        "rounds": (schedule.rounds, f"fewer than {usual} leave much unlearnt; a device is drawn {drawn:.3g} times"),
        "cohort": (schedule.cohort, f"of {public.devices:,} devices{of_best}"),
        "shards": (schedule.shards, f"each carries the whole noise{enough}"),
        "clip": (clip, "any other does as well once the learning rate is scaled"),
        "momentum": (optimiser.momentum, "likewise"),
        "learning rate": (optimiser.learning_rate, in_logit),
    }
    return [Reason(name, f"{value:g}", why) for name, (value, why) in named.items()]


def warnings(public: Circumstances, schedule: Schedule) -> list[str]:
    """Return what is wrong with a schedule that somebody chose: a line each, with what it loses."""
    one = min(public.devices, ONE_SHARD)
    if schedule.shards > 1 and schedule.cohort < one * math.sqrt(schedule.shards):
        loss = one * math.sqrt(schedule.shards) / schedule.cohort
        return [
            f"{schedule.cohort} devices in {schedule.shards} shards have {loss:.1f} times the noise to signal of {one} "
            "in one, for each shard carries the whole noise"
        ]
    own, best = signal(public, schedule), signal(public, chosen := choose(public))
    if own is None or best is None or own >= _FAR_SIGNAL * best:
        return []
    return [
        f"{schedule.rounds} rounds of {schedule.cohort} devices have {best / own:.1f} times the noise to signal of "
        f"{chosen.rounds} rounds of {chosen.cohort}, at the same epsilon"
    ]


def rate_warnings(task: TaskSpec) -> list[str]:
    """Return what is wrong with the learning rate that somebody chose for a linear model on rows of norm 1."""
    own, momentum = task.optimiser.learning_rate, task.optimiser.momentum
    ruled = learning_rate(task, momentum)
    if 1 / FAR_RATE <= own / ruled <= FAR_RATE:
        return []
    if own < ruled:
        return [f"a server learning rate of {own:g} is far below {ruled:g}, which suits this noise: much goes unlearnt"]
    return [
        f"a server learning rate of {own:g} is far above {ruled:g}, which suits this noise: in a logit, that of all "
        f"rounds comes to {logit_noise(task, own, momentum):.2g}, and should to about 1 at most"
    ]
