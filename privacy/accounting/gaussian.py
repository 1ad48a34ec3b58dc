"""The exact privacy of the Gaussian mechanism (Balle and Wang 2018, Theorem 8), stable for any mu and delta.

mu is the L2 sensitivity over the noise's standard deviation. Gaussians compose exactly, also adaptively: mu^2 adds up
(Dong, Roth and Su 2022, Corollary 3.3).
"""

from __future__ import annotations

import math

from scipy.special import log_ndtr

_BISECTIONS = 200
_MARGIN = 1e-9
"""How far below log(delta) the accepted epsilon must lie: more than the rounding errors of `log_delta`."""


def log_delta(epsilon: float, mu: float) -> float:
    """log(Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu)); -inf where the difference underflows."""
    near = float(log_ndtr(mu / 2 - epsilon / mu))
    far = float(log_ndtr(-mu / 2 - epsilon / mu))
    log_ratio = epsilon + far - near
    return near + math.log1p(-math.exp(log_ratio)) if log_ratio < 0 else -math.inf


def epsilon_bracket(mu: float, delta: float) -> tuple[float, float]:
    """Lower and upper bound of the smallest epsilon >= 0 with delta(epsilon) <= delta; both inf for an infinite mu."""
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
