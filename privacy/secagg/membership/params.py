"""Degree, thresholds and quorum of a cohort, computed alike by server and devices from the signed policy.

Of n devices c may be corrupt and D may vanish, so R = n - D must be in the sum. The server may tell every device
another survivor set; it then reads one device's vector if two sets find a quorum, or if corrupt holders alone reach the
Shamir threshold. Those are two numbers, the quorum Q of signatures and the threshold t of secret shares, with

* 2 Q > n + c: an honest device signs one set, so two sets share no honest signer, and cannot both find Q;
* c < t: corrupt holders recover nothing by themselves;
* t <= Q <= R: as many as must survive are enough to go on.

They have a solution if c + 2 D < n. What is left between the bounds goes to both sides: Q lies halfway, which leaves
R - Q devices to be lost between sum and signature, and t leaves as many more before unmasking, with c that withhold
their shares on top.

The corrupt are `corrupt_fraction` of the population. An honestly drawn cohort has more than c of them with probability
at most 2^-`DRAW_BITS`; small cohorts have no room for that many, and then c is the most that there is room for. That
holds for cohorts that nobody picked. A server that picks them brings as many colluders as it controls: what a cohort
withstands then is a number of devices, `Parameters.withstands`.

Up to `COMPLETE` devices everybody holds a secret share of everybody's secrets. Above, every device draws `degree`
holders by itself, so that no seed exists that a server could choose (Bell et al. 2020, "Secure Single-Server
Aggregation with (Poly)Logarithmic Overhead", section 4), and Q = R. Two things must then hold but for probability
2^-security_bits, whichever c are corrupt and whomever the server lets drop out once it knows the graph:

* no device has `threshold` corrupt holders, so that the corrupt ones and one honest device are never enough;
* the honest survivors' masks form one connected graph, so that only the sum of all of them can be read. Honest
  survivors are those that signed the same survivor set, `quorum` less the corrupt ones: what a server tells any others
  cannot be seen by them, so those others count as lost.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache, lru_cache

from scipy.special import bdtrc

from privacy.task.task import AggregationPolicy

COMPLETE = 64
"""The largest cohort in which every device holds a secret share of every other's secrets."""
DRAW_BITS = 30
"""Where there is room, an honest draw has more corrupt devices than withstood with probability at most 2^-30."""
LARGEST = 1_000
"""The largest cohort of one shard: beyond it rosters and consistency checks grow out of proportion."""
ONE_SHARD = 750
"""The largest expected cohort of one shard: it leaves a random draw room below `LARGEST`."""
_LIVENESS_BITS = 7

_SLACK = 1e-9
"""Keeps 0.1 * 30 from being counted as 2.9999."""
_LEAST = 2


def default_shards(cohort: int) -> int:
    """Return into how many shards a cohort is split unless its task says otherwise.

    As few as keep each within `ONE_SHARD`: every shard's sum carries the whole noise, so that theirs together has
    sqrt(shards) times that of one.
    """
    return -(-cohort // ONE_SHARD)


def default_min_survivors(cohort: int, shards: int, max_dropouts: int, corrupt_fraction: float) -> int:
    """Return a task's `min_survivors` unless it says otherwise.

    A quarter of a shard's devices, or more where cohorts that small would have no room for the corrupt devices of an
    honest draw. A shard in which half of the devices have no such room gets a quarter: close to the size that is
    expected, whether a random cohort gives a sum would hinge on single devices.

    Args:
        cohort: devices expected in all shards together.
        shards: how many there are.
        max_dropouts: how many devices of a shard may vanish.
        corrupt_fraction: fraction of the population that is corrupt.
    """
    shard = cohort // max(1, shards)
    fewest = max(_LEAST, shard // 4, max_dropouts + 1)
    with_room = range(fewest, max(fewest, shard // 2) + 1)

    def has_room(least: int) -> bool:
        smallest = least + max_dropouts
        return most_corrupt(smallest, corrupt_fraction) <= _room(smallest, least)

    at = bisect_left(with_room, True, key=has_room)
    return with_room[at] if at < len(with_room) else fewest


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
    return vanished if shards == 1 else _least(vanished, 1 / shards, 2.0**-_LIVENESS_BITS / shards)


class ParameterError(ValueError):
    """No parameters give both privacy and progress for this cohort."""


@dataclass(frozen=True)
class Parameters:
    """What a cohort of `cohort` devices can withstand.

    Attributes:
        cohort: devices in the cohort, 1 to `LARGEST`.
        corrupt: how many of them may work with the server.
        draw_bits: an honestly drawn cohort has more of them with probability at most 2^-draw_bits; at most `DRAW_BITS`.
        dropouts: how many of them may vanish.
        degree: how many members hold secret shares of one device; in a complete graph all, itself included.
        threshold: how many of those it takes to recover a secret.
        quorum: signatures under one survivor set that a device wants to see.
        survivors_required: fewer than this in the sum, and nothing is revealed.
    """

    cohort: int
    corrupt: int
    draw_bits: int
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
    def withstands(self) -> int:
        """How many colluders, whoever picked them, read no single device's vector together with the server.

        In a complete graph for certain; on a random one but for the probability that the draw of holders fails.
        """
        if not self.complete:
            return self.corrupt
        return min(2 * self.quorum - self.cohort - 1, self.threshold - 1, self.survivors_required - _LEAST)


@lru_cache(maxsize=4096)
def most_corrupt(cohort: int, fraction: float, bits: int = DRAW_BITS) -> int:
    """Return c: an honest draw of `cohort` devices has more than c corrupt ones with probability at most 2^-bits.

    Every device is corrupt by a coin of its own: cohorts drawn without replacement have lighter tails (Hoeffding 1963,
    section 6).
    """
    return _least(cohort, fraction, 2.0**-bits)


def _least(coins: int, chance: float, tail: float) -> int:
    """Return the least number that so many coins exceed with probability at most `tail`."""
    return bisect_left(range(coins + 1), True, key=lambda number: bool(bdtrc(number, coins, chance) <= tail))


def draw_bits(policy: AggregationPolicy) -> int:
    """Return the `Parameters.draw_bits` that no cohort of the policy falls below.

    The least favourable one has `min_survivors` left after all that may vanish did.
    """
    cohort = policy.min_survivors + policy.max_dropouts
    return _corrupt(cohort, policy.min_survivors, policy.corrupt_fraction)[1]


@lru_cache(maxsize=256)
def parameters(cohort: int, policy: AggregationPolicy) -> Parameters:
    """Return the thresholds for `cohort` devices under a policy, as every member computes them for itself.

    Raises:
        ParameterError: when the cohort is too small or too large, or the policy's corrupt and drop-out bounds cannot
            both be withstood.
    """
    if cohort > LARGEST:
        raise ParameterError(f"cohort: expected at most {LARGEST} devices, got {cohort}; raise aggregation.shards")
    required = policy.required(cohort)
    if required > cohort:
        raise ParameterError(f"cohort: expected at least {required} devices (min_survivors), got {cohort}")
    corrupt, bits = _corrupt(cohort, required, policy.corrupt_fraction)
    dropouts = cohort - required
    if cohort > COMPLETE:
        degree, threshold = _random_graph(cohort, corrupt, dropouts, policy.security_bits, policy.failure_bits)
        return Parameters(cohort, corrupt, bits, dropouts, degree, threshold, required, required)
    quorum = ((cohort + corrupt) // 2 + 1 + required) // 2
    threshold = max(corrupt + 1, quorum - corrupt - (required - quorum))
    return Parameters(cohort, corrupt, bits, dropouts, cohort, threshold, quorum, required)


def _room(cohort: int, required: int) -> int:
    """Return the most corrupt devices that the inequalities allow, and that leave two honest ones in every sum."""
    return min(2 * required - cohort - 1, required - _LEAST)


def _corrupt(cohort: int, required: int, fraction: float) -> tuple[int, int]:
    """Return how many corrupt devices the thresholds are made for, and how many bits an honest draw has then."""
    room = _room(cohort, required)
    if room < 0:
        raise ParameterError(
            f"cohort of {cohort}: no quorum can be reached when {cohort - required} devices drop out; raise "
            "min_survivors or lower max_dropouts"
        )
    corrupt = most_corrupt(cohort, fraction)
    if corrupt <= room:
        return corrupt, DRAW_BITS
    return room, math.floor(-math.log2(bdtrc(room, cohort, fraction)))


def _random_graph(cohort: int, corrupt: int, dropouts: int, security_bits: int, failure_bits: int) -> tuple[int, int]:
    """Return the smallest degree that is private and likely to succeed, and its threshold.

    The degree of `cohort - 1` always is: everybody is connected, and corrupt + dropouts < cohort - 1.
    """
    for degree in range(2, cohort):
        smallest = _smallest_component(cohort, degree, corrupt + dropouts, security_bits + 1)
        if smallest is None:
            continue
        most_held = _most(cohort, corrupt, degree, security_bits + 1)
        # A device whose secret is recovered has threshold - most_held honest holders in its own component.
        least = most_held + max(1, smallest - 1)
        # More than that costs nothing as long as drop-outs allow it, and withstands more corrupt devices than assumed.
        threshold = _fewest(cohort, cohort - 1 - dropouts, degree, failure_bits)
        if threshold >= least:
            return degree, threshold
    raise AssertionError(f"no degree for {cohort} devices, {corrupt} corrupt and {dropouts} lost")


def _smallest_component(cohort: int, degree: int, bad: int, bits: int) -> int | None:
    """Return from which size on no honest survivors can be cut off by `bad` members of the adversary's choice.

    A union bound over the cut-off set of size s and the bad set: the s devices drew all their holders from both sets,
    and no other honest survivor drew one of the s. None when sets of every size can be cut off.
    """
    honest, whole = cohort - bad, _log2_choose(cohort - 1, degree)
    probability = 0.0
    for size in range(honest // 2, 0, -1):
        inward = size * (_log2_choose(size - 1 + bad, degree) - whole)
        outward = (honest - size) * (_log2_choose(cohort - 1 - size, degree) - whole)
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
    factorials = _log_factorials()
    return (factorials[items] - factorials[chosen] - factorials[items - chosen]) / math.log(2)


@cache
def _log_factorials() -> list[float]:
    """Return the natural logarithm of the factorial of each number of devices up to the largest cohort."""
    return [math.lgamma(number + 1) for number in range(LARGEST + 1)]
