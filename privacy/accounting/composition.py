"""Composed Gaussian mechanisms, with and without Poisson sampling: epsilon between a lower and an upper bound.

Sampled rounds are composed as privacy loss distributions on a grid (Koskela et al. 2020): the upper bound by
connect-the-dots (Doroshenko et al. 2022), the lower by rounding losses down. Without sampling the Gaussian curve is
exact. Renyi differential privacy (Mironov 2017; Mironov, Talwar and Zhang 2019) is the independent second opinion.

Events become what one device loses at worst: a composition, and the delta that imperfect sampling takes away.

Unsampled rounds follow the exact curve of the Gaussian mechanism (Balle and Wang 2018, Theorem 8), stable for any mu
and delta. mu is the L2 sensitivity over the noise's standard deviation. Gaussians compose exactly, also adaptively:
mu^2 adds up (Dong, Roth and Su 2022, Corollary 3.3).
"""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from importlib.metadata import version

import numpy as np
from dp_accounting import dp_event, rdp
from dp_accounting.pld import privacy_loss_distribution as pld
from numpy.typing import NDArray
from scipy.special import log_ndtr
from scipy.stats import binom

from privacy.accounting.events import BoundedGaussian, CorrelatedGaussian, Event, PoissonGaussian
from privacy.accounting.loss_distributions import epsilon_for_delta, self_compose
from privacy.task.correlation import squared_sensitivity
from privacy.task.task import Participation, PoissonParticipation, largest_draw

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
_FINE_UP_TO = 32.0
"""Above this epsilon the grid widens in proportion: its time and memory would grow with epsilon."""
_RDP_ORDERS = (*(quarters / 4 for quarters in range(8, 48)), *range(12, 65), 96, 128, 256, 512, 1024)
_TOLERANCE = 1e-3

# dp-accounting warns of each order whose series does not converge and leaves it out; the bound by the others holds.
logging.getLogger("absl").addFilter(lambda record: "Excluding this order" not in str(record.msg))

_LIBRARY = f"dp-accounting {version('dp-accounting')}"
PLD_NAME = f"privacy loss distributions ({_LIBRARY})"
ANY_PROMISE = 20.0
"""An epsilon above it lets odds change 500-million-fold. From about there on accountants' floats may give out."""
EXACT_NAME = f"exact Gaussian curve (scipy {version('scipy')})"
UNSAMPLED_NAME = f"{EXACT_NAME}, of the same rounds without sampling"
RDP_NAME = f"Renyi differential privacy ({_LIBRARY})"


class AccountantsDisagree(RuntimeError):
    """Two accountants contradict each other, so no epsilon can be stated and nothing may be released."""


@dataclass(frozen=True)
class Sampled:
    """A Gaussian round that a device enters with probability `rate`, unseen."""

    rate: float
    noise_multiplier: float


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
        """Compose rounds; equal ones are merged, and those with no noise or no real sampling become part of mu.

        Args:
            mu_squared: square of the mu of all unsampled Gaussians.
            rounds: sampled rounds, and how often each happened.
        """
        counts: Counter[Sampled] = Counter()
        for sampled, times in rounds:
            if times and sampled.noise_multiplier == 0:
                return cls(math.inf)
            if sampled.rate == 1:
                mu_squared += times / sampled.noise_multiplier**2
            elif times:
                counts[sampled] += times
        ordered = sorted(counts.items(), key=lambda item: (item[0].rate, item[0].noise_multiplier))
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
    """

    lower: float
    upper: float
    second: float
    accountant: str


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
    lower, upper = (_pld_epsilon(composition, delta, pessimistic, coarseness) for pessimistic in (False, True))
    if math.isinf(upper) and second > ANY_PROMISE:
        return Bracket(0.0, _without_grid(composition, delta), second, UNSAMPLED_NAME)
    widest = _TOLERANCE + _grid(second) * coarseness * composition.rounds
    return _checked(Bracket(lower, upper, second, PLD_NAME), widest, _TOLERANCE if coarseness == 1 else widest)


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
    upper = _pld_epsilon(composition, delta, True, coarseness)  # positional, as in `bracket`: one cache key
    if math.isinf(upper) and rdp_epsilon(composition, delta) > ANY_PROMISE:
        return _without_grid(composition, delta)
    return upper


def _without_grid(composition: Composition, delta: float) -> float:
    """Bound epsilon by the exact curve of the rounds without sampling, where the grid's floats give out.

    That is far above any promise. Sampling never adds to a loss, by the convexity of the hockey-stick divergence.
    """
    squares = composition.mu**2 + sum(times / sampled.noise_multiplier**2 for sampled, times in composition.sampled)
    return epsilon_bracket(math.sqrt(squares), delta)[1]


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
    """Return a round's Renyi divergence at each order, which adds up over rounds: float64[orders]."""
    accountant = rdp.RdpAccountant(_RDP_ORDERS)
    gaussian = dp_event.GaussianDpEvent(sampled.noise_multiplier)
    accountant.compose(dp_event.PoissonSampledDpEvent(sampled.rate, gaussian))
    return np.asarray(accountant.rdp, np.float64)


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


def _grid(epsilon: float) -> float:
    """Return a power of two times `GRID`, so that neighbouring epsilons have cached distributions in common."""
    return GRID * 2.0 ** max(0, math.ceil(math.log2(max(epsilon, _FINE_UP_TO) / _FINE_UP_TO)))


@lru_cache(maxsize=4096)
def _pld_epsilon(composition: Composition, delta: float, pessimistic: bool, coarseness: int, /) -> float:
    grid = _grid(rdp_epsilon(composition, delta)) * coarseness
    with np.errstate(over="ignore"):  # near exp(709); the result is then inf
        return float(epsilon_for_delta(_composed(composition, grid, pessimistic), delta))


@lru_cache(maxsize=4)
def _composed(composition: Composition, grid: float, pessimistic: bool) -> pld.PrivacyLossDistribution:
    """Compose on the grid; the last few results are kept, since a report asks for several deltas."""
    parts = [self_compose(_pld(sampled, grid, pessimistic), times) for sampled, times in composition.sampled]
    if composition.mu:
        parts.append(_pld(Sampled(1.0, 1 / composition.mu), grid, pessimistic))
    return reduce(lambda left, right: left.compose(right), parts)


@lru_cache(maxsize=16)
def _pld(sampled: Sampled, grid: float, pessimistic: bool) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        standard_deviation=sampled.noise_multiplier,
        sampling_prob=sampled.rate,
        value_discretization_interval=grid,
        pessimistic_estimate=pessimistic,
        use_connect_dots=pessimistic,
    )


def compose(counts: Counter[Event]) -> Composition:
    """Return what the worst-placed device loses by events that each happened so many times."""
    sampled: list[tuple[Sampled, int]] = []
    bounded: dict[str, list[tuple[BoundedGaussian, int]]] = defaultdict(list)
    correlated: dict[CorrelatedGaussian, int] = defaultdict(int)
    for event, times in counts.items():
        if isinstance(event, PoissonGaussian):
            sampled.append((Sampled(event.sampling_rate, event.noise_multiplier), times))
        elif isinstance(event, BoundedGaussian):
            bounded[event.task].append((event, times))
        elif times:
            stream = event.model_copy(update={"horizon": 1})
            correlated[stream] = max(correlated[stream], event.horizon)
    mu_squared = sum(map(_worst_mu_squared, bounded.values()))
    return Composition.of(mu_squared + sum(_correlated_mu_squared(*charged) for charged in correlated.items()), sampled)


def truncation_delta(counts: Counter[Event]) -> float:
    """Return the delta that rounds with too few devices to release, or too many, may cost; 0 without amplification.

    Formal guarantee and proof: see `planned_truncation_delta`.
    """
    return sum(
        times * _out_of_range(event.population, event.sampling_rate / event.shards, event.min_survivors)
        for event, times in counts.items()
        if isinstance(event, PoissonGaussian)
    )


def planned_truncation_delta(participation: Participation, min_survivors: int, rounds: int, shards: int = 1) -> float:
    """Return the delta that a plan's rounds with too few devices to release, or too many, may cost.

    Formal guarantee. Whether a round releases depends on the draw, which ideal Poisson sampling hides. Given how many
    other devices are in its shard, only one device too few or too many shows whether this device takes part; every
    other shard is ideal, or silent either way. So delta grows by at most
    rounds * P[Bin(population - 1, rate / shards) is out of range]. Drop-outs are taken not to depend on the draw.

    Args:
        participation: how cohorts are drawn.
        min_survivors: fewest devices in a sum.
        rounds: rounds of the plan.
        shards: sums that a cohort is split into.

    Returns:
        An upper bound, possibly above 1; 0 for participation without amplification.
    """
    if not isinstance(participation, PoissonParticipation):
        return 0.0
    return rounds * _out_of_range(participation.population, participation.sampling_rate / shards, min_survivors)


@lru_cache(maxsize=256)
def _out_of_range(population: int, rate: float, min_survivors: int) -> float:
    """Return P[Bin(population - 1, rate)] below min_survivors or beyond what the modulus is made for, rounded up."""
    others = binom(population - 1, rate)
    too_few, too_many = others.cdf(min_survivors - 1), others.sf(largest_draw(population, rate) - 1)
    return float(too_few + too_many) * (1 + 1e-9)


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
