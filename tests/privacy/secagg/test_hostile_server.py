"""What a lying server is told: a named reason, and nothing else. After a refusal the device has wiped its keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from privacy.secagg import Refused, Stage
from privacy.secagg.identity import enrol
from privacy.secagg.messages import (
    Advert,
    InputRequest,
    Invitation,
    Roster,
    Survivors,
    decode_echoes,
    encode_echoes,
)
from privacy.signing import Signer
from tests.support.federation import Federation
from tests.support.tasks import make_task

Change = Callable[[Federation, bytes], bytes]


def refuses(federation: Federation, stage: Stage, request: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        federation.step(stage, 0, request)
    assert federation.clients[0].snapshot() == b""
    with pytest.raises(Refused):
        federation.step(stage, 0, request)


def before(stage: Stage) -> Federation:
    """A federation whose next exchange is `stage`."""
    federation = Federation(10)
    if stage is not Stage.ADVERTISE:
        federation.run(until=list(Stage)[list(Stage).index(stage) - 1])
    return federation


def edit_roster(change: Callable[[tuple[Advert, ...], Federation], tuple[Advert, ...]]) -> Change:
    def apply(federation: Federation, request: bytes) -> bytes:
        return Roster(change(Roster.decode(request).adverts, federation)).encode()

    return apply


def own_place(federation: Federation) -> int:
    return federation.server._index[0]


def others(federation: Federation) -> list[int]:
    return [place for place in range(10) if place != own_place(federation)]


# -- invitations


def test_invitation_of_another_operator() -> None:
    other = Federation(10, seed=Federation(1).seed.child("other"))
    refuses(before(Stage.ADVERTISE), Stage.ADVERTISE, other.server.requests()[0], "no valid signature")


def test_invitation_with_another_task_than_its_round() -> None:
    federation = before(Stage.ADVERTISE)
    mine, foreign = federation.server, Federation(10, task=make_task(name="other"))
    swapped = replace(Invitation.decode(mine.requests()[0]), signed_task=_task_of(foreign))
    refuses(federation, Stage.ADVERTISE, swapped.encode(), "another task")


def _task_of(federation: Federation) -> bytes:
    return Invitation.decode(federation.server.requests()[0]).signed_task


def test_old_round_again() -> None:
    federation = before(Stage.ADVERTISE)
    request = federation.server.requests()[0]
    with pytest.raises(Refused, match="round 1, when round 1 was answered"):
        federation.clients[0].advertise(request, 1, federation.seed.stream())


def test_round_beyond_the_task() -> None:
    federation = Federation(10, number=11)
    refuses(federation, Stage.ADVERTISE, federation.server.requests()[0], "round 11 of a task of 10")


def test_second_invitation_within_a_round() -> None:
    federation = before(Stage.SHARE)
    again = Federation(10, number=2).server.requests()[0]
    refuses(federation, Stage.ADVERTISE, again, "second invitation")


# -- rosters


def _without_me(adverts: tuple[Advert, ...], federation: Federation) -> tuple[Advert, ...]:
    return tuple(advert for place, advert in enumerate(adverts) if place != own_place(federation))


def _with_my_other_key(adverts: tuple[Advert, ...], federation: Federation) -> tuple[Advert, ...]:
    mine, theirs = own_place(federation), others(federation)[0]
    forged = replace(adverts[mine], mask_public=adverts[theirs].mask_public)
    return tuple(forged if place == mine else advert for place, advert in enumerate(adverts))


def _swapped_key(adverts: tuple[Advert, ...], federation: Federation) -> tuple[Advert, ...]:
    victim = others(federation)[0]
    forged = replace(adverts[victim], channel_public=b"\x09" + bytes(31))
    return tuple(forged if place == victim else advert for place, advert in enumerate(adverts))


def _duplicate_key(adverts: tuple[Advert, ...], federation: Federation) -> tuple[Advert, ...]:
    one, other = others(federation)[:2]
    forged = replace(adverts[one], mask_public=adverts[other].mask_public)
    return tuple(forged if place == one else advert for place, advert in enumerate(adverts))


def _uncertified(adverts: tuple[Advert, ...], federation: Federation) -> tuple[Advert, ...]:
    victim = others(federation)[0]
    stranger = Signer.from_seed(bytes(32))
    certificate = enrol(stranger, federation.task.population, adverts[victim].identity)
    forged = replace(adverts[victim], certificate=certificate)
    return tuple(forged if place == victim else advert for place, advert in enumerate(adverts))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_without_me, "without this device's own keys"),
        (_with_my_other_key, "without this device's own keys"),
        (_swapped_key, "no valid signature"),
        (_duplicate_key, "occurs twice"),
        (_uncertified, "havenfl/enrolment"),
        (lambda adverts, federation: adverts[own_place(federation) :][:1], "at least 2"),
        (lambda adverts, _: adverts[::-1], "ascending order"),
    ],
)
def test_roster_that_lies(change: Callable[[tuple[Advert, ...], Federation], tuple[Advert, ...]], reason: str) -> None:
    federation = before(Stage.SHARE)
    lie = edit_roster(change)(federation, federation.server.requests()[0])
    refuses(federation, Stage.SHARE, lie, reason)


def test_keys_replayed_from_another_round() -> None:
    federation, earlier = before(Stage.SHARE), Federation(10, number=2)
    earlier.run(until=Stage.ADVERTISE)
    stale = Roster.decode(earlier.server.requests()[0]).adverts[others(federation)[0]]

    def change(adverts: tuple[Advert, ...], _: Federation) -> tuple[Advert, ...]:
        return tuple(stale if advert.identity == stale.identity else advert for advert in adverts)

    lie = edit_roster(change)(federation, federation.server.requests()[0])
    refuses(federation, Stage.SHARE, lie, "no valid signature")


def test_low_order_key_of_a_corrupt_device() -> None:
    federation = before(Stage.ADVERTISE)
    federation.run(until=Stage.ADVERTISE)
    corrupt = Signer.from_seed(federation.seed.child("device", 5).key())

    def change(adverts: tuple[Advert, ...], _: Federation) -> tuple[Advert, ...]:
        forged = [_resigned(advert, corrupt, federation) for advert in adverts]
        return tuple(forged)

    lie = edit_roster(change)(federation, federation.server.requests()[0])
    refuses(federation, Stage.SHARE, lie, "low order")


def _resigned(advert: Advert, corrupt: Signer, federation: Federation) -> Advert:
    if advert.identity != corrupt.public:
        return advert
    forged = replace(advert, channel_public=bytes(32))
    header = Invitation.decode(federation.server._invitation).header
    return replace(forged, signature=corrupt.sign("havenfl/secagg/advert/1", forged.signed_part(header)))


# -- inputs


def test_another_model_for_one_device() -> None:
    federation = before(Stage.INPUT)
    request = InputRequest.decode(federation.server.requests()[0])
    other = np.ones(8, "<f4").tobytes()
    refuses(federation, Stage.INPUT, replace(request, weights=other).encode(), "another model")


def test_too_few_dealers() -> None:
    federation = before(Stage.INPUT)
    request = InputRequest.decode(federation.server.requests()[0])
    few = dict(list(request.sealed.items())[:5])
    refuses(federation, Stage.INPUT, replace(request, sealed=few).encode(), "fewer dealers")


def test_sealed_shares_of_a_split_cohort_do_not_open() -> None:
    federation = before(Stage.INPUT)
    request = InputRequest.decode(federation.server.requests()[0])
    rotated = dict(zip(request.sealed, [*list(request.sealed.values())[1:], b"\x00" * 84], strict=True))
    refuses(federation, Stage.INPUT, replace(request, sealed=rotated).encode(), "fewer shares that open")


# -- survivors and echoes


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (others, "this device dropped out"),
        (lambda federation: sorted([own_place(federation), *others(federation)[:5]]), "fewer survivors"),
        (lambda _: [*range(10), 10], "never shared keys"),
    ],
)
def test_survivor_list_that_lies(members: Callable[[Federation], list[int]], reason: str) -> None:
    federation = before(Stage.ECHO)
    refuses(federation, Stage.ECHO, Survivors(tuple(members(federation))).encode(), reason)


def test_split_view_of_the_survivors() -> None:
    """Half of the devices are told that member 9 dropped out: neither half finds a quorum of echoes."""
    federation = before(Stage.ECHO)
    full, partial = Survivors(tuple(range(10))).encode(), Survivors(tuple(range(9))).encode()
    victim = next(device for device, place in federation.server._index.items() if place == 9)
    told = {device: partial if device % 2 and device != victim else full for device in range(10)}
    for device, request in told.items():
        federation.step(Stage.ECHO, device, request)
    echoes = _echoes(federation, told)
    for device in range(10):
        with pytest.raises(Refused, match=r"another survivor set|outside the survivor set|fewer echoes"):
            federation.step(Stage.UNMASK, device, encode_echoes(echoes))


def _echoes(federation: Federation, told: dict[int, bytes]) -> dict[int, bytes]:
    transcript = federation.server._cohort.transcript
    signed = {device: Survivors.decode(request).signed_part(transcript) for device, request in told.items()}
    signers = {device: Signer.from_seed(federation.seed.child("device", device).key()) for device in told}
    return {
        federation.server._index[device]: signers[device].sign("havenfl/secagg/echo/1", signed[device])
        for device in told
    }


def test_too_few_echoes() -> None:
    federation = before(Stage.UNMASK)
    echoes = decode_echoes(federation.server.requests()[0])
    few = dict(list(echoes.items())[:5])
    refuses(federation, Stage.UNMASK, encode_echoes(few), "fewer echoes than the threshold")


def test_both_kinds_of_share_in_two_requests() -> None:
    """Asked once with a device among the survivors and again without it: the second request finds no secrets."""
    federation = before(Stage.UNMASK)
    request = federation.server.requests()[0]
    federation.step(Stage.UNMASK, 0, request)
    for again in (request, Survivors(tuple(range(9))).encode()):
        with pytest.raises(Refused, match="over"):
            federation.step(Stage.UNMASK, 0, again)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("cut", [0, 3, 40, -1])
def test_truncated_requests(stage: Stage, cut: int) -> None:
    federation = before(stage)
    refuses(federation, stage, federation.server.requests()[0][:cut], "expected|message")


@pytest.mark.parametrize("stage", Stage)
def test_requests_with_bytes_left_over(stage: Stage) -> None:
    federation = before(stage)
    refuses(federation, stage, federation.server.requests()[0] + b"\x00", "more bytes")
