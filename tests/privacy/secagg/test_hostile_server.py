"""What a lying server is told: a named reason, and nothing else. After a refusal the device has wiped its keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from privacy.secagg import Convener, Refused, Seen, Server, Stage
from privacy.secagg.identity import EnrolmentRequest, Revocations, enrol
from privacy.secagg.messages import (
    ECHO_DOMAIN,
    HEADER_DOMAIN,
    Advert,
    Header,
    InputRequest,
    Invitation,
    Members,
    Roster,
    decode_echoes,
    encode_echoes,
)
from privacy.secagg.policy import DevicePolicy
from privacy.signing import Signer
from privacy.states import Encoded
from privacy.task import AggregationPolicy, BoundedParticipation, DeviceMechanism, TaskSpec, sign_task
from tests.support.federation import FOREVER, NOW, Federation
from tests.support.tasks import make_task

Adverts = tuple[Advert, ...]
Change = Callable[[Adverts, Federation], Adverts]


def refuses(federation: Federation, stage: Stage, request: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        federation.step(stage, 0, request)
    assert federation.clients[0].snapshot() == b""
    with pytest.raises(Refused):
        federation.step(stage, 0, request)


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
    return [one for one in range(federation.devices) if one != place(federation)]


def forge(adverts: Adverts, victim: int, **changes: object) -> Adverts:
    return tuple(
        replace(advert, **changes) if number == victim else advert  # type: ignore[arg-type]
        for number, advert in enumerate(adverts)
    )


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


def test_another_task_than_its_round() -> None:
    federation = before(Stage.ADVERTISE)
    foreign = sign_task(make_task(name="other"), federation.operator)
    refuses(federation, Stage.ADVERTISE, invited(federation, signed_task=foreign), "another task")


@pytest.mark.parametrize("last", [1, 2])
def test_an_old_round_again(last: int) -> None:
    federation = before(Stage.ADVERTISE)
    with pytest.raises(Refused, match=f"round 1, after round {last}"):
        federation.clients[0].advertise(request_of(federation), Seen(last), NOW, federation.seed.stream())


def test_a_round_beyond_the_task() -> None:
    federation = Federation(10, number=11)
    refuses(federation, Stage.ADVERTISE, request_of(federation), "round 11 of a task of 10")


def test_a_second_invitation_within_a_round() -> None:
    again = request_of(Federation(10, number=2))
    refuses(before(Stage.SHARE), Stage.ADVERTISE, again, "second invitation")


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"min_noise_multiplier": 1.01}, "noise_multiplier of at least 1.01, the task has 1"),
        ({"min_survivors": 3}, "min_survivors of at least 3, the task has 2"),
        ({"min_corrupt_share": 0.06}, "corrupt_share of at least 0.06, the task has 0.05"),
        ({"min_security_bits": 41}, "security_bits of at least 41, the task has 40"),
    ],
)
def test_a_task_below_the_devices_policy(policy: dict[str, float], reason: str) -> None:
    least = {"min_noise_multiplier": 0.0, "min_survivors": 2, "min_corrupt_share": 0.0, **policy}
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
        federation.clients[0].advertise(request_of(federation), Seen(0, 2), NOW, federation.seed.stream())


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
        (_uncertified, "havenfl/enrolment"),
        (_another_population, "havenfl/enrolment"),
        (lambda adverts, it: (adverts[place(it)],), "expected at least 2 devices"),
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
    header = Header(bytes.fromhex(narrow.id), 1, federation.server.header.model_digest)
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
    policy = AggregationPolicy(corrupt_share=0.05, dropout_share=0.3, min_survivors=2, modulus_bits=bits)
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
    refuses(federation, Stage.SHARE, roster.encode(), "expected at most 1000 devices")


def test_a_cohort_gathered_against_the_lots() -> None:
    policy = AggregationPolicy(corrupt_share=0.05, dropout_share=0.3, min_survivors=2, modulus_bits=32, shards=2)
    task = make_task(aggregation=policy, participation=BoundedParticipation(cohort=20, max_participations=1))
    federation = Federation(20, task=task)
    federation.run(until=Stage.ADVERTISE)
    gathered = [advert for shard in federation.server.shards.values() for advert in shard.cohort.adverts]
    roster = Roster(tuple(sorted(gathered, key=lambda advert: advert.identity)))
    refuses(federation, Stage.SHARE, roster.encode(), "lots")


# -- keys that are not their owners'


def swapped(federation: Federation, victim: int, **changes: object) -> bytes:
    """Device 0's roster with another mask key for `victim`, whose box then does not open there."""
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
        tuple(stale if one.identity == stale.identity else one for one in Roster.decode(request_of(federation)).adverts)
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
    corrupt._state.mask.public = bytes(32)
    lie = swapped(federation, place(federation, 5), **vars(corrupt._own_advert(corrupt._state)))
    federation.exchange(Stage.SHARE, requests=lambda *_: lie)
    federation.server.advance()
    refuses(federation, Stage.INPUT, request_of(federation), "low order")


def _certify_anything(authority: Signer, population: str, request: EnrolmentRequest) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privacy.secagg.identity.require_usable", lambda _: None)
        return enrol(authority, population, request, FOREVER)


# -- inputs


def test_another_model_for_one_device() -> None:
    federation = before(Stage.INPUT)
    own = federation.server.requests()[0].own
    other = InputRequest.encode_model(np.ones(8, "<f4").tobytes())
    refuses(federation, Stage.INPUT, own + other, "another model")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda it, _: {"dealers": tuple(sorted([place(it), *others(it)[:5]]))}, "from a member who dealt none"),
        (
            lambda it, message: {
                "dealers": tuple(sorted([place(it), *others(it)[:5]])),
                "dealt": {one: message.dealt[one] for one in others(it)[:5]},
            },
            "fewer dealers",
        ),
        (lambda it, _: {"dealers": tuple(others(it))}, "this device dealt nothing"),
        (lambda *_: {"dealers": (*range(10), 10)}, "outside the cohort"),
        (lambda *_: {"dealers": ()}, "this device dealt nothing"),
        (
            lambda it, message: {"dealt": {**message.dealt, place(it): message.dealt[others(it)[0]]}},
            "from a member who dealt none",
        ),
    ],
)  # fmt: skip
def test_input_requests_that_lie(change: Callable[[Federation, InputRequest], dict[str, object]], reason: str) -> None:
    federation = before(Stage.INPUT)
    message = InputRequest.decode(request_of(federation))
    lie = replace(message, **change(federation, message))  # type: ignore[arg-type]
    refuses(federation, Stage.INPUT, lie.encode_own() + InputRequest.encode_model(message.weights), reason)


def test_boxes_swapped_between_dealers_do_not_pass_for_shares() -> None:
    """The members signed their keys, so the device goes on, but without a single share that it could reveal."""
    federation = before(Stage.INPUT)
    message = InputRequest.decode(request_of(federation))
    boxes = list(message.dealt.values())
    rotated = dict(zip(message.dealt, [*boxes[1:], boxes[0]], strict=True))
    lie = replace(message, dealt=rotated).encode_own() + InputRequest.encode_model(message.weights)
    federation.clients[0].open_input(lie)
    state = federation.clients[0]._state
    assert state is not None
    assert set(state.held) == {place(federation)}


def test_a_second_input_request() -> None:
    federation = before(Stage.INPUT)
    request = request_of(federation)
    federation.clients[0].open_input(request)
    with pytest.raises(Refused, match="a second input request"):
        federation.clients[0].open_input(request)
    assert federation.clients[0].snapshot() == b""


def test_an_input_of_another_length_is_refused_by_the_device_itself() -> None:
    federation = before(Stage.INPUT)
    federation.clients[0].open_input(request_of(federation))
    with pytest.raises(Refused, match="another length"):
        federation.clients[0].masked_input(Encoded(np.zeros(7, np.int64)))


def test_an_input_before_the_shares_were_opened() -> None:
    federation = before(Stage.INPUT)
    with pytest.raises(Refused, match="an input before the shares were opened"):
        federation.clients[0].masked_input(Encoded(federation.inputs[0]))
    assert federation.clients[0].snapshot() == b""


@pytest.mark.parametrize("weights", [np.zeros(9, np.float32), np.zeros(7, np.float32), np.zeros(0, np.float32)])
def test_an_announced_model_of_another_length(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    federation = Federation(10)
    federation.server = Server(
        task=federation.task,
        convener=Convener(federation.operator, federation.authority.public, federation.revocations),
        round_number=1,
        weights=weights,
        devices=range(10),
        now=NOW,
    )
    refuses(before(Stage.INPUT, federation), Stage.INPUT, request_of(federation), "a model of another length")


# -- survivors and echoes


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (others, "this device dropped out"),
        (lambda federation: sorted([place(federation), *others(federation)[:5]]), "fewer survivors"),
        (lambda _: [*range(10), 10], "never shared keys"),
        (lambda _: [], "this device dropped out"),
    ],
)
def test_a_survivor_list_that_lies(members: Callable[[Federation], list[int]], reason: str) -> None:
    federation = before(Stage.ECHO)
    refuses(federation, Stage.ECHO, Members(tuple(members(federation))).encode(), reason)


@lru_cache(maxsize=1)
def _sparse() -> TaskSpec:
    policy = AggregationPolicy(corrupt_share=0.05, dropout_share=0.2, min_survivors=2, modulus_bits=32)
    return make_task(aggregation=policy, participation=BoundedParticipation(cohort=140, max_participations=1))


def test_a_victim_whose_holders_were_all_dropped() -> None:
    """140 devices on a random graph: the survivors are enough, but hardly one of them holds the victim's shares."""
    federation = before(Stage.ECHO, Federation(140, task=_sparse()))
    state = federation.clients[0]._state
    assert state is not None
    params = federation.server.shards[0].cohort.params
    holders = set(state.holders)
    assert len(holders) == params.degree <= params.dropouts
    kept = tuple(one for one in range(140) if one not in holders)
    assert len(kept) >= params.survivors_required
    refuses(federation, Stage.ECHO, Members(kept).encode(), "fewer live holders")


def test_a_victim_whose_holders_dealt_nothing() -> None:
    federation = before(Stage.INPUT, Federation(140, task=_sparse()))
    state = federation.clients[0]._state
    assert state is not None
    message = InputRequest.decode(request_of(federation))
    dealers = tuple(one for one in range(140) if one not in state.holders)
    dealt = {one: box for one, box in message.dealt.items() if one in dealers}
    lie = replace(message, dealers=dealers, dealt=dealt).encode_own() + InputRequest.encode_model(message.weights)
    refuses(federation, Stage.INPUT, lie, "fewer live holders")


def test_an_impostor_that_dealt_nothing_on_a_random_graph() -> None:
    """No box of it could open: its key counts only with its device's signature."""
    federation = before(Stage.SHARE, Federation(140, task=_sparse()))
    adverts = Roster.decode(request_of(federation)).adverts
    lies = [
        replace(advert, mask_public=bytes([n]) + advert.mask_public[1:]) if n != place(federation) else advert
        for n, advert in enumerate(adverts)
    ]
    lie = Roster(tuple(lies)).encode()
    federation.exchange(Stage.SHARE, requests=lambda _, device, message: lie if device == 0 else message)
    federation.server.advance()
    refuses(federation, Stage.INPUT, request_of(federation), "a key that its device did not sign")


def test_a_split_view_of_the_survivors() -> None:
    """Half of the devices are told that member 9 dropped out: neither half finds a quorum of echoes."""
    federation = before(Stage.ECHO)
    full, partial = Members(tuple(range(10))), Members(tuple(range(9)))
    victim = next(device for device in range(10) if place(federation, device) == 9)
    told = {device: partial if device % 2 and device != victim else full for device in range(10)}
    for device, members in told.items():
        federation.step(Stage.ECHO, device, members.encode())
    echoes = _echoes(federation, told)
    for device in range(10):
        with pytest.raises(Refused, match=r"another survivor set|outside the survivor set|fewer echoes"):
            federation.step(Stage.UNMASK, device, encode_echoes(echoes))
        assert federation.clients[device].snapshot() == b""


def _echoes(federation: Federation, told: dict[int, Members]) -> dict[int, bytes]:
    cohort = federation.server.shards[0].cohort
    return {
        place(federation, device): federation.keys(device).identity.sign(ECHO_DOMAIN, cohort.echo_of(members))
        for device, members in told.items()
    }


def test_split_rosters() -> None:
    """Two halves see different rosters: nobody's boxes open on the other side, and no quorum echoes one transcript."""
    federation = before(Stage.SHARE)
    adverts = Roster.decode(request_of(federation)).adverts
    dropped = next(device for device in range(10) if place(federation, device) == 9)
    partial = Roster(adverts[:9]).encode()
    told = {device: partial for device in range(10) if device % 2 and device != dropped}
    federation.exchange(Stage.SHARE, requests=lambda _, device, message: told.get(device, message))
    with pytest.raises(Exception, match="share: expected at least 7 devices"):
        federation.server.advance()  # an honest server stops here; a lying one goes on:
    assert len(federation.rejections) >= 4


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_echoes(count: int) -> None:
    federation = before(Stage.UNMASK)
    echoes = decode_echoes(request_of(federation))
    refuses(federation, Stage.UNMASK, encode_echoes(dict(list(echoes.items())[:count])), "fewer echoes than the quorum")


def test_an_echo_of_a_member_that_is_not_in_the_sum() -> None:
    federation = before(Stage.UNMASK, _with_a_drop_out())
    echoes, lost = decode_echoes(request_of(federation)), place(federation, 4)
    cohort, survivors = federation.server.shards[0].cohort, federation.server.shards[0].survivors
    signed = federation.keys(4).identity.sign(ECHO_DOMAIN, cohort.echo_of(survivors))
    lie = encode_echoes({**dict(list(echoes.items())[1:]), lost: signed})
    refuses(federation, Stage.UNMASK, lie, "an echo from outside the survivor set")


def test_a_forged_echo() -> None:
    federation = before(Stage.UNMASK)
    echoes = decode_echoes(request_of(federation))
    first = min(echoes)
    refuses(federation, Stage.UNMASK, encode_echoes({**echoes, first: bytes(64)}), "another survivor set")


def test_both_kinds_of_share_in_one_request() -> None:
    """A reply names one share a dealer: of a survivor never the mask key's."""
    federation = before(Stage.UNMASK, _with_a_drop_out())
    state = federation.clients[0]._state
    assert state is not None
    held, survivors = dict(state.held), set(state.survivors)
    reply = federation.step(Stage.UNMASK, 0, request_of(federation))
    dropped = set(held) - survivors
    assert len(dropped) == 1
    for dealer, (own, mask) in held.items():
        assert (own in reply, mask in reply) == ((False, True) if dealer in dropped else (True, False))


def _with_a_drop_out() -> Federation:
    federation = Federation(10)
    exchange = federation.exchange

    def lossy(stage: Stage, *_: object, **__: object) -> None:
        exchange(stage, replies=lambda at, device, message: None if (at, device) == (Stage.INPUT, 4) else message)

    federation.exchange = lossy  # type: ignore[method-assign]
    return federation


def test_both_kinds_of_share_in_two_requests() -> None:
    """Asked once with a device among the survivors and again without it: the second request finds no secrets."""
    federation = before(Stage.UNMASK)
    request = request_of(federation)
    federation.step(Stage.UNMASK, 0, request)
    for again in (request, Members(tuple(range(9))).encode()):
        with pytest.raises(Refused, match="over"):
            federation.step(Stage.UNMASK, 0, again)
    with pytest.raises(Refused, match="over"):
        federation.step(Stage.ECHO, 0, Members(tuple(range(9))).encode())


def test_a_second_survivor_set_before_unmasking() -> None:
    federation = before(Stage.UNMASK)
    refuses(federation, Stage.ECHO, Members(tuple(range(9))).encode(), "a request of stage echo at stage unmask")


# -- bytes


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("cut", [0, 3, 40, -1])
def test_truncated_requests(stage: Stage, cut: int) -> None:
    federation = before(stage)
    refuses(federation, stage, request_of(federation)[:cut], "expected|message")


@pytest.mark.parametrize("stage", Stage)
def test_requests_with_bytes_left_over(stage: Stage) -> None:
    federation = before(stage)
    refuses(federation, stage, request_of(federation) + b"\x00", "more bytes")


def test_a_server_with_an_outdated_list_finds_out_at_once() -> None:
    federation = Federation(3)
    stale = Revocations.signed(federation.authority, federation.task.population, 1, NOW - 1, frozenset())
    federation.revocations = stale
    with pytest.raises(ValueError, match="out of date"):
        federation.new_server(range(3))
    assert isinstance(federation.server, Server)
