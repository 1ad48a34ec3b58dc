"""What a server that lies about inputs, survivors and consistency checks is told: a named reason, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.secagg import Refused, RoundAuthority, Server, Stage
from privacy.secagg.membership.identity import Revocations
from privacy.secagg.messages import (
    CONSISTENCY_DOMAIN,
    InputRequest,
    Members,
    Roster,
    Survivors,
    decode_consistency_checks,
    encode_consistency_checks,
)
from privacy.task.states import Encoded
from privacy.task.task import AggregationPolicy, BoundedParticipation, TaskSpec
from tests.support.federation import NOW, Federation
from tests.support.hostile import before, others, place, refuses, request_of
from tests.support.tasks import make_task

# -- inputs


def test_another_model_for_one_device() -> None:
    federation = before(Stage.INPUT)
    own = federation.server.requests()[0].own
    other = InputRequest.encode_model(np.ones(8, "<f4").tobytes())
    refuses(federation, Stage.INPUT, own + other, "another model")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda it, _: {"dealers": tuple(sorted([place(it), *others(it)[:5]]))}, "from a member who distributed none"),
        (
            lambda it, message: {
                "dealers": tuple(sorted([place(it), *others(it)[:5]])),
                "encrypted_shares": {dealer: message.encrypted_shares[dealer] for dealer in others(it)[:5]},
            },
            "fewer dealers",
        ),
        (lambda it, _: {"dealers": tuple(others(it))}, "this device distributed no shares"),
        (lambda *_: {"dealers": (*range(10), 10)}, "outside the cohort"),
        (lambda *_: {"dealers": ()}, "this device distributed no shares"),
        (
            lambda it, message: {
                "encrypted_shares": {**message.encrypted_shares, place(it): message.encrypted_shares[others(it)[0]]}
            },
            "from a member who distributed none",
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
    by_holder = list(message.encrypted_shares.values())
    rotated = dict(zip(message.encrypted_shares, [*by_holder[1:], by_holder[0]], strict=True))
    lie = replace(message, encrypted_shares=rotated).encode_own() + InputRequest.encode_model(message.weights)
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


@pytest.mark.parametrize(
    ("integers", "reason"),
    [
        (np.zeros(7, np.int64), "another length"),
        (np.zeros((8, 1), np.int64), "another length"),
        (np.zeros(8), "other numbers than int64"),
        (np.full(8, np.nan), "other numbers than int64"),
        (np.zeros(8, np.int32), "other numbers than int64"),
    ],
)
def test_an_input_of_another_kind_is_refused_by_the_device_itself(integers: NDArray[np.int64], reason: str) -> None:
    federation = before(Stage.INPUT)
    federation.clients[0].open_input(request_of(federation))
    with pytest.raises(Refused, match=reason):
        federation.clients[0].masked_input(Encoded(integers))
    assert federation.clients[0].snapshot() == b""


def test_an_input_before_the_shares_were_opened() -> None:
    federation = before(Stage.INPUT)
    with pytest.raises(Refused, match="an input before the shares were opened"):
        federation.clients[0].masked_input(Encoded(federation.inputs[0]))
    assert federation.clients[0].snapshot() == b""


@pytest.mark.parametrize("weights", [np.zeros(9, np.float32), np.zeros(7, np.float32), np.zeros(0, np.float32)])
def test_an_announced_model_of_another_length(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    """In a later round, whose model the task cannot state: of the first it states the digest."""
    federation = Federation(10, number=2)
    federation.server = Server(
        task=federation.task,
        round_authority=RoundAuthority(federation.operator, federation.authority.public, federation.revocations),
        clip=federation.task.mechanism.clip,
        round_number=2,
        weights=weights,
        devices=range(10),
        now=NOW,
    )
    refuses(before(Stage.INPUT, federation), Stage.INPUT, request_of(federation), "a model of another length")


# -- survivors and consistency checks


def told(places: tuple[int, ...], table: bytes = b"") -> Survivors:
    return Survivors(Members(places), table)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (others, "this device dropped out"),
        (lambda federation: sorted([place(federation), *others(federation)[:5]]), "fewer survivors"),
        (lambda _: [*range(10), 10], "a survivor that distributed no shares"),
        (lambda _: [], "this device dropped out"),
    ],
)
def test_a_survivor_list_that_lies(members: Callable[[Federation], list[int]], reason: str) -> None:
    federation = before(Stage.CONSISTENCY)
    refuses(federation, Stage.CONSISTENCY, told(tuple(members(federation))).encode(), reason)


@lru_cache(maxsize=1)
def _sparse() -> TaskSpec:
    policy = AggregationPolicy(corrupt_fraction=0.0, max_dropouts=28, min_survivors=70, modulus_bits=32)
    return make_task(aggregation=policy, participation=BoundedParticipation(cohort=140, max_participations=1))


def test_a_victim_whose_holders_were_all_dropped() -> None:
    """140 devices on a random graph: the survivors are enough, but hardly one of them holds the victim's shares."""
    federation = before(Stage.CONSISTENCY, Federation(140, task=_sparse()))
    state = federation.clients[0]._state
    assert state is not None
    params = federation.server.shards[0].cohort.params
    holders = set(state.holders)
    assert len(holders) == params.degree <= params.dropouts
    kept = tuple(member for member in range(140) if member not in holders)
    assert len(kept) >= params.survivors_required
    refuses(federation, Stage.CONSISTENCY, told(kept).encode(), "fewer live holders")


def test_a_victim_whose_holders_distributed_nothing() -> None:
    federation = before(Stage.INPUT, Federation(140, task=_sparse()))
    state = federation.clients[0]._state
    assert state is not None
    message = InputRequest.decode(request_of(federation))
    dealers = tuple(member for member in range(140) if member not in state.holders)
    encrypted_shares = {
        member: encrypted for member, encrypted in message.encrypted_shares.items() if member in dealers
    }
    lie = replace(message, dealers=dealers, encrypted_shares=encrypted_shares).encode_own() + InputRequest.encode_model(
        message.weights
    )
    refuses(federation, Stage.INPUT, lie, "fewer live holders")


def test_an_impostor_that_distributed_nothing_on_a_random_graph() -> None:
    """None of its encrypted shares could open: its key counts only with its device's signature."""
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
    """Half of the devices are told that member 9 dropped out: neither half finds a quorum of checks."""
    federation = before(Stage.CONSISTENCY)
    full, partial = told(tuple(range(10))), told(tuple(range(9)))
    victim = next(device for device in range(10) if place(federation, device) == 9)
    views = {device: partial if device % 2 and device != victim else full for device in range(10)}
    for device, survivors in views.items():
        federation.step(Stage.CONSISTENCY, device, survivors.encode())
    checks = _checks(federation, views)
    for device in range(10):
        with pytest.raises(Refused, match=r"another survivor set|outside the survivor set|fewer consistency checks"):
            federation.step(Stage.UNMASK, device, encode_consistency_checks(checks))
        assert federation.clients[device].snapshot() == b""


def _checks(federation: Federation, views: dict[int, Survivors]) -> dict[int, bytes]:
    cohort = federation.server.shards[0].cohort
    return {
        place(federation, device): federation.keys(device).identity.sign(
            CONSISTENCY_DOMAIN, cohort.consistency_statement(survivors.signed_survivors)
        )
        for device, survivors in views.items()
    }


def test_split_rosters() -> None:
    """Two halves see two rosters: no encrypted shares open on the other side, and no quorum signs one transcript."""
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
def test_too_few_consistency_checks(count: int) -> None:
    federation = before(Stage.UNMASK)
    checks, tags = decode_consistency_checks(request_of(federation))
    refuses(
        federation,
        Stage.UNMASK,
        encode_consistency_checks(dict(list(checks.items())[:count]), tags),
        "fewer consistency checks than the quorum",
    )


def test_a_consistency_check_of_a_member_that_is_not_in_the_sum() -> None:
    federation = before(Stage.UNMASK, _with_a_drop_out())
    (checks, _), lost = decode_consistency_checks(request_of(federation)), place(federation, 4)
    shard = federation.server.shards[0]
    signed = federation.keys(4).identity.sign(
        CONSISTENCY_DOMAIN, shard.cohort.consistency_statement(shard.signed_survivors)
    )
    lie = encode_consistency_checks({**dict(list(checks.items())[1:]), lost: signed})
    refuses(federation, Stage.UNMASK, lie, "a consistency check from outside the survivor set")


def test_a_forged_consistency_check() -> None:
    federation = before(Stage.UNMASK)
    checks, _ = decode_consistency_checks(request_of(federation))
    first = min(checks)
    refuses(federation, Stage.UNMASK, encode_consistency_checks({**checks, first: bytes(64)}), "another survivor set")


def test_a_tag_vouches_as_a_signature_does_and_one_of_the_two_is_enough() -> None:
    federation = before(Stage.UNMASK)
    checks, tags = decode_consistency_checks(request_of(federation))
    assert set(tags) == set(checks) - {place(federation)}
    by_tag = {member: checks[member] if member == place(federation) else bytes(64) for member in checks}
    by_signature = dict.fromkeys(tags, bytes(12))
    for device, request in enumerate([encode_consistency_checks(by_tag, tags), request_of(federation, 1)]):
        federation.step(Stage.UNMASK, device, request)
    federation.step(Stage.UNMASK, 2, encode_consistency_checks(checks, by_signature))


@pytest.mark.parametrize("kind", ["garbage", "another sender's", "its own", "another survivor set's", "another's"])
def test_a_tag_that_the_member_did_not_make_for_this_device_does_not_vouch(kind: str) -> None:
    federation = before(Stage.UNMASK)
    checks, tags = decode_consistency_checks(request_of(federation))
    _, other_tags = decode_consistency_checks(request_of(federation, 1))
    first, second = [member for member in sorted(tags) if member not in (place(federation), place(federation, 1))][:2]
    sender = next(device for device in range(10) if place(federation, device) == first)
    shard, state, own = federation.server.shards[0], federation.clients[sender]._state, federation.clients[0]._state
    assert state is not None
    assert own is not None
    channel, statement = state.channels[place(federation)], shard.cohort.consistency_statement
    forged = {
        "garbage": bytes(12),
        "another sender's": tags[second],
        "its own": own.channels[first].check_tag(statement(shard.signed_survivors)),
        "another survivor set's": channel.check_tag(statement(told((0, 1, 2)).signed_survivors)),
        "another's": other_tags[first],
    }[kind]
    lie = encode_consistency_checks({**checks, first: bytes(64)}, {**tags, first: forged})
    refuses(federation, Stage.UNMASK, lie, "another survivor set")


def test_both_kinds_of_share_in_one_request() -> None:
    """A reply names one share a dealer: of a survivor never the mask key's."""
    federation = before(Stage.UNMASK, _with_a_drop_out())
    state = federation.clients[0]._state
    assert state is not None
    assert state.signed_survivors is not None
    held, survivors = dict(state.held), set(state.signed_survivors.members.places)
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
    for again in (request, told(tuple(range(9))).encode()):
        with pytest.raises(Refused, match="over"):
            federation.step(Stage.UNMASK, 0, again)
    with pytest.raises(Refused, match="over"):
        federation.step(Stage.CONSISTENCY, 0, told(tuple(range(9))).encode())


def test_a_second_survivor_set_before_unmasking() -> None:
    federation = before(Stage.UNMASK)
    refuses(federation, Stage.CONSISTENCY, told(tuple(range(9))).encode(), "a request of stage echo at stage unmask")


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
