"""Requests of a lying server, and what a device must do with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy.secagg import Refused, Stage
from privacy.secagg.messages import Advert
from privacy.task.task import AggregationPolicy
from tests.support.federation import Federation
from tests.support.tasks import make_task

Adverts = tuple[Advert, ...]


def wary(devices: int = 10, corrupt: int = 2, **changes: object) -> Federation:
    """A federation of which so many may be corrupt, and as many drop out."""
    policy = AggregationPolicy(
        corrupt_fraction=corrupt / devices, max_dropouts=corrupt, min_survivors=2, modulus_bits=32
    )
    return Federation(devices, task=make_task(aggregation=policy), **changes)  # type: ignore[arg-type]


def refuses(federation: Federation, stage: Stage, request: bytes, reason: str, device: int = 0) -> None:
    with pytest.raises(Refused, match=reason):
        federation.step(stage, device, request)
    assert federation.clients[device].snapshot() == b""
    with pytest.raises(Refused):
        federation.step(stage, device, request)


def before(stage: Stage, federation: Federation | None = None) -> Federation:
    """A federation whose next exchange is `stage`."""
    federation = federation or Federation(10)
    if stage is not Stage.ADVERTISE:
        federation.run(until=list(Stage)[list(Stage).index(stage) - 1])
    return federation


def request_of(federation: Federation, device: int = 0) -> bytes:
    return federation.server.requests()[device].body


def place(federation: Federation, device: int = 0) -> int:
    return federation.server.shards[0]._index[device]


def others(federation: Federation) -> list[int]:
    return [member for member in range(federation.devices) if member != place(federation)]


def forge(adverts: Adverts, victim: int, **changes: object) -> Adverts:
    return tuple(
        replace(advert, **changes) if number == victim else advert  # type: ignore[arg-type]
        for number, advert in enumerate(adverts)
    )
