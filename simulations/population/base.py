"""The interface of a population: how many devices, and what each holds in a round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fl_client.training.training import Examples

ExamplesOf = Callable[[int, int], Examples]
"""The type of `Population.of`."""


class Population(Protocol):
    """Devices that hold examples. Worker processes are sent a copy, so it is small to pickle, or pickled once."""

    @property
    def devices(self) -> int:
        """The number of devices, those without examples included."""
        ...

    @property
    def empty_devices(self) -> int:
        """The number of devices that never hold an example."""
        ...

    @property
    def messages(self) -> int | None:
        """The number of examples on all devices; None where counting them would mean to make them."""
        ...

    def of(self, device: int, number: int) -> Examples:
        """Return what one device, numbered from 0, holds in round `number`: all that came until then."""
        ...
