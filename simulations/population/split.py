"""The users that training never sees: test users, and calibration users, who choose the decision threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.features.normalising import normalise
from simulations.data.dataset import Table
from simulations.data.errors import DataError
from simulations.population.timeline import is_future

_TRAIN, _TEST, _CALIBRATION, _UNUSED = range(4)
_FEWEST = 2
"""The smallest part that can be measured: two users, of either class."""


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts of a table; each has both classes, and no user is in two of them.

    Attributes:
        train: int64, rows of the table, ascending.
        test: likewise; of an official test set, if there is one, and then all of them.
        calibration: likewise, of the table.
        novel: bool[test rows]; True where the normalised text occurs in no training row.
        withheld: how many rows of the table are in no part, since their users are in the official test set.
    """

    train: NDArray[np.int64] = field(repr=False)
    test: NDArray[np.int64] = field(repr=False)
    calibration: NDArray[np.int64] = field(repr=False)
    novel: NDArray[np.bool_] = field(repr=False)
    withheld: int = 0


def part_sizes(groups: int) -> tuple[int, int, int]:
    """Return how many of `groups` users train, test and calibrate: 70%, 20% and 10%, two at least held out for each."""
    test, calibration = max(_FEWEST, (2 * groups + 5) // 10), max(_FEWEST, (groups + 5) // 10)
    return groups - test - calibration, test, calibration


def split(table: Table, rng: np.random.Generator) -> Split:
    """Split a table by user; by row where there are no users.

    With times, only the newest messages test, and only others train and calibrate.

    Raises:
        DataError: when the classes sit with too few users for three parts, or one is missing on either side of the
            present, or there are no labels.
    """
    owner = owners(table)
    _, test_size, calibration_size = part_sizes(int(owner.max()) + 1)
    sizes = {_TEST: test_size, _CALIBRATION: calibration_size}
    part = _assign(owner, table.required_labels(), sizes, rng)[owner]
    if table.times is not None:
        part[is_future(table.times) != (part == _TEST)] = _UNUSED
        _check_classes(part, table.required_labels())
    train, test, calibration = (np.flatnonzero(part == k) for k in (_TRAIN, _TEST, _CALIBRATION))
    tested = [table.texts[row] for row in test]
    return Split(train, test, calibration, _novel(table.texts, train, tested))


def split_beside(table: Table, official: Table, rng: np.random.Generator) -> Split:
    """Split a table that an official test set stands beside: users who are in that neither train nor calibrate.

    Raises:
        DataError: when the classes sit with too few other users for two parts, or there are no labels.
    """
    tested = set(official.users or ())
    users = table.users or [""] * len(table)
    rows = np.array([row for row, user in enumerate(users) if not user or user not in tested], np.int64)
    if not rows.size:
        raise DataError("--test: every user of --data is in the official test set too, so that nobody is left to train")
    owner = np.unique(owners(table)[rows], return_inverse=True)[1]
    sizes = {_CALIBRATION: part_sizes(int(owner.max()) + 1)[2]}
    part = _assign(owner, table.required_labels()[rows], sizes, rng)[owner]
    train, calibration = rows[part == _TRAIN], rows[part == _CALIBRATION]
    novel = _novel(table.texts, train, official.texts)
    return Split(train, np.arange(len(official)), calibration, novel, len(table) - rows.size)


def owners(table: Table) -> NDArray[np.int64]:
    """Return the user of each row, numbered from 0, or the row itself where there are no users: int64[n]."""
    if table.users is None:
        return np.arange(len(table))
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(user, len(numbers)) for user in table.users], np.int64)


def _assign(
    owner: NDArray[np.int64], labels: NDArray[np.int8], sizes: Mapping[int, int], rng: np.random.Generator
) -> NDArray[np.int8]:
    """Return the part of each group: int8[groups].

    Each part first gets both classes, the rest falls at random; what has no size in `sizes` trains.
    """
    groups = int(owner.max()) + 1
    part = np.full(groups, -1, np.int8)
    for number, bundle in zip((_TRAIN, *sizes), _bundles(owner, labels, 1 + len(sizes), rng), strict=True):
        part[bundle] = number
    free = rng.permutation(np.flatnonzero(part == -1))
    for number, size in sizes.items():
        missing = max(0, size - np.count_nonzero(part == number))
        part[free[:missing]] = number
        free = free[missing:]
    part[free] = _TRAIN
    return part


def _bundles(
    owner: NDArray[np.int64], labels: NDArray[np.int8], parts: int, rng: np.random.Generator
) -> Sequence[list[int]]:
    """Draw disjoint sets of groups that each hold both classes: one mixed group, or one of either class."""
    positive = np.bincount(owner, labels == 1) > 0
    negative = np.bincount(owner, labels == 0) > 0
    mixed = [[group] for group in np.flatnonzero(positive & negative).tolist()]
    abusive = rng.permutation(np.flatnonzero(positive & ~negative)).tolist()
    clean = rng.permutation(np.flatnonzero(negative & ~positive)).tolist()
    bundles = mixed + [list(pair) for pair in zip(abusive, clean, strict=False)]
    if len(bundles) < parts:
        wanted = "training, test and calibration" if parts > 2 else "training and calibration"
        raise DataError(
            f"--data: expected both labels for each of {wanted}, got "
            f"{len(mixed)} users with both, {len(abusive)} with only 1, {len(clean)} with only 0; add users or rows"
        )
    return [bundles[place] for place in rng.choice(len(bundles), parts, replace=False)]


def _check_classes(part: NDArray[np.int8], labels: NDArray[np.int8]) -> None:
    wanted = {_TRAIN: "older messages of training", _TEST: "newest fifth of test", _CALIBRATION: "older of calibration"}
    for number, name in wanted.items():
        if np.unique(labels[part == number]).size < 2:
            raise DataError(f"--time-column: expected both labels among the {name} users; add users or rows")


def _novel(texts: Sequence[str], train: NDArray[np.int64], tested: Sequence[str]) -> NDArray[np.bool_]:
    seen = {normalise(texts[row]) for row in train}
    return np.array([normalise(text) not in seen for text in tested], np.bool_)
