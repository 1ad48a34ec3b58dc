"""Requests of a lying server, and what a device must do with them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from privacy.secagg import Refused, Stage
from privacy.secagg.membership.params import parameters
from privacy.secagg.messages import Advert
from privacy.task.task import AggregationPolicy
from tests.support.federation import Federation
from tests.support.tasks import make_task

Adverts = tuple[Advert, ...]


def policy_for(devices: int, corrupt: int, max_dropouts: int) -> AggregationPolicy:
    """A policy under which a cohort of so many withstands exactly so many corrupt devices."""
    for fraction in (min(corrupt / devices, 0.49), *(0.4 * 0.9**step for step in range(200))):
        policy = AggregationPolicy(
            corrupt_fraction=fraction, max_dropouts=max_dropouts, min_survivors=devices // 2, modulus_bits=32
        )
        if parameters(devices, policy).corrupt == corrupt:
            return policy
    raise AssertionError(f"no fraction under which {devices} devices withstand {corrupt}")


def wary(devices: int = 10, corrupt: int = 2, **changes: object) -> Federation:
    """A federation of which so many may be corrupt, and as many drop out."""
    task = make_task(aggregation=policy_for(devices, corrupt, corrupt))
    return Federation(devices, task=task, **changes)  # type: ignore[arg-type]


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
