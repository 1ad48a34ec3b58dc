"""What sampled rounds are charged as while devices are away, against a bound computed by code of its own.

    python benchmarks/poisson_bound.py                           # a table; about a minute
    python benchmarks/poisson_bound.py --plot docs/poisson.svg   # and the plot in docs/planning.md; some minutes

The bound is that of `tests/support/releases.py`, which shares nothing with the accounting. The averaged form is one
mechanism of the rate f + (1 - f) q, which is no bound (decision 0034): it shows what the right one costs.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from privacy.accounting.accountant import privacy_curve
from privacy.accounting.events import sampled_event
from privacy.accounting.pivotal import MOST_PIVOTAL, least_reachable
from privacy.task.task import AggregationPolicy, PoissonParticipation
from tests.support.releases import Round, epsilon, hinged

_DELTA = 1e-5
_RELEASES = 16


@dataclass(frozen=True)
class Kind:
    """Runs of one kind: N devices, drawn at rate q, with noise multiplier z and at least so many survivors."""

    population: int
    rate: float
    noise: float
    least: int

    @property
    def participation(self) -> PoissonParticipation:
        return PoissonParticipation(population=self.population, sampling_rate=self.rate)

    @property
    def policy(self) -> AggregationPolicy:
        return AggregationPolicy(max_dropouts=0, min_survivors=self.least, modulus_bits=32)

    def hinged(self, reachable: int) -> float:
        return hinged(reachable, self.rate, self.least)

    def stated(self, reachable: int, releases: int) -> float:
        event = sampled_event(self.participation, self.policy, self.noise, reachable)
        return privacy_curve(Counter({event: releases}), [_DELTA])[0]

    def bound(self, reachable: int, releases: int) -> float:
        return epsilon({Round(self.rate, self.noise, self.hinged(reachable)): releases}, _DELTA)[0]

    def averaged(self, reachable: int, releases: int) -> float:
        often = self.hinged(reachable)
        return epsilon({Round(often + (1 - often) * self.rate, self.noise, 0.0): releases}, _DELTA)[0]


_REFERENCE = Kind(200, 0.2, 0.9, 10)
_KINDS = (_REFERENCE, Kind(1_000, 0.06, 0.8, 20), Kind(10_000, 0.01, 0.7, 30), Kind(100_000, 0.001, 0.8, 25))


def table() -> None:
    """N 200, q .2, at least 10 survivors, z .9, 16 releases at delta 1e-5."""
    print("| within reach | f | bound | averaged form | bound over it | stated |")
    print("|---|---|---|---|---|---|")
    for reachable in (200, 133, 100, 70, 56):
        often = _REFERENCE.hinged(reachable)
        bound, averaged = (form(reachable, _RELEASES) for form in (_REFERENCE.bound, _REFERENCE.averaged))
        stated = f"{_REFERENCE.stated(reachable, _RELEASES):.4f}" if often <= MOST_PIVOTAL else "refused"
        print(f"| {reachable} | {often:.2g} | {bound:.4f} | {averaged:.4f} | {bound / averaged:.3f} | {stated} |")


def plot(path: Path) -> None:
    """On the left the table's runs by devices within reach; on the right the ratio over populations."""
    mpl.rcParams.update({"svg.hashsalt": "havenfl", "font.size": 9})
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    least, reach = least_reachable(_REFERENCE.participation, _REFERENCE.policy), range(56, 201, 6)
    left.plot(reach, [_REFERENCE.bound(count, _RELEASES) for count in reach], color="black", label="bound")
    left.plot(
        reach,
        [_REFERENCE.averaged(count, _RELEASES) for count in reach],
        color="gray",
        linestyle="--",
        label="averaged over who else was drawn: no bound",
    )
    allowed = [count for count in reach if count >= least]
    left.plot(allowed, [_REFERENCE.stated(count, _RELEASES) for count in allowed], "o", markersize=4, label="stated")
    left.axvspan(56, least, color="tab:red", alpha=0.12, label="no cohort is drawn")
    left.set(xlabel="devices within reach, of 200", ylabel=f"ε of {_RELEASES} releases at δ 1e-5")
    left.legend(frameon=False)
    for kind in _KINDS:
        fewest = least_reachable(kind.participation, kind.policy)
        counts = [round(kind.population * part / 20) for part in range(6, 21)]
        counts = [count for count in counts if count >= fewest]
        ratios = [kind.stated(count, _RELEASES) / kind.bound(count, _RELEASES) for count in counts]
        within = [100 * count / kind.population for count in counts]
        right.plot(within, ratios, "o-", markersize=3, label=f"{kind.population:,} at {kind.rate:g}, z {kind.noise:g}")
    right.axhline(1.0, color="black", linewidth=0.8)
    right.set(xlabel="devices within reach, %", ylabel="stated ε over the bound", ylim=(0.999, 1.011))
    right.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    table()
    if arguments.plot:
        plot(arguments.plot)
