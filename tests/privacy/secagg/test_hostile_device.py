"""What the server does with devices that cheat: the reply is set aside and named, and the round goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from privacy.base.signing import Signer
from privacy.secagg import Aborted, Rejected, Stage
from privacy.secagg.client.state import OwnSecrets, RoundState
from privacy.secagg.membership.identity import EnrolmentRequest, enrol
from privacy.secagg.messages import (
    ADVERT_DOMAIN,
    CONSISTENCY_DOMAIN,
    Advert,
    EncryptedShares,
    Members,
    Survivors,
    decode_encrypted_shares,
    decode_revealed,
    encode_consistency_check,
    encode_encrypted_shares,
    encode_masked,
    encode_revealed,
)
from privacy.secagg.server.blame import Blame, Fault
from tests.support.federation import FOREVER, NOW, Federation
from tests.support.hostile import wary

CHEAT = 2
Spoil = Callable[[Federation, bytes], bytes]


def round_with(stage: Stage, spoil: Spoil, federation: Federation | None = None) -> Federation:
    """A whole round in which the cheat's reply of one stage is spoiled."""
    federation = federation or Federation(10)

    def replies(at: Stage, device: int, message: bytes) -> bytes:
        return spoil(federation, message) if (at, device) == (stage, CHEAT) else message

    federation.run(replies=replies)
    return federation


def goes_on_without(federation: Federation, reason: str, *, survivor: bool) -> None:
    """The cheat is named, its identity is among the culprits, and the sum of the others is exact."""
    assert set(federation.rejections) == {CHEAT}
    assert reason in federation.rejections[CHEAT]
    survivors = [device for device in range(10) if survivor or device != CHEAT]
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(survivors))


def place(federation: Federation, device: int = CHEAT) -> int:
    return federation.server.shards[0]._index[device]


# -- adverts


def _signed(federation: Federation, message: bytes, **changes: object) -> bytes:
    forged = replace(Advert.decode(message), **changes)  # type: ignore[arg-type]
    signature = federation.keys(CHEAT).identity.sign(ADVERT_DOMAIN, forged.signed_part(federation.server.header))
    return replace(forged, signature=signature).encode()


def _someone_elses_identity(federation: Federation, message: bytes) -> bytes:
    keys = federation.keys(5)
    certificate = enrol(federation.authority, federation.task.population, EnrolmentRequest.by(keys), FOREVER)
    return _signed(federation, message, certificate=certificate)


def _unenrolled(federation: Federation, message: bytes) -> bytes:
    request = EnrolmentRequest.by(federation.keys(CHEAT))
    stranger = Signer.from_seed(bytes(32))
    certificate = enrol(stranger, federation.task.population, request, FOREVER)
    return _signed(federation, message, certificate=certificate)


def _expired(federation: Federation, message: bytes) -> bytes:
    request = EnrolmentRequest.by(federation.keys(CHEAT))
    certificate = enrol(federation.authority, federation.task.population, request, NOW - 1)
    return _signed(federation, message, certificate=certificate)


def _of_another_round(federation: Federation, message: bytes) -> bytes:  # noqa: ARG001
    other = Federation(10, number=2)
    return other.step(Stage.ADVERTISE, CHEAT, other.server.requests()[CHEAT].body)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_someone_elses_identity, "havenfl/secagg/advert"),
        (_unenrolled, "havenfl/enrolment"),
        (_expired, "expired"),
        (_of_another_round, "havenfl/secagg/advert"),
        (lambda it, message: _signed(it, message, mask_public=bytes(32)), "low order"),
        (lambda _, message: message[:-1], "expected 64 more bytes"),
        (lambda _, message: message + b"\x00", "1 more bytes"),
        (lambda _, __: b"", "expected 5 more bytes"),
        (lambda _, __: b"\xff" * 1000, "expected kind 3"),
    ],
)  # fmt: skip
def test_adverts_that_do_not_count(spoil: Spoil, reason: str) -> None:
    goes_on_without(round_with(Stage.ADVERTISE, spoil), reason, survivor=False)


def test_a_copy_of_another_devices_advert() -> None:
    federation = Federation(10)
    first = federation.step(Stage.ADVERTISE, 0, federation.server.requests()[0].body)
    federation.server.receive(0, first)
    with pytest.raises(Rejected, match="already"):
        federation.server.receive(CHEAT, first)


def test_another_devices_mask_key_under_an_own_signature() -> None:
    federation = Federation(10)
    first = federation.step(Stage.ADVERTISE, 0, federation.server.requests()[0].body)
    federation.server.receive(0, first)
    mine = federation.step(Stage.ADVERTISE, CHEAT, federation.server.requests()[0].body)
    taken = Advert.decode(first).mask_public
    for key in (taken, taken[:31] + bytes([taken[31] | 0x80])):
        with pytest.raises(Rejected, match="public key that has been advertised already"):
            federation.server.receive(CHEAT, _signed(federation, mine, mask_public=key))


def test_a_revoked_device() -> None:
    federation = Federation(10, revoked=frozenset({CHEAT}))
    federation.run()
    goes_on_without(federation, "revoked", survivor=False)


# -- shares


def _encrypted_shares(change: Callable[[dict[int, EncryptedShares], int], dict[int, EncryptedShares]]) -> Spoil:
    return lambda federation, message: encode_encrypted_shares(
        change(decode_encrypted_shares(message), place(federation))
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda encrypted_shares, _: dict(list(encrypted_shares.items())[1:]),
        lambda encrypted_shares, me: {
            **dict(list(encrypted_shares.items())[1:]),
            me: next(iter(encrypted_shares.values())),
        },
        lambda encrypted_shares, _: {
            **dict(list(encrypted_shares.items())[1:]),
            10: next(iter(encrypted_shares.values())),
        },
        lambda _, __: {},
    ],
)
def test_shares_for_the_wrong_members(
    change: Callable[[dict[int, EncryptedShares], int], dict[int, EncryptedShares]],
) -> None:
    goes_on_without(round_with(Stage.SHARE, _encrypted_shares(change)), "expected 9 for other members", survivor=False)


def _garbage(encrypted_shares: dict[int, EncryptedShares], _: int) -> dict[int, EncryptedShares]:
    spoiled = sorted(encrypted_shares)[:2]
    return {
        holder: replace(encrypted, sealed=bytes(84)) if holder in spoiled else encrypted
        for holder, encrypted in encrypted_shares.items()
    }


def test_boxes_of_garbage_for_some_are_withstood() -> None:
    """Two holders, as many as may be corrupt, keep nothing of it and say so, and the others are enough."""
    federation = round_with(Stage.SHARE, _encrypted_shares(_garbage), wary())
    assert federation.rejections == {}
    assert federation.refusals == {}
    assert federation.server.blame == Blame()
    assert [complaint.dealers for complaint in federation.server.shards[0].complaints.values()] == [
        (place(federation),)
    ] * 2
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(range(10)))


def test_tags_that_do_not_fit_the_shares_are_the_dealers_lie() -> None:
    """Its holders keep nothing and say so; nobody can tell them liars for it."""

    def lie(encrypted_shares: dict[int, EncryptedShares], _: int) -> dict[int, EncryptedShares]:
        return {
            holder: replace(encrypted, own_tag=bytes(16)) if holder in sorted(encrypted_shares)[:2] else encrypted
            for holder, encrypted in encrypted_shares.items()
        }

    federation = round_with(Stage.SHARE, _encrypted_shares(lie), wary())
    assert federation.rejections == {}
    assert len(federation.server.shards[0].complaints) == 2
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(range(10)))


def test_shares_that_do_not_make_up_the_secret_name_their_dealer() -> None:
    federation = Federation(10)
    federation.run(until=Stage.ADVERTISE)
    state = federation.clients[CHEAT]._state
    assert state is not None
    true = state.secrets
    state.own = replace(true, self_secret=b"\x05" * 32)
    advert = federation.clients[CHEAT]._own_advert
    federation.clients[CHEAT]._own_advert = lambda _: _with_secrets(state, true, advert)  # type: ignore[method-assign]
    for stage in list(Stage)[1:]:
        federation.exchange(stage)
        federation.server.advance()
    identity = federation.keys(CHEAT).identity.public.hex()
    with pytest.raises(Aborted, match=rf"devices {identity} dealt secret shares that do not make up"):
        federation.server.totals()
    [culprit] = federation.server.blame.culprits
    assert (culprit.member, culprit.certificate.identity.hex()) == (CHEAT, identity)
    assert (culprit.stage, culprit.fault) == (Stage.UNMASK, Fault.POLYNOMIAL)


def _with_secrets(state: RoundState, true: OwnSecrets, advert: Callable[[RoundState], Advert]) -> Advert:
    shared, state.own = state.own, true
    made = advert(state)
    state.own = shared
    return made


# -- masked vectors


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (np.zeros(7, "<u4"), "expected 32 bytes for 8 coordinates, got 28"),
        (np.zeros(9, "<u4"), "got 36"),
        (np.zeros(8, "<u8"), "got 64"),
        (np.zeros(8, "<u2"), "got 16"),
        (np.zeros(0, "<u4"), "got 0"),
    ],
)
def test_masked_vectors_of_another_length(words: np.ndarray, reason: str) -> None:  # type: ignore[type-arg]
    goes_on_without(round_with(Stage.INPUT, lambda *_: encode_masked(words)), reason, survivor=False)


def test_two_inputs() -> None:
    federation = Federation(10)
    federation.run(until=Stage.SHARE)
    reply = federation.step(Stage.INPUT, CHEAT, federation.server.requests()[CHEAT].body)
    federation.server.receive(CHEAT, reply)
    with pytest.raises(Rejected, match="second"):
        federation.server.receive(CHEAT, reply)
    assert federation.server.blame == Blame(), "a network may repeat what it carries"


def test_an_input_that_comes_after_its_stage() -> None:
    federation = Federation(10)
    federation.run(until=Stage.SHARE)
    late = federation.step(Stage.INPUT, CHEAT, federation.server.requests()[CHEAT].body)
    federation.exchange(Stage.INPUT, requests=lambda _, device, message: None if device == CHEAT else message)
    federation.server.advance()
    with pytest.raises(Rejected):
        federation.server.receive(CHEAT, late)


# -- consistency checks and revealed shares


def test_a_consistency_check_of_another_survivor_set() -> None:
    def other(federation: Federation, _: bytes) -> bytes:
        signed = federation.server.shards[0].cohort.consistency_statement(
            Survivors(Members((0, 1, 2))).signed_survivors
        )
        return encode_consistency_check(federation.keys(CHEAT).identity.sign(CONSISTENCY_DOMAIN, signed))

    goes_on_without(round_with(Stage.CONSISTENCY, other), "havenfl/secagg/echo", survivor=True)


def _wrong_share(federation: Federation, message: bytes) -> bytes:
    shares = decode_revealed(message)
    victim = next(dealer for dealer in shares if dealer != place(federation))
    return encode_revealed({**shares, victim: bytes(34)})


def _the_other_kind(federation: Federation, message: bytes) -> bytes:
    """The cheat kept its state: it gives the mask key's share of a survivor."""
    shares = decode_revealed(message)
    victim = next(dealer for dealer in shares if dealer != place(federation))
    return encode_revealed({**shares, victim: shares[victim][:-1] + b"\x01"})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_wrong_share, "one is not what its dealer gave"),
        (_the_other_kind, "one is not what its dealer gave"),
        (lambda _, message: encode_revealed({**decode_revealed(message), 77: bytes(34)}), "that distributed none"),
        (lambda _, message: message[:-20], "expected"),
    ],
)
def test_wrong_revealed_shares(spoil: Spoil, reason: str) -> None:
    federation = round_with(Stage.UNMASK, spoil)
    goes_on_without(federation, reason, survivor=True)
    [culprit] = federation.server.blame.culprits
    assert culprit.certificate.identity == federation.keys(CHEAT).identity.public
    assert culprit.fault is Fault.REPLY
    assert reason in culprit.reason


def test_a_wrong_share_of_its_own_secret_is_not_needed() -> None:
    def lie(federation: Federation, message: bytes) -> bytes:
        return encode_revealed({**decode_revealed(message), place(federation): bytes(34)})

    federation = round_with(Stage.UNMASK, lie)
    assert federation.rejections == {}
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(range(10)))


def test_garbage_from_so_many_that_the_threshold_falls() -> None:
    federation = Federation(10)
    with pytest.raises(Aborted, match="echo: expected at least 7 devices, got 5"):
        federation.run(
            replies=lambda at, device, message: b"junk" if at is Stage.CONSISTENCY and device > 4 else message
        )
    assert len(federation.rejections) == 5
