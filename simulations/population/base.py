"""What a population is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fl_client.training.training import Examples

ExamplesOf = Callable[[int, int], Examples]
"""`Population.of`."""


class Population(Protocol):
    """Devices that hold examples. Worker processes are sent a copy, so it is small to pickle, or pickled once."""

    @property
    def devices(self) -> int:
        """N, devices without examples included."""
        ...

    @property
    def empty_devices(self) -> int:
        """Devices that never hold an example."""
        ...

    @property
    def messages(self) -> int | None:
        """All examples of all devices; None where counting them would mean to make them."""
        ...

    def of(self, device: int, number: int) -> Examples:
        """What one device, numbered from 0, holds in round `number`: what it held before, and what came since."""
        ...
