"""What single devices contribute, exactly and without their noise: its norm, its content, and how it is rotated.

A device's encoding less that of a silent one from the same randomness is its rounded contribution, for both have the
same noise, and zeros are rounded to zeros. Where the clip adapts a silent device contributes its bit, which is known
but for its rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.audit.canaries import EVERY_PLACE, adversarial_updates, contribution, hardest_to_round
from privacy.audit.pipeline import Audited, Pipeline, Tape, round_rotation
from privacy.audit.record import Check
from privacy.base.randomness import Randomness
from privacy.mechanism.mechanism import MechanismError
from privacy.mechanism.rotation import rotate, spread, unrotate
from privacy.secagg.primitives.masking import width
from privacy.task.states import Update

Floats = NDArray[np.float64]

_ROUNDS = 32
"""Rounds, each with a rotation of its own, in which every canary is looked at."""
_ROUNDINGS = 128
"""Roundings of the updates that are hardest to round: one in seven or so would exceed the bound if nothing kept it."""
_WORK = 1 << 19
"""Coordinates that are encoded for each canary, about."""
_FEWEST = 16


@dataclass
class Contributions:
    """What canaries contributed in rounds of one kind.

    Attributes:
        audited: the round.
        norm: the largest, in integer steps.
        astray: the largest distance from what the update may contribute, in integer steps.
        refusals: why updates were refused that a device has to clip.
        rotated: float64[rounds, length] by canary, in integer steps, another rotation in each row.
    """

    audited: Audited
    norm: float = 0.0
    astray: float = 0.0
    refusals: set[str] = field(default_factory=set)
    rotated: dict[str, Floats] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, audited: Audited, run: Pipeline, rng: Randomness) -> Contributions:
        """Encode every canary in several rounds, and updates that are hard to round in more of them."""
        seen, most = cls(audited), max(_FEWEST, _WORK // audited.task.length)
        for name, update in adversarial_updates(audited).items():
            moved = [seen._moved(run, update, number, rng) for number in range(min(_ROUNDS, most))]
            seen.rotated[name] = np.array([vector for vector in moved if vector is not None])
        for number in range(min(_ROUNDINGS, most)):
            seen._moved(run, hardest_to_round(audited, number), number, rng)
        return seen

    @property
    def slack(self) -> float:
        """What a silent device's own rounding may move its contribution by, in integer steps: 0 but for its bit."""
        adapts = self.audited.task.mechanism.adaptive is not None
        return math.sqrt(self.audited.task.length) if adapts else 0.0

    def _moved(self, run: Pipeline, update: Update, number: int, rng: Randomness) -> Floats | None:
        """Return a contribution in integer steps, float64[length], having noted what is wrong with it."""
        tape, scale, rotation = Tape(rng), self.audited.mechanism.scale, round_rotation(number)
        try:
            present = run([update], number, tape).sums
            tape.rewind()
            moved = _centred(present - run([self.audited.silent], number, tape).sums, self.audited)
        except MechanismError as error:
            self.refusals.add(str(error))
            return None
        moved += np.rint(scale * rotate(contribution(self.audited, self.audited.silent), rotation))
        allowed = scale * contribution(self.audited, update)
        self.norm = max(self.norm, float(np.linalg.norm(moved)))
        self.astray = max(self.astray, float(np.linalg.norm(unrotate(moved, rotation) - allowed)))
        return moved


def check_contributions(found: Sequence[Contributions], chance: float) -> list[Check]:
    """Check contributions in several kinds of rounds: norm and content exactly, their rotation at `chance`."""
    return [
        _worst("sensitivity", [_sensitivity(seen) for seen in found]),
        _worst("contribution", [_content(seen) for seen in found]),
        _worst("rotation", [_rotation(seen, chance / len(found)) for seen in found]),
    ]


def _worst(name: str, found: Sequence[tuple[bool, str]]) -> Check:
    """Return the check of the first round that failed it, or else of the first of all."""
    passed, line = min(found, key=lambda each: each[0])
    return Check(name=name, passed=passed, line=line)


def _sensitivity(seen: Contributions) -> tuple[bool, str]:
    bound = seen.audited.mechanism.norm_bound
    line = f"the largest contribution has norm {seen.norm:.3f} in integer steps; at most {bound:.3f} is allowed"
    return seen.norm <= bound + seen.slack, line


def _content(seen: Contributions) -> tuple[bool, str]:
    """Rounding moves each coordinate by less than a step, and the rotation back keeps the norm."""
    if seen.refusals:
        return False, f"an update that a device has to clip was refused: {min(seen.refusals)}"
    most = math.sqrt(seen.audited.task.length) + 2 * seen.slack
    line = f"a contribution is {seen.astray:.3f} integer steps from the clipped update; at most {most:.3f} is rounding"
    return seen.astray <= most, line


def _rotation(seen: Contributions, chance: float) -> tuple[bool, str]:
    """Check that rotated contributions are flat, and others in each round.

    Over a uniform seed each coordinate is sub-Gaussian in norm / sqrt(p) (`spread`), whence none of n exceeds
    sqrt(2 ln(2 n / chance) / p) of the norm, and the expected sum of fourth powers is at most 3 d / p^2 of the norm's.
    That sum is between 0 and 1, so means of it are held to Hoeffding's inequality, for short vectors whose largest
    coordinate says nothing. The product of one round's contribution, as long in all places of the model, with another's
    is sub-Gaussian in the same way, but for what statistics and the bit add to it.
    """
    length, p, each = seen.audited.task.length, spread(seen.audited.task.length), chance / 3
    units = {name: _units(rows) for name, rows in seen.rotated.items() if rows.size}
    if not units:
        return False, "no contribution was seen"
    several = np.concatenate(list(units.values()))
    most = math.sqrt(2 * math.log(2 * several.size / each) / p) + math.sqrt(length) / seen.audited.mechanism.norm_bound
    largest = float(np.max(np.abs(several)))
    fourth = max(float(np.mean(np.sum(rows**4, axis=1))) for rows in units.values())
    rounds = min(len(rows) for rows in units.values())
    most_fourth = 3 * length / p**2 + math.sqrt(math.log(len(units) / each) / (2 * rounds))
    alike, most_alike = _alike(seen, units.get(EVERY_PLACE, several[:0]), each)
    line = (
        f"a coordinate has {largest:.3f} of the norm, at most {most:.3f} is allowed; fourth powers {fourth:.3f}, "
        f"at most {most_fourth:.3f}; two rounds are alike in {alike:.3f}, at most {most_alike:.3f}"
    )
    return largest <= most and fourth <= most_fourth and alike <= most_alike, line


def _units(rows: Floats) -> Floats:
    units: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return units


def _alike(seen: Contributions, rows: Floats, chance: float) -> tuple[float, float]:
    """Return the largest product of the same contribution in two rounds, and what it may be."""
    products, task = np.abs(rows @ rows.T)[np.triu_indices(len(rows), 1)], seen.audited.task
    beside = 1 - (task.mechanism.clip / task.contribution_bound) ** 2
    most = math.sqrt(2 * math.log(2 * max(1, products.size) / chance) / spread(task.length))
    return float(np.max(products, initial=0.0)), beside + most


def _centred(difference: NDArray[np.int64], audited: Audited) -> Floats:
    """Return the difference of two sums that left no modulus by themselves, as float64."""
    modulus = 1 << width(audited.task.aggregation.modulus_bits)
    return ((difference + modulus // 2) % modulus - modulus // 2).astype(np.float64)
