"""Degree, threshold and quorum of a cohort, computed alike by server and devices from the signed policy.

Up to `COMPLETE` devices everybody holds a secret share of everybody's secrets, and nothing is left to chance. Above,
every device draws `degree` holders by itself, so that no seed exists that a server could choose (Bell et al. 2020,
"Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", section 4). Two things must then hold but for
probability 2^-security_bits, whoever among the cohort is corrupt and whomever the server lets drop out once it knows
the graph:

* no device has `threshold` corrupt holders, so that the corrupt ones and one honest device are never enough;
* the honest survivors' masks form one connected graph, so that only the sum of all of them can be read. Honest
  survivors are those that signed the same survivor set, `quorum` less the corrupt ones: what a server tells any others
  cannot be seen by them, so those others count as lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from scipy.stats import binom

from privacy.task.task import AggregationPolicy

COMPLETE = 128
"""The largest cohort in which every device holds a secret share of every other's secrets."""
LARGEST = 1_000
"""The largest cohort of one shard: beyond it rosters and consistency checks grow out of proportion."""
_ONE_SHARD, _SHARD = 750, 400
_LIVENESS_BITS = 7

_SLACK = 1e-9
"""Keeps 0.1 * 30 from being counted as 2.9999."""
_LEAST = 2


def default_shards(cohort: int) -> int:
    """Return into how many shards a cohort is split unless its task says otherwise.

    One up to 750 devices, which leaves a random draw room below `LARGEST`; beyond, as many as keep a shard near 400.
    """
    return 1 if cohort <= _ONE_SHARD else -(-cohort // _SHARD)


def default_min_survivors(cohort: int, shards: int) -> int:
    """Return a task's `min_survivors` unless it says otherwise: a quarter of a shard's devices, at least 2."""
    return max(_LEAST, cohort // max(1, shards) // 4)


def default_max_dropouts(cohort: int, shards: int, dropout_fraction: float) -> int:
    """Return a task's `max_dropouts` when at most `dropout_fraction` of its expected cohort vanishes in a round.

    Every device that vanishes falls into each shard with the same chance, by lot. A shard allows for as many as fall
    into it but for probability 2^-7 that any shard has more, which costs a round, and no privacy.

    Args:
        cohort: devices expected in all shards together.
        shards: how many there are.
        dropout_fraction: a bound, not a rate: at least 0 and below 0.5.
    """
    vanished = math.floor(dropout_fraction * cohort + _SLACK)
    return vanished if shards == 1 else int(binom.isf(2.0**-_LIVENESS_BITS / shards, vanished, 1 / shards))


class ParameterError(ValueError):
    """No parameters give both privacy and progress for this cohort."""


@dataclass(frozen=True)
class Parameters:
    """What a cohort of `cohort` devices can withstand.

    Attributes:
        cohort: devices in the cohort, 1 to `LARGEST`.
        corrupt: how many of them may work with the server.
        dropouts: how many of them may vanish.
        degree: how many members hold secret shares of one device; in a complete graph all, itself included.
        threshold: how many of those it takes to recover a secret.
        quorum: signatures under one survivor set that a device wants to see. Two sets cannot both find a quorum: every
            honest device signs once, and 2 * quorum > cohort + corrupt. On a random graph as many as must survive.
        survivors_required: fewer than this in the sum, and nothing is revealed.
    """

    cohort: int
    corrupt: int
    dropouts: int
    degree: int
    threshold: int
    quorum: int
    survivors_required: int

    @property
    def complete(self) -> bool:
        """Whether everybody holds secret shares of everybody."""
        return self.degree == self.cohort

    @property
    def honest_survivors(self) -> int:
        """How many devices' noise can be counted on."""
        return self.survivors_required - self.corrupt


@lru_cache(maxsize=256)
def parameters(cohort: int, policy: AggregationPolicy) -> Parameters:
    """Return the thresholds for `cohort` devices under a policy, as every member computes them for itself.

    Raises:
        ParameterError: when the cohort is too small or too large, or the policy's corrupt and drop-out fractions cannot
            both be withstood.
    """
    if cohort > LARGEST:
        raise ParameterError(f"cohort: expected at most {LARGEST} devices, got {cohort}; raise aggregation.shards")
    corrupt = math.floor(policy.corrupt_fraction * cohort + _SLACK)
    required = policy.required(cohort)
    if required > cohort:
        raise ParameterError(f"cohort: expected at least {required} devices (min_survivors), got {cohort}")
    dropouts, quorum = cohort - required, (cohort + corrupt) // 2 + 1
    if quorum > required or required <= corrupt:
        raise ParameterError(
            f"cohort of {cohort}: a quorum of {quorum} cannot be reached when {dropouts} devices drop out; "
            "lower corrupt_fraction or max_dropouts"
        )
    if cohort <= COMPLETE:
        return Parameters(cohort, corrupt, dropouts, cohort, quorum, quorum, required)
    degree, threshold = _random_graph(cohort, corrupt, dropouts, policy.security_bits, policy.failure_bits)
    return Parameters(cohort, corrupt, dropouts, degree, threshold, required, required)


def _random_graph(cohort: int, corrupt: int, dropouts: int, security_bits: int, failure_bits: int) -> tuple[int, int]:
    """Return the smallest degree that is private and likely to succeed, and its threshold."""
    for degree in range(2, cohort):
        smallest = _smallest_component(cohort, degree, corrupt + dropouts, security_bits + 1)
        if smallest is None:
            continue
        most_corrupt = _most(cohort, corrupt, degree, security_bits + 1)
        # A device whose secret is recovered has threshold - most_corrupt honest holders in its own component.
        least = most_corrupt + max(1, smallest - 1)
        # More than that costs nothing as long as drop-outs allow it, and withstands more corrupt devices than assumed.
        threshold = _fewest(cohort, cohort - 1 - dropouts, degree, failure_bits)
        if threshold >= least:
            return degree, threshold
    raise ParameterError(f"cohort of {cohort}: no degree withstands {corrupt} corrupt and {dropouts} lost devices")


def _smallest_component(cohort: int, degree: int, bad: int, bits: int) -> int | None:
    """Return from which size on no honest survivors can be cut off by `bad` members of the adversary's choice.

    A union bound over the cut-off set of size s and the bad set: the s devices drew all their holders from both sets,
    and no other honest survivor drew one of the s. None when sets of every size can be cut off.
    """
    honest = cohort - bad
    probability = 0.0
    for size in range(honest // 2, 0, -1):
        inward = size * (_log2_choose(size - 1 + bad, degree) - _log2_choose(cohort - 1, degree))
        outward = (honest - size) * (_log2_choose(cohort - 1 - size, degree) - _log2_choose(cohort - 1, degree))
        choices = _log2_choose(cohort, size) + _log2_choose(cohort - size, bad)
        probability += 2.0 ** min(0.0, choices + inward + outward)
        if probability > 2.0**-bits:
            return size + 1 if size < honest // 2 else None
    return 1


def _most(cohort: int, marked: int, degree: int, bits: int) -> int:
    """Return m: more than m of `marked` members are among some device's holders with probability at most 2^-bits."""
    tail = 0
    for count in range(min(degree, marked), -1, -1):
        tail += math.comb(marked, count) * math.comb(cohort - 1 - marked, degree - count)
        if (cohort * tail) << bits > math.comb(cohort - 1, degree):
            return count
    return 0


def _fewest(cohort: int, marked: int, degree: int, bits: int) -> int:
    """Return m: fewer than m of `marked` members are among some device's holders with probability at most 2^-bits."""
    tail = 0
    for count in range(degree + 1):
        tail += math.comb(marked, count) * math.comb(cohort - 1 - marked, degree - count)
        if (cohort * tail) << bits > math.comb(cohort - 1, degree):
            return count
    return degree


def _log2_choose(items: int, chosen: int) -> float:
    """Return the binary logarithm of the binomial coefficient; -inf where it is zero."""
    if chosen > items:
        return -math.inf
    return (math.lgamma(items + 1) - math.lgamma(chosen + 1) - math.lgamma(items - chosen + 1)) / math.log(2)
