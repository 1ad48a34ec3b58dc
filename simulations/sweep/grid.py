"""The cells of a sweep: a base configuration, axes of values over it, and seeds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simulations.config.config import ConfigError, RunConfig, with_settings
from simulations.config.keys import full_key, value_at

_OWN = {
    "seed": "cells get seeds of their own; use --seeds",
    "privacy.ledger": "each cell keeps a ledger of its own",
    "name": "cells are named by their settings",
}
_LONGEST_NAME = 120

PRIVACY_KEYS = ("privacy.epsilon", "privacy.noise_multiplier")
"""The keys that say how much privacy there is, the first that a grid has winning."""


@dataclass(frozen=True)
class Axis:
    """A key and the values that it takes, as they were written."""

    key: str
    values: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Axis:
        """Read `KEY=VALUE,VALUE...`, KEY being dotted or its last part.

        Raises:
            ConfigError: when the text has another form, or the key is unknown, ambiguous or not to be swept.
        """
        name, equals, listed = text.partition("=")
        values = tuple(value.strip() for value in listed.split(","))
        if not equals or not name.strip() or not all(values):
            raise ConfigError(f"--grid: expected KEY=VALUE,VALUE..., got {text!r}; for example clip=0.5,1,2")
        try:
            key = full_key(name.strip())
        except ConfigError as error:
            raise ConfigError(f"--grid: {error}") from error
        if key in _OWN:
            raise ConfigError(f"--grid: {key} cannot be swept: {_OWN[key]}")
        return cls(key, values)


@dataclass(frozen=True)
class Cell:
    """A single run of a sweep.

    Attributes:
        number: its place in the grid's order.
        settings: the axes' values by dotted key, as JSON has them.
        config: its whole configuration, seed included.
    """

    number: int
    settings: tuple[tuple[str, Any], ...]
    config: RunConfig = field(repr=False)

    @property
    def name(self) -> str:
        """The name for files: number and label."""
        return f"{self.number:03d}_{_slug(self.label)}"[:_LONGEST_NAME]

    @property
    def label(self) -> str:
        """The label for people: what the grid varies, and the seed."""
        parts = [f"{short(key)}={value}" for key, value in self.settings]
        return " ".join([*parts, f"seed={self.config.seed}"])


@dataclass(frozen=True)
class Grid:
    """The plan of a sweep: each combination of the axes' values with each of `seeds` seeds from the base's on."""

    base: RunConfig
    axes: tuple[Axis, ...]
    seeds: int

    def cells(self) -> list[Cell]:
        """Return all cells: the first axis changes slowest, seeds fastest.

        The seeds are the same in each combination, so that these compare.

        Raises:
            ConfigError: when a value is refused, or an axis has a value twice.
        """
        self._check()
        combinations = itertools.product(*(axis.values for axis in self.axes))
        plan = itertools.product(combinations, range(self.seeds))
        cells = [self._cell(number, values, repetition) for number, (values, repetition) in enumerate(plan)]
        if len({(cell.settings, cell.config.seed) for cell in cells}) < len(cells):
            raise ConfigError("--grid: expected different values for a key, got one twice")
        return cells

    def _check(self) -> None:
        keys = [axis.key for axis in self.axes]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ConfigError(f"--grid: expected each key once, got {', '.join(sorted(twice))} more than once")
        if self.base.privacy.ledger is not None:
            raise ConfigError(f"privacy.ledger: expected none in a sweep, {_OWN['privacy.ledger']}; leave it out")

    def _cell(self, number: int, values: Sequence[str], repetition: int) -> Cell:
        wanted = {axis.key: value for axis, value in zip(self.axes, values, strict=True)}
        try:
            config = with_settings(self.base, {**wanted, "seed": (self.base.seed or 0) + repetition})
        except ConfigError as error:
            raise ConfigError(f"--grid: {error}") from error
        if config.engine == "ray":
            raise ConfigError("engine: expected another than ray in a sweep, whose cells run one a core")
        return Cell(number, tuple((key, value_at(config, key)) for key in wanted), config)


def short(key: str) -> str:
    """Return the last part of a dotted key: what people call it."""
    return key.rpartition(".")[2]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9=.+-]+", "_", text)
