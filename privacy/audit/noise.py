"""The noise of rounds without a canary, held against the law that it should have.

Device by device and added up it is a discrete Gaussian, of the mechanism's own variance or the sum of so many: every
coordinate, every round and every device independent of all others. What is looked for here is any difference from that
law; whether its variance is enough for the claim is another check.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.audit import laws
from privacy.audit.canaries import contribution
from privacy.audit.pipeline import Audited, Pipeline, Tape, round_rotation
from privacy.audit.record import Check
from privacy.base.randomness import Randomness
from privacy.mechanism.rotation import rotate, unrotate
from privacy.task.states import Total

Integers = NDArray[np.int64]

_KINDS = ("shape", "tails", "every coordinate", "independence")
_KEPT = 1 << 20
"""Numbers of a view that are kept side by side."""
_WORK = 1 << 22
"""Numbers that are drawn for a view, about: some thirty of so many lie beyond 4.5 deviations."""
_WORK_A_ROUND = 1 << 14
"""The same for each round of each kind that is asked for, if that is less."""
_ENCODING = 1 << 10
"""Numbers that are drawn in about the time that an encoding takes beside them."""
_FEWEST = 20
"""Rounds, and devices, in a view."""
_DEVICES = 16
"""Devices that are looked at one by one, for each round: one encoding each, where a round takes one a device."""
_TOGETHER = 32
"""Devices of one round that are told apart, at most: n of them take n^2 / 2 encodings."""


@dataclass
class View:
    """The noise of independent vectors of one law.

    Attributes:
        name: whose noise it is, in words.
        variance: that of each coordinate.
        shape: the counts of all numbers, in integer steps.
    """

    name: str
    variance: float
    shape: laws.Shape = field(init=False)
    _steps: list[Integers] = field(default_factory=list, repr=False)
    _turned: list[NDArray[np.float64]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.shape = laws.Shape(self.variance)

    def add(self, noise: Integers, rotation: bytes) -> None:
        """Take in the noise of one vector, int64[length], of a round with this rotation."""
        self.shape.add(noise)
        if len(self._steps) * noise.size < _KEPT or len(self._steps) < _FEWEST:
            self._steps.append(noise)
            self._turned.append(unrotate(noise.astype(np.float64), rotation))

    def p_values(self) -> dict[str, float]:
        """Return the p-value of each of the kinds of difference that are looked for."""
        steps, turned = np.array(self._steps), np.array(self._turned)
        plain = steps.astype(np.float64)
        return {
            "shape": laws.least([self.shape.body(), self.shape.grid()]),
            "tails": self.shape.tails(),
            "every coordinate": laws.least(
                [laws.spread(plain, self.variance), *(laws.columns(view, self.variance) for view in (plain, turned))]
            ),
            "independence": laws.least(
                [
                    laws.repeats(steps, laws.bits_alike(self.variance)),
                    *(laws.echoes(view, self.variance) for view in (plain, turned)),
                    *(laws.most_alike(view) for view in (plain, plain.T, turned.T)),
                ]
            ),
        }


def sum_view(audited: Audited, totals: Iterable[Total]) -> View:
    """Return the view of sums of silent devices.

    Args:
        audited: the round.
        totals: sums of rounds of equally many devices.
    """
    known, view = contribution(audited, audited.silent), None
    for total in totals:
        if view is None:
            view = View(f"the sum of {total.survivors} of {total.cohort}", audited.mechanism.variance * total.survivors)
        view.add(_less_known(audited, total, known), total.rotation or b"")
    if view is None:
        raise ValueError("totals: expected at least one")
    return view


def device_view(audited: Audited, run: Pipeline, vectors: int, rng: Randomness) -> View:
    """Return the view of devices one by one: first all of one round, or some of them, then others of other rounds.

    Those of one round are told apart by what each adds to the sum when the same randomness is drawn again.
    """
    known = contribution(audited, audited.silent)
    view, tape, before = View(f"one of {audited.cohort}", audited.mechanism.variance), Tape(rng), None
    together = min(audited.devices, _TOGETHER, vectors)
    for devices in range(1, together + 1):
        tape.rewind()
        total = run([audited.silent] * devices, 0, tape)
        sums = _less_known(audited, total, known)
        view.add(sums if before is None else sums - before, round_rotation(0))
        before = sums
    for number in range(1, vectors - together + 1):
        view.add(_less_known(audited, run([audited.silent], number, rng), known), round_rotation(number))
    return view


def own_views(audited: Audited, run: Pipeline, rounds: int, rng: Randomness) -> list[View]:
    """Return both views of a round of any size, in about equal and limited work.

    Args:
        audited: the round.
        run: the pipeline.
        rounds: sums to look at, at most.
        rng: source of the rounds' randomness.
    """
    encodings = _encodings(audited, rounds)
    devices = max(1, min(audited.devices, encodings // _FEWEST))
    sums = max(2, min(rounds, encodings // devices))
    silent = [audited.silent] * devices
    totals = (run(silent, number, rng) for number in range(sums))
    return [sum_view(audited, totals), device_view(audited, run, vectors(audited, rounds), rng)]


def vectors(audited: Audited, rounds: int) -> int:
    """Return how many devices a view of single ones takes, where so many rounds of each kind are run."""
    return max(_FEWEST, min(_DEVICES * rounds, _encodings(audited, rounds)))


def _encodings(audited: Audited, rounds: int) -> int:
    """Return how many encodings a view takes, about."""
    return min(_WORK, rounds * _WORK_A_ROUND) // max(audited.task.length, _ENCODING)


def check_noise(views: Sequence[View], chance: float) -> list[Check]:
    """Check what is in the views, kind by kind: each over all of them, at this probability of a false alarm."""
    seen = {view.name: view.p_values() for view in views}
    return [_check(kind, {name: found[kind] for name, found in seen.items()}, chance) for kind in _KINDS]


def _check(kind: str, found: Mapping[str, float], chance: float) -> Check:
    worst, p_value = min(found, key=found.__getitem__), laws.least(found.values())
    return Check(
        name=f"noise: {kind}",
        passed=p_value >= chance,
        line=f"the least likely is {worst}, as far from the exact law with {p_value:.2g}; alarm below {chance:.2g}",
    )


def _less_known(audited: Audited, total: Total, known: NDArray[np.float64]) -> Integers:
    """Return the noise of a round of silent devices: its sum, less the bits of a clip that adapts.

    Those are known but for their rounding, of a variance below a quarter a device.
    """
    if total.rotation is None or not known.any():
        return total.sums
    scaled = total.survivors * audited.mechanism.scale * rotate(known, total.rotation)
    return total.sums - np.rint(scaled).astype(np.int64)
