"""Composed Gaussian mechanisms, with and without Poisson sampling: epsilon between a lower and an upper bound.

Sampled rounds are composed as privacy loss distributions on a grid (Koskela et al. 2020): the upper bound by
connect-the-dots (Doroshenko et al. 2022), the lower by rounding losses down. Without sampling the Gaussian curve is
exact. Renyi differential privacy (Mironov 2017; Mironov, Talwar and Zhang 2019) is the independent second opinion.

Events become what one device loses at worst: a composition, and the delta that is left for it. A round that may have
been released only thanks to the device is a mixture of a sampled and an unsampled Gaussian (see `pivotal`).

Unsampled rounds follow the exact curve of the Gaussian mechanism (Balle and Wang 2018, Theorem 8), stable for any mu
and delta. mu is the L2 sensitivity over the noise's standard deviation. Gaussians compose exactly, also adaptively:
mu^2 adds up (Dong, Roth and Su 2022, Corollary 3.3).
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from importlib.metadata import version

import numpy as np
from dp_accounting import dp_event, rdp
from dp_accounting.pld import pld_pmf
from numpy.typing import NDArray
from scipy.special import log_ndtr

from privacy.accounting.events import BoundedGaussian, CorrelatedGaussian, Event, PoissonGaussian
from privacy.accounting.gaussian_losses import gaussian_losses
from privacy.accounting.loss_distributions import (
    TRUNCATED,
    compose_mixtures,
    deltas_for_epsilons,
    epsilon_for_delta,
    most_epsilon,
    self_compose,
)
from privacy.accounting.pivotal import LOTS_DELTA
from privacy.task.correlation import squared_sensitivity

_BISECTIONS = 200
_MARGIN = 1e-9
"""How far below log(delta) the accepted epsilon must lie: more than the rounding errors of `log_delta`."""


def log_delta(epsilon: float, mu: float) -> float:
    """Return the log of the least delta at which the Gaussian mechanism of `mu` keeps epsilon.

    That is log(Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu)) (Balle and Wang 2018, Theorem 8).

    Returns:
        At most 0; -inf where the difference underflows.
    """
    near = float(log_ndtr(mu / 2 - epsilon / mu))
    far = float(log_ndtr(-mu / 2 - epsilon / mu))
    log_ratio = epsilon + far - near
    return near + math.log1p(-math.exp(log_ratio)) if log_ratio < 0 else -math.inf


def epsilon_bracket(mu: float, delta: float) -> tuple[float, float]:
    """Bound the smallest epsilon >= 0 that the Gaussian mechanism of `mu` keeps at delta, from below and from above.

    Returns:
        Two neighbouring floats in general; both inf for an infinite mu.
    """
    if mu == 0 or math.isinf(mu):
        return mu, mu
    target = math.log(delta) - _MARGIN
    if log_delta(0.0, mu) <= target:
        return 0.0, 0.0
    low, high = 0.0, mu * mu / 2 + mu * math.sqrt(2 * (-target)) + 1e-12
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if log_delta(middle, mu) > target else (low, middle)
    return low, high


GRID = 1e-4
"""Width of the grid of privacy losses."""
COARSE = 16
"""How many times wider the grid of quick answers is: epsilon grows by about 0.1%."""
LEAST_ON_GRID = 1e-12
"""Least delta that is asked of sums of probabilities in floats: errors of 1e-16 each pass for losses below it."""
_FLOATS = 1e-11
"""More than the errors of a sum of probabilities in floats."""
_UNLIKELY = 1e-6
"""Fraction of delta that pays for pivotal rounds which are too unlikely to be composed."""
_FINE_UP_TO = 32.0
"""Above this epsilon the grid widens in proportion: its time and memory would grow with epsilon."""
_A_DEVIATION = 8
"""Steps of the grid in the standard deviation of a weak round's loss."""
_DEVIATIONS, _MOST_LOSSES, _STEEP = 12, 1 << 20, 50.0
"""How far a loss reaches, in standard deviations of the noise; how many a finer grid may hold; what exp can take."""
_RDP_ORDERS = (*(quarters / 4 for quarters in range(8, 48)), *range(12, 65), 96, 128, 256, 512, 1024)
_TOLERANCE = 1e-3

# dp-accounting warns of each order whose series does not converge and leaves it out; the bound by the others holds.
logging.getLogger("absl").addFilter(lambda record: "Excluding this order" not in str(record.msg))

_LIBRARY = f"dp-accounting {version('dp-accounting')}"
PLD_NAME = f"privacy loss distributions ({_LIBRARY})"
ANY_PROMISE = 20.0
"""An epsilon above it lets odds change 500-million-fold. From about there on accountants' floats may give out."""
_ALL_BUT_CERTAIN = 1 - 1e-9
"""Rates above are charged as 1, which costs no less: what is left of them is lost in the losses' floats."""
EXACT_NAME = f"exact Gaussian curve (scipy {version('scipy')})"
UNSAMPLED_NAME = f"{EXACT_NAME}, of the same rounds without sampling"
RDP_NAME = f"Renyi differential privacy ({_LIBRARY})"


class AccountantsDisagree(RuntimeError):
    """Two accountants contradict each other, so no epsilon can be stated and nothing may be released."""


@dataclass(frozen=True)
class Sampled:
    """A Gaussian round that a device enters with probability `rate`, unseen.

    Attributes:
        rate: that probability.
        noise_multiplier: standard deviation of the noise over the L2 sensitivity.
        pivotal: the probability that the device was in it for certain instead, and that this shows.
    """

    rate: float
    noise_multiplier: float
    pivotal: float = 0.0


@dataclass(frozen=True)
class Composition:
    """What one device loses at worst, as mechanisms that are composed.

    Attributes:
        mu: that of all unsampled Gaussians together, sensitivity over standard deviation; inf without noise.
        sampled: the sampled rounds, and how often each happened.
    """

    mu: float
    sampled: tuple[tuple[Sampled, int], ...] = ()

    @classmethod
    def of(cls, mu_squared: float, rounds: Iterable[tuple[Sampled, int]]) -> Composition:
        """Compose rounds: equal ones are merged, unsampled ones become part of mu, which is inf without noise.

        Args:
            mu_squared: square of the mu of all unsampled Gaussians.
            rounds: sampled rounds, and how often each happened.
        """
        counts: Counter[Sampled] = Counter()
        for sampled, times in rounds:
            if times and sampled.noise_multiplier == 0:
                return cls(math.inf)
            if sampled.rate > _ALL_BUT_CERTAIN or sampled.pivotal == 1:
                mu_squared += times / sampled.noise_multiplier**2
            elif times:
                counts[sampled] += times
        ordered = sorted(counts.items(), key=lambda item: (item[0].rate, item[0].noise_multiplier, item[0].pivotal))
        return cls(math.sqrt(mu_squared), tuple(ordered))

    @property
    def rounds(self) -> int:
        """Number of losses that are added on the grid."""
        return sum(times for _, times in self.sampled) + (self.mu > 0)


@dataclass(frozen=True)
class Bracket:
    """Bounds between which epsilon lies.

    Attributes:
        lower: the lower bound.
        upper: the upper bound.
        second: the second accountant's upper bound, which is looser.
        accountant: name and version of the code that found `lower` and `upper`.
        second_accountant: name and version of the code that found `second`.
    """

    lower: float
    upper: float
    second: float
    accountant: str
    second_accountant: str = RDP_NAME


@lru_cache(maxsize=256)
def bracket(composition: Composition, delta: float, coarseness: int = 1) -> Bracket:
    """Bound epsilon at delta by two accountants.

    Args:
        composition: what one device loses at worst.
        delta: between 0 and 1.
        coarseness: how many times wider the grid is: the answer comes sooner, with bounds further apart.

    Raises:
        AccountantsDisagree: when the accountants contradict each other.
    """
    if math.isinf(composition.mu):
        return Bracket(math.inf, math.inf, math.inf, EXACT_NAME)
    second = rdp_epsilon(composition, delta)
    if not composition.sampled:
        return _checked(Bracket(*epsilon_bracket(composition.mu, delta), second, EXACT_NAME), _TOLERANCE, _TOLERANCE)
    if delta < LEAST_ON_GRID:
        return _beyond_grid(composition, delta)
    lower, upper = (_pld_epsilon(composition, delta, pessimistic, coarseness) for pessimistic in (False, True))
    if math.isinf(upper):
        return _beyond_grid(composition, delta)
    widest = _widest(composition, delta, coarseness)
    return _checked(Bracket(lower, upper, second, PLD_NAME), widest, _TOLERANCE if coarseness == 1 else widest)


def checked_upper(composition: Composition, delta: float) -> float:
    """Return the upper bound of `bracket`, sooner: held against a lower bound on a coarser grid, and against Renyi's.

    Args:
        composition: what one device loses at worst.
        delta: between 0 and 1.

    Raises:
        AccountantsDisagree: when the accountants contradict each other.
    """
    upper, coarse = upper_bound(composition, delta), bracket(composition, delta, COARSE)
    if math.isinf(upper):
        return upper
    return _checked(replace(coarse, upper=upper), _widest(composition, delta, COARSE), _TOLERANCE).upper


def grid_bracket(composition: Composition, delta: float) -> tuple[float, float]:
    """Return a lower and an upper bound of epsilon on the grid, also where there is a closed form."""
    return _pld_epsilon(composition, delta, False, 1), _pld_epsilon(composition, delta, True, 1)


@lru_cache(maxsize=1024)
def upper_bound(composition: Composition, delta: float, coarseness: int = 1) -> float:
    """Bound epsilon from above without the checks of `bracket`, for searches and curves whose result is checked.

    Args:
        composition: what one device loses at worst.
        delta: between 0 and 1.
        coarseness: how many times wider the grid is: the answer comes sooner and remains an upper bound.
    """
    if math.isinf(composition.mu) or not composition.sampled:
        return epsilon_bracket(composition.mu, delta)[1]
    if delta < LEAST_ON_GRID:
        return _beyond_grid(composition, delta).upper
    upper = _pld_epsilon(composition, delta, True, coarseness)  # positional, as in `bracket`: one cache key
    return _beyond_grid(composition, delta).upper if math.isinf(upper) else upper


def deltas_at(composition: Composition, delta: float, epsilons: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bound delta from above at many epsilons, without the checks of `bracket`.

    Args:
        composition: what one device loses at worst.
        delta: what the grid is chosen for, between 0 and 1, so that it is the one of an epsilon at it.
        epsilons: float64[n], 0 or more.

    Returns:
        float64[n], at most 1.
    """
    unsampled = np.array([_gaussian_delta(epsilon, _unsampled_mu(composition)) for epsilon in epsilons])
    if not composition.sampled or math.isinf(composition.mu):
        return unsampled
    with np.errstate(over="ignore"):
        grid = _grid(composition, delta)
        removed, added = (
            deltas_for_epsilons(_composed(composition, grid, True, direction), epsilons) for direction in (False, True)
        )
    return np.asarray(np.minimum(unsampled, np.maximum(removed, added) + _FLOATS), np.float64)


def _gaussian_delta(epsilon: float, mu: float) -> float:
    """Return a delta at which the Gaussian mechanism of `mu` keeps epsilon, as little above the least as floats are."""
    if mu == 0 or math.isinf(mu):
        return 0.0 if mu == 0 else 1.0
    return min(1.0, math.exp(log_delta(epsilon, mu) + _MARGIN))


def _unsampled_mu(composition: Composition) -> float:
    """Return mu of the same rounds without sampling, which never loses less (joint convexity)."""
    squares = sum(times / sampled.noise_multiplier**2 for sampled, times in composition.sampled)
    return math.sqrt(composition.mu**2 + squares)


def _beyond_grid(composition: Composition, delta: float) -> Bracket:
    """Bound epsilon where the grid's floats give out: at deltas below `LEAST_ON_GRID`, and far above any promise.

    There are the Renyi bound, and the exact curve of the same rounds without sampling, for sampling never adds to a
    loss, by the convexity of the hockey-stick divergence. Nothing is known from below.
    """
    bounds = [
        (rdp_epsilon(composition, delta), RDP_NAME),
        (epsilon_bracket(_unsampled_mu(composition), delta)[1], UNSAMPLED_NAME),
    ]
    (upper, accountant), (second, second_accountant) = sorted(bounds)
    return Bracket(0.0, upper, second, accountant, second_accountant)


@lru_cache(maxsize=1024)
def rdp_epsilon(composition: Composition, delta: float) -> float:
    """Bound epsilon at delta from above by Renyi differential privacy (Mironov 2017); inf without noise."""
    if math.isinf(composition.mu):
        return math.inf
    return float(rdp.compute_epsilon(_RDP_ORDERS, rdp_curve(composition)[1], delta)[0])


def rdp_curve(composition: Composition) -> tuple[Sequence[float], NDArray[np.float64]]:
    """Return Renyi orders, all above 1, and the divergence at each: float64[orders], inf without noise."""
    curve = np.array(_RDP_ORDERS) * composition.mu**2 / 2
    for sampled, times in composition.sampled:
        curve += times * _rdp_of_round(sampled)
    return _RDP_ORDERS, curve


@lru_cache(maxsize=256)
def _rdp_of_round(sampled: Sampled) -> NDArray[np.float64]:
    """Return a round's Renyi divergence at each order, which adds up over rounds: float64[orders].

    Of a mixture whose component is known, exp((order - 1) * divergence) is the components' on average.
    """
    free = _rdp_of_sampled(sampled.rate, sampled.noise_multiplier)
    if not sampled.pivotal:
        return free
    less_one = np.array(_RDP_ORDERS) - 1
    certain = (less_one + 1) / (2 * sampled.noise_multiplier**2)
    moments = np.logaddexp(
        math.log(sampled.pivotal) + less_one * certain, math.log1p(-sampled.pivotal) + less_one * free
    )
    return np.asarray(moments / less_one, np.float64)


@lru_cache(maxsize=256)
def _rdp_of_sampled(rate: float, noise_multiplier: float) -> NDArray[np.float64]:
    accountant = rdp.RdpAccountant(_RDP_ORDERS)
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise_multiplier)))
    return np.asarray(accountant.rdp, np.float64)


def _widest(composition: Composition, delta: float, coarseness: int) -> float:
    """Return how far apart two bounds of sampled rounds may be of which the coarser is on a grid so coarse."""
    return _TOLERANCE + _grid(composition, delta) * coarseness * composition.rounds


def _checked(bounds: Bracket, widest: float, above: float) -> Bracket:
    """Return the bounds if the accountants agree on them.

    Args:
        bounds: what they found.
        widest: how far apart `lower` and `upper` may be.
        above: how far `upper` may lie over the second accountant's bound, which is not on a grid.
    """
    ordered = bounds.lower <= min(bounds.upper, bounds.second) + _TOLERANCE and bounds.upper <= bounds.second + above
    if not ordered or not bounds.upper - bounds.lower <= widest:
        raise AccountantsDisagree(
            f"epsilon: expected lower <= upper <= second bound within {widest:.4f}, got {bounds.lower:.6f}, "
            f"{bounds.upper:.6f} and {bounds.second:.6f}; nothing may be released on these figures"
        )
    return bounds


def _grid(composition: Composition, delta: float) -> float:
    """Return a power of two times `GRID`, so that neighbouring compositions have cached distributions in common.

    It is wider where epsilon is large, and finer where every round is weak, down to an eighth of the standard deviation
    of the weakest round's loss, rate * sqrt(exp(1 / noise_multiplier^2) - 1), as far as memory allows.
    """
    epsilon = rdp_epsilon(composition, delta)
    wide = GRID * 2.0 ** max(0, math.ceil(math.log2(max(epsilon, _FINE_UP_TO) / _FINE_UP_TO)))
    rounds = [sampled for sampled, _ in composition.sampled]
    noise = min((sampled.noise_multiplier for sampled in rounds), default=1.0)
    weakest = min(
        (sampled.rate * math.sqrt(math.expm1(min(_STEEP, sampled.noise_multiplier**-2))) for sampled in rounds),
        default=1.0,
    )
    finest = (noise**-2 + _DEVIATIONS / noise + epsilon) / _MOST_LOSSES
    fine = GRID * 2.0 ** min(0, math.floor(math.log2(max(weakest / _A_DEVIATION, finest) / GRID)))
    return max(wide, fine) if wide > GRID else fine


@lru_cache(maxsize=4096)
def _pld_epsilon(composition: Composition, delta: float, pessimistic: bool, coarseness: int, /) -> float:
    """Return the greater epsilon of the two directions; the second is composed where it could be the greater one.

    The loss of a device that is added to a sampled round is at most -log(1 - rate), so that few rounds' is soon known.
    """
    grid = _grid(composition, delta) * coarseness
    with np.errstate(over="ignore"):  # near exp(709); the result is then inf
        removed = float(epsilon_for_delta(_composed(composition, grid, pessimistic, False), delta))
        if removed >= _most_when_added(composition, grid, pessimistic, delta):
            return removed
        return max(removed, float(epsilon_for_delta(_composed(composition, grid, pessimistic, True), delta)))


def _most_when_added(composition: Composition, grid: float, pessimistic: bool, delta: float) -> float:
    """Return what no epsilon of adding the device is above; inf where that is not known without composing."""
    if composition.mu or any(sampled.pivotal or sampled.rate == 1 for sampled, _ in composition.sampled):
        return math.inf
    each = delta / len(composition.sampled)
    return sum(
        most_epsilon(_losses(sampled, grid, pessimistic, True), times, each) for sampled, times in composition.sampled
    )


@lru_cache(maxsize=4)
def _composed(composition: Composition, grid: float, pessimistic: bool, added: bool) -> pld_pmf.PLDPmf:
    """Compose on the grid; the last few results are kept, since a report asks for several deltas."""
    mixed: dict[Sampled, list[tuple[float, int]]] = defaultdict(list)
    for sampled, times in composition.sampled:
        mixed[replace(sampled, pivotal=0.0)].append((sampled.pivotal, times))
    parts = [_rounds(sampled, tuple(pivotal), grid, pessimistic, added) for sampled, pivotal in mixed.items()]
    if composition.mu:
        parts.append(_losses(Sampled(1.0, 1 / composition.mu), grid, pessimistic, added))
    return reduce(lambda left, right: pld_pmf.compose_pmfs(left, right, TRUNCATED), parts)


def _rounds(
    sampled: Sampled, pivotal: Sequence[tuple[float, int]], grid: float, pessimistic: bool, added: bool
) -> pld_pmf.PLDPmf:
    """Compose rounds of one rate and noise, given how often each probability of being pivotal happened."""
    free = _losses(sampled, grid, pessimistic, added)
    if [probability for probability, _ in pivotal] == [0.0]:
        return self_compose(free, pivotal[0][1])
    return compose_mixtures(free, _losses(replace(sampled, rate=1.0), grid, pessimistic, added), pivotal)


@lru_cache(maxsize=32)
def _losses(sampled: Sampled, grid: float, pessimistic: bool, added: bool) -> pld_pmf.PLDPmf:
    return gaussian_losses(sampled.noise_multiplier, sampled.rate, grid, pessimistic=pessimistic, added=added)


def compose(counts: Counter[Event]) -> Composition:
    """Return what the worst-placed device loses by events that each happened so many times."""
    sampled: list[tuple[Sampled, int]] = []
    bounded: dict[str, list[tuple[BoundedGaussian, int]]] = defaultdict(list)
    correlated: dict[CorrelatedGaussian, int] = defaultdict(int)
    for event, times in counts.items():
        if isinstance(event, PoissonGaussian):
            round_ = Sampled(event.sampling_rate, event.noise_multiplier, event.pivotal_probability)
            sampled.append((round_, times))
        elif isinstance(event, BoundedGaussian):
            bounded[event.task].append((event, times))
        elif times:
            stream = event.model_copy(update={"horizon": 1})
            correlated[stream] = max(correlated[stream], event.horizon)
    mu_squared = sum(map(_worst_mu_squared, bounded.values()))
    return Composition.of(mu_squared + sum(_correlated_mu_squared(*charged) for charged in correlated.items()), sampled)


def settle(counts: Counter[Event], delta: float) -> tuple[Composition, float]:
    """Return what the worst-placed device loses, and the delta that is left for it.

    Formal guarantee. Delta pays for two things, with the probability of either. Lots depend on no update, so given them
    the guarantee holds but for those under which another number of the others is in the device's shard than
    `pivotal_probability` counts on. And rounds in which the device is pivotal, where they are so unlikely that a
    millionth of delta pays for all of them: their loss need not be known then.

    Args:
        counts: how often each event happened.
        delta: between 0 and 1.

    Returns:
        The composition, and what is left of delta: 0 or less where nothing is.
    """
    composition = compose(counts)
    lost, room, rounds = lots_delta(counts), delta * _UNLIKELY, list[tuple[Sampled, int]]()
    for sampled, times in sorted(composition.sampled, key=lambda item: item[0].pivotal):
        if sampled.pivotal * times <= room:
            room -= sampled.pivotal * times
            lost += sampled.pivotal * times
            rounds.append((replace(sampled, pivotal=0.0), times))
        else:
            rounds.append((sampled, times))
    return Composition.of(composition.mu**2, rounds), delta - lost


def lots_delta(counts: Counter[Event]) -> float:
    """Return the part of delta that pays for unlikely lots: 0 where no sampled cohort was split into shards."""
    return LOTS_DELTA * sum(
        times for event, times in counts.items() if isinstance(event, PoissonGaussian) and event.shards > 1
    )


def _worst_mu_squared(rounds: Iterable[tuple[BoundedGaussian, int]]) -> float:
    """Return mu^2 of a device that takes part in those rounds of a task with the least noise, as often as it may."""
    ordered = sorted(rounds, key=lambda item: item[0].noise_multiplier)
    left = max(event.max_participations for event, _ in ordered)
    mu_squared = 0.0
    for event, times in ordered:
        taken = min(left, times)
        if taken:
            mu_squared += taken / event.noise_multiplier**2 if event.noise_multiplier else math.inf
        left -= taken
    return mu_squared


def _correlated_mu_squared(stream: CorrelatedGaussian, horizon: int) -> float:
    """Return mu^2 of the worst device over all rounds that were paid for, the same for every charge of a stream."""
    if not stream.noise_multiplier:
        return math.inf
    squared = squared_sensitivity(stream.correlation, horizon, stream.min_separation, stream.max_participations)
    return squared / stream.noise_multiplier**2
