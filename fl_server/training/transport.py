"""How the coordinator reaches devices: bytes out, bytes back as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from privacy.secagg import Request

NodeId = int


@dataclass(frozen=True)
class Reply:
    """What one device answered.

    Attributes:
        node: the device.
        body: its message; None when there is none.
        error: the reason why there is none.
    """

    node: NodeId
    body: bytes | None
    error: str = ""


class Transport(Protocol):
    """A way to reach devices; implemented over Flower's Grid and in process."""

    def nodes(self) -> Sequence[NodeId]:
        """Return the devices that can be reached now, in ascending order."""
        ...

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:
        """Send each device its request, own part first, and yield replies as they come, at most one a device.

        Ends when all have answered or `timeout` seconds have passed; a device without a reply has dropped out.
        A reply that came late, twice or from an unknown device is never yielded.

        Args:
            stage: the value of a `Stage`.
            requests: what to send, by device.
            timeout: how long devices have, in seconds.
        """
        ...
