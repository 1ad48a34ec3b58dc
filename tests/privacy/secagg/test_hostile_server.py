"""What a server that lies about invitations, keys and rosters is told: a named reason, and nothing else.

After a refusal the device has wiped its keys.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from privacy.base.signing import Signer
from privacy.secagg import Refused, Rounds, Seen, Stage
from privacy.secagg.membership.identity import DevicePolicy, EnrolmentRequest, Revocations, enrol
from privacy.secagg.messages import (
    HEADER_DOMAIN,
    Advert,
    Header,
    InputRequest,
    Invitation,
    Roster,
    decode_encrypted_shares,
)
from privacy.task.task import (
    AdaptiveClip,
    AggregationPolicy,
    BoundedParticipation,
    DeviceMechanism,
    TaskSpec,
    sign_task,
)
from tests.support.federation import FOREVER, NOW, Federation
from tests.support.hostile import Adverts, before, forge, others, place, refuses, request_of
from tests.support.tasks import make_task

Change = Callable[[Adverts, Federation], Adverts]


# -- invitations


def invited(federation: Federation, **changes: object) -> bytes:
    return replace(Invitation.decode(request_of(federation)), **changes).encode()  # type: ignore[arg-type]


def test_an_invitation_of_another_operator() -> None:
    stranger = Federation(10, seed=Federation(1).seed.child("other"))
    refuses(before(Stage.ADVERTISE), Stage.ADVERTISE, request_of(stranger), "no valid signature")


def test_a_header_that_the_operator_did_not_sign() -> None:
    federation = before(Stage.ADVERTISE)
    header = Invitation.decode(request_of(federation)).header
    refuses(federation, Stage.ADVERTISE, invited(federation, header=replace(header, round=2)), "no valid signature")


def test_a_first_round_with_another_model_than_the_tasks() -> None:
    federation = before(Stage.ADVERTISE)
    for number, reason in ((1, "begins with another model than the task's"), (2, None)):
        header = replace(Invitation.decode(request_of(federation)).header, round=number, model_digest=bytes(32))
        signature = federation.operator.sign(HEADER_DOMAIN, header.encode())
        request = invited(federation, header=header, signature=signature)
        if reason is not None:
            refuses(federation, Stage.ADVERTISE, request, reason)
        else:
            before(Stage.ADVERTISE).step(Stage.ADVERTISE, 0, request)


def test_another_task_than_its_round() -> None:
    federation = before(Stage.ADVERTISE)
    foreign = sign_task(make_task(name="other"), federation.operator)
    refuses(federation, Stage.ADVERTISE, invited(federation, signed_task=foreign), "another task")


@pytest.mark.parametrize("last", [1, 2])
def test_an_old_round_again(last: int) -> None:
    federation = before(Stage.ADVERTISE)
    with pytest.raises(Refused, match="round 1, which was answered or is long gone"):
        federation.clients[0].advertise(request_of(federation), Seen(Rounds(last)), NOW, federation.seed.stream())


def test_a_round_beyond_the_task() -> None:
    federation = Federation(10, number=11)
    refuses(federation, Stage.ADVERTISE, request_of(federation), "round 11 of a task of 10")


def test_another_clip_than_the_tasks() -> None:
    federation = Federation(10, clip=2.0)
    refuses(federation, Stage.ADVERTISE, request_of(federation), "a clip that is not the task's")


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf])
def test_a_clip_that_is_none(clip: float) -> None:
    adapting = make_task(mechanism=DeviceMechanism(clip=1.0, noise_multiplier=1.0, adaptive=AdaptiveClip()))
    federation = Federation(10, task=adapting, clip=clip)
    refuses(federation, Stage.ADVERTISE, request_of(federation), "expected a finite clip above 0")


def test_a_second_invitation_within_a_round() -> None:
    again = request_of(Federation(10, number=2))
    refuses(before(Stage.SHARE), Stage.ADVERTISE, again, "second invitation")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"min_noise_multiplier": 1.01}, "noise_multiplier of at least 1.01, the task has 1"),
        ({"min_survivors": 5}, "min_survivors of at least 5, the task has 4"),
        ({"min_corrupt_fraction": 0.06}, "corrupt_fraction of at least 0.06, the task has 0.05"),
        ({"min_draw_bits": 10}, "draw_bits of at least 10, the task has 1"),
        ({"min_security_bits": 41}, "security_bits of at least 41, the task has 40"),
    ],
)
def test_a_task_below_the_devices_policy(policy: dict[str, float], reason: str) -> None:
    least = {"min_noise_multiplier": 0.0, "min_survivors": 2, "min_corrupt_fraction": 0.0, "min_draw_bits": 0, **policy}
    federation = Federation(10, policy=DevicePolicy.model_validate(least))
    refuses(federation, Stage.ADVERTISE, request_of(federation), reason)


# -- revocation


def listed(federation: Federation, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "authority": federation.authority,
        "population": federation.task.population,
        "number": 1,
        "valid_until": FOREVER,
        "identities": frozenset[bytes](),
        **changes,
    }
    return invited(federation, revocations=Revocations.signed(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid_until": NOW - 1}, "out of date"),
        ({"population": "another"}, "expected those of test-population, got those of another"),
        ({"authority": Signer.from_seed(bytes(32))}, "havenfl/revocation"),
    ],
)
def test_a_revocation_list_that_does_not_count(changes: dict[str, object], reason: str) -> None:
    federation = before(Stage.ADVERTISE)
    refuses(federation, Stage.ADVERTISE, listed(federation, **changes), reason)


def test_an_older_revocation_list_than_the_device_has_seen() -> None:
    federation = before(Stage.ADVERTISE)
    with pytest.raises(Refused, match="revocation list 1, after list 2"):
        federation.clients[0].advertise(request_of(federation), Seen(list_number=2), NOW, federation.seed.stream())


def test_a_roster_with_a_revoked_device() -> None:
    """The server showed device 0 the list, and lets device 3 in all the same."""
    federation = Federation(10)
    revoked = federation.list_revoked(1, frozenset({3}))
    federation.exchange(
        Stage.ADVERTISE,
        requests=lambda _, device, message: (
            replace(Invitation.decode(message), revocations=revoked).encode() if device == 0 else message
        ),
    )
    federation.server.advance()
    refuses(federation, Stage.SHARE, request_of(federation), "revoked")


def test_a_roster_with_an_expired_device() -> None:
    federation = before(Stage.SHARE)
    keys, victim = federation.keys(3), place(federation, 3)
    expired = enrol(federation.authority, federation.task.population, EnrolmentRequest.by(keys), NOW - 1)
    _refuses_roster(federation, lambda adverts, _: forge(adverts, victim, certificate=expired), "expired")


# -- rosters


def _refuses_roster(federation: Federation, change: Change, reason: str) -> None:
    adverts = Roster.decode(request_of(federation)).adverts
    refuses(federation, Stage.SHARE, Roster(change(adverts, federation)).encode(), reason)


def _uncertified(adverts: Adverts, federation: Federation) -> Adverts:
    victim = others(federation)[0]
    keys = federation.keys(next(device for device in range(10) if place(federation, device) == victim))
    certificate = enrol(Signer.from_seed(bytes(32)), federation.task.population, EnrolmentRequest.by(keys), FOREVER)
    return forge(adverts, victim, certificate=certificate)


def _another_population(adverts: Adverts, federation: Federation) -> Adverts:
    victim = others(federation)[0]
    keys = federation.keys(next(device for device in range(10) if place(federation, device) == victim))
    return forge(adverts, victim, certificate=enrol(federation.authority, "x", EnrolmentRequest.by(keys), FOREVER))


def _again(advert: Advert) -> bytes:
    """The same key with the bit set that X25519 ignores."""
    return advert.mask_public[:31] + bytes([advert.mask_public[31] | 0x80])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda adverts, it: tuple(a for n, a in enumerate(adverts) if n != place(it)), "without this device's own"),
        (lambda adverts, it: forge(adverts, place(it), mask_public=adverts[others(it)[0]].mask_public), "own keys"),
        (lambda adverts, it: forge(adverts, others(it)[0], mask_public=adverts[place(it)].mask_public), "twice"),
        (
            lambda adverts, it: forge(adverts, others(it)[0], mask_public=adverts[others(it)[1]].mask_public),
            "occurs twice",
        ),
        (lambda adverts, it: forge(adverts, others(it)[0], mask_public=_again(adverts[place(it)])), "occurs twice"),
        (_uncertified, "havenfl/enrolment"),
        (_another_population, "havenfl/enrolment"),
        (lambda adverts, it: (adverts[place(it)],), "expected at least 4 devices"),
        (lambda adverts, _: adverts[::-1], "ascending order"),
        (lambda adverts, _: (*adverts, adverts[-1]), "ascending order"),
    ],
)  # fmt: skip
def test_a_roster_that_lies(change: Change, reason: str) -> None:
    _refuses_roster(before(Stage.SHARE), change, reason)


def test_a_cohort_that_the_modulus_cannot_hold() -> None:
    """The operator signs 8 bits; the devices recompute that the sum would not fit."""
    federation = Federation(10, task=narrow_task(32))
    narrow = narrow_task(8)
    header = Header(bytes.fromhex(narrow.id), 1, federation.server.header.model_digest, narrow.mechanism.clip)
    invitation = Invitation(
        sign_task(narrow, federation.operator),
        header,
        federation.operator.sign(HEADER_DOMAIN, header.encode()),
        federation.revocations,
    ).encode()
    adverts = [Advert.decode(federation.step(Stage.ADVERTISE, device, invitation)) for device in range(10)]
    roster = Roster(tuple(sorted(adverts, key=lambda advert: advert.identity)))
    refuses(federation, Stage.SHARE, roster.encode(), "modulus_bits: 8 bits are too coarse")


def narrow_task(bits: int) -> TaskSpec:
    policy = AggregationPolicy(corrupt_fraction=0.05, max_dropouts=3, min_survivors=4, modulus_bits=bits)
    return make_task(dimension=4096, aggregation=policy, mechanism=DeviceMechanism(clip=1.0, noise_multiplier=0.4))


def test_a_roster_larger_than_any_shard() -> None:
    """Refused before a thousand signatures are verified."""
    federation = before(Stage.SHARE)
    adverts = Roster.decode(request_of(federation)).adverts
    mine = adverts[place(federation)]
    strangers = [
        replace(
            mine,
            certificate=replace(mine.certificate, identity=n.to_bytes(32, "big"), agreement=n.to_bytes(32, "little")),
            mask_public=n.to_bytes(31, "little") + b"\x07",
        )
        for n in range(1, 1_002)
    ]
    roster = Roster(tuple(sorted([*strangers, mine], key=lambda advert: advert.identity)))
    refuses(federation, Stage.SHARE, roster.encode(), "expected at most 1000 items")


def test_a_cohort_gathered_against_the_lots() -> None:
    policy = AggregationPolicy(corrupt_fraction=0.05, max_dropouts=3, min_survivors=4, modulus_bits=32, shards=2)
    task = make_task(aggregation=policy, participation=BoundedParticipation(cohort=20, max_participations=1))
    federation = Federation(20, task=task)
    federation.run(until=Stage.ADVERTISE)
    gathered = [advert for shard in federation.server.shards.values() for advert in shard.cohort.adverts]
    roster = Roster(tuple(sorted(gathered, key=lambda advert: advert.identity)))
    refuses(federation, Stage.SHARE, roster.encode(), "lots")


# -- an operator that signs two models


@pytest.mark.parametrize("device", [0, 1])
def test_another_model_announced_to_one_device(device: int) -> None:
    """Both headers are signed, and the server plays along: the sides' encrypted shares do not open for each other."""
    federation, model = before(Stage.ADVERTISE, Federation(10, number=2)), np.ones(8, "<f4").tobytes()
    header = replace(federation.server.header, model_digest=hashlib.sha256(model).digest())
    signature = federation.operator.sign(HEADER_DOMAIN, header.encode())
    invitations = {0: invited(federation, header=header, signature=signature)}
    adverts = [
        Advert.decode(federation.step(Stage.ADVERTISE, device, invitations.get(device, request_of(federation))))
        for device in range(10)
    ]
    roster = Roster(tuple(sorted(adverts, key=lambda advert: advert.identity)))
    places = [roster.adverts.index(advert) for advert in adverts]
    encrypted_shares = {
        places[device]: decode_encrypted_shares(federation.step(Stage.SHARE, device, roster.encode()))
        for device in range(10)
    }
    by_holder = {
        dealer: shares[places[device]] for dealer, shares in encrypted_shares.items() if dealer != places[device]
    }
    request = InputRequest(by_holder, tuple(range(10)), model if device == 0 else bytes(32))
    whole = request.encode_own() + InputRequest.encode_model(request.weights)
    refuses(federation, Stage.INPUT, whole, "a key that its device did not sign", device)


# -- keys that are not their owners'


def swapped(federation: Federation, victim: int, **changes: object) -> bytes:
    """Device 0's roster with another mask key for `victim`, whose encrypted shares then do not open there."""
    adverts = Roster.decode(request_of(federation)).adverts
    return Roster(forge(adverts, victim, **changes)).encode()


def test_a_swapped_key_is_noticed_before_anything_is_masked() -> None:
    federation = before(Stage.SHARE)
    victim = others(federation)[0]
    lie = swapped(federation, victim, mask_public=b"\x09" + bytes(31))
    federation.exchange(Stage.SHARE, requests=lambda _, device, message: lie if device == 0 else message)
    federation.server.advance()
    refuses(federation, Stage.INPUT, request_of(federation), "a key that its device did not sign")


def test_a_key_replayed_from_another_round() -> None:
    federation, earlier = before(Stage.SHARE), before(Stage.SHARE, Federation(10, number=2))
    victim = others(federation)[0]
    stale = Roster.decode(request_of(earlier)).adverts[victim]
    lie = Roster(
        tuple(
            stale if advert.identity == stale.identity else advert
            for advert in Roster.decode(request_of(federation)).adverts
        )
    ).encode()
    federation.exchange(Stage.SHARE, requests=lambda _, device, message: lie if device == 0 else message)
    federation.server.advance()
    refuses(federation, Stage.INPUT, request_of(federation), "did not sign")


def test_an_agreement_key_of_low_order_from_a_careless_authority() -> None:
    federation = before(Stage.SHARE)
    request = replace(EnrolmentRequest.by(federation.keys(5)), agreement=bytes(32))
    certificate = _certify_anything(federation.authority, federation.task.population, request)
    lie = swapped(federation, place(federation, 5), certificate=certificate)
    refuses(federation, Stage.SHARE, lie, "low order")


def test_a_mask_key_of_low_order_from_a_corrupt_device() -> None:
    """The server lets it through, and the corrupt device plays along."""
    federation = before(Stage.SHARE)
    corrupt = federation.clients[5]
    assert corrupt._state is not None
    corrupt._state.secrets.mask.public = bytes(32)
    lie = swapped(federation, place(federation, 5), **vars(corrupt._own_advert(corrupt._state)))
    federation.exchange(Stage.SHARE, requests=lambda *_: lie)
    federation.server.advance()
    refuses(federation, Stage.INPUT, request_of(federation), "low order")


def _certify_anything(authority: Signer, population: str, request: EnrolmentRequest) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privacy.secagg.membership.identity.require_usable", lambda _: None)
        return enrol(authority, population, request, FOREVER)
