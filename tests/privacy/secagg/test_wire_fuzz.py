"""Hostile bytes: every decoder answers with its own error or with a message that encodes to the same bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import pytest
from hypothesis import given, settings, strategies as st

from privacy.base.signing import SIGNATURE_BYTES, SignatureError
from privacy.secagg import Stage
from privacy.secagg.client.state import RoundState
from privacy.secagg.errors import WireError
from privacy.secagg.membership.identity import EnrolmentRequest, Revocations
from privacy.secagg.membership.params import LARGEST
from privacy.secagg.messages import (
    Advert,
    Complaint,
    Header,
    InputRequest,
    Invitation,
    Roster,
    Survivors,
    decode_consistency_check,
    decode_consistency_checks,
    decode_encrypted_shares,
    decode_masked,
    decode_revealed,
    encode_consistency_check,
    encode_consistency_checks,
    encode_encrypted_shares,
    encode_masked,
    encode_revealed,
)
from privacy.secagg.primitives.keys import CHECK_TAG_BYTES, SEAL_OVERHEAD, TAG_BYTES
from privacy.secagg.primitives.shamir import SHARE_BYTES
from privacy.task.task import TaskError
from tests.support.federation import Federation

Decoder = Callable[[bytes], bytes]
"""Decodes, and encodes again."""


@lru_cache(maxsize=1)
def samples() -> dict[str, bytes]:
    """One honest message of each kind."""
    federation, messages = Federation(4), dict[str, bytes]()

    def request(stage: Stage, _: int, message: bytes) -> bytes:
        return messages.setdefault(f"{stage} request", message)

    def reply(stage: Stage, device: int, message: bytes) -> bytes:
        if device == 0:
            messages[f"{stage} reply"] = message
        return message

    for stage in Stage:
        federation.exchange(stage, lambda at, i, m: request(at, i, m) if i == 0 else m, reply)
        messages[f"state after {stage}"] = federation.clients[0].snapshot()
        federation.server.advance()
    messages["header"] = federation.server.header.encode()
    messages["revocations"] = federation.revocations.encode()
    complaint = Complaint((1, 3), bytes(range(SIGNATURE_BYTES)))
    words, _ = decode_masked(messages["input reply"], 32, 8)
    messages["complaint"] = complaint.encode()
    messages["input reply with a complaint"] = encode_masked(words, complaint)
    messages["enrolment request"] = EnrolmentRequest.by(federation.keys(0)).encode()
    return messages


def _input_request(data: bytes) -> bytes:
    message = InputRequest.decode(data)
    return message.encode_own() + InputRequest.encode_model(message.weights)


def _state(data: bytes) -> bytes:
    return RoundState.decode(data, Federation(4).operator.public).encode()


DECODERS: dict[str, Decoder] = {
    "advertise request": lambda data: Invitation.decode(data).encode(),
    "advertise reply": lambda data: Advert.decode(data).encode(),
    "share request": lambda data: Roster.decode(data).encode(),
    "share reply": lambda data: encode_encrypted_shares(decode_encrypted_shares(data)),
    "input request": _input_request,
    "input reply": lambda data: encode_masked(*decode_masked(data, 32, 8)),
    "input reply with a complaint": lambda data: encode_masked(*decode_masked(data, 32, 8)),
    "complaint": lambda data: Complaint.decode(data).encode(),
    "echo request": lambda data: Survivors.decode(data).encode(),
    "echo reply": lambda data: encode_consistency_check(*decode_consistency_check(data)),
    "unmask request": lambda data: encode_consistency_checks(*decode_consistency_checks(data)),
    "unmask reply": lambda data: encode_revealed(decode_revealed(data)),
    "state after share": _state,
    "state after input": _state,
    "state after echo": _state,
    "header": lambda data: Header.decode(data).encode(),
    "revocations": lambda data: Revocations.decode(data).encode(),
    "enrolment request": lambda data: EnrolmentRequest.decode(data).encode(),
}
KINDS = pytest.mark.parametrize("kind", DECODERS)


def takes(kind: str, data: bytes) -> bool:
    """False when it is refused as it should be; whatever is taken has one encoding."""
    try:
        again = DECODERS[kind](data)
    except (WireError, SignatureError, TaskError):
        return False
    assert again == data
    return True


@KINDS
def test_honest_messages_have_one_encoding(kind: str) -> None:
    assert takes(kind, samples()[kind])


@KINDS
@given(data=st.binary(max_size=400))
def test_noise_is_refused(kind: str, data: bytes) -> None:
    assert not takes(kind, data)


@KINDS
@settings(max_examples=60)
@given(data=st.data())
def test_mutations_are_refused_or_have_one_encoding(kind: str, data: st.DataObject) -> None:
    message = bytearray(samples()[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(message)))
        end = data.draw(st.integers(start, min(len(message), start + 40)))
        message[start:end] = data.draw(st.binary(max_size=12))
    takes(kind, bytes(message))


@KINDS
@settings(max_examples=30)
@given(data=st.data())
def test_counts_that_lie_allocate_nothing(kind: str, data: st.DataObject) -> None:
    """Four bytes of 255 anywhere: a count of four thousand million must end at the bytes that are there."""
    message = bytearray(samples()[kind])
    place = data.draw(st.integers(5, len(message) - 4))
    message[place : place + 4] = b"\xff" * 4
    takes(kind, bytes(message))


@pytest.mark.parametrize(
    ("kind", "item_bytes"),
    [
        ("share request", Advert.BYTES),
        ("share reply", 4 + 2 * SHARE_BYTES + SEAL_OVERHEAD + 2 * TAG_BYTES),
        ("unmask request", 4 + CHECK_TAG_BYTES),
        ("unmask reply", 4 + SHARE_BYTES),
    ],
)
def test_what_is_longer_than_any_cohort_is_refused_unread(kind: str, item_bytes: int) -> None:
    """26 MiB, of which the first five bytes and the count are looked at."""
    count = (26 << 20) // item_bytes
    flood = samples()[kind][:5] + count.to_bytes(4, "little") + bytes(count * item_bytes)
    before = time.process_time()
    with pytest.raises(WireError, match=f"expected at most {LARGEST} items, got {count}"):
        DECODERS[kind](flood)
    assert time.process_time() - before < 0.2


@KINDS
def test_every_truncation_and_every_kind_is_refused(kind: str) -> None:
    message = samples()[kind]
    step = max(1, len(message) // 60)
    assert not any(takes(kind, message[:cut]) for cut in range(0, len(message), step))
    assert not takes(kind, message + b"\x00")
    assert not takes(kind, message[:4] + bytes([message[4] ^ 64]) + message[5:])
    assert not takes(kind, b"hfl\x02" + message[4:])


@pytest.mark.parametrize("kind", ["state after input", "state after echo"])
def test_shares_held_out_of_order_are_no_state(kind: str) -> None:
    """Found by the fuzzer: a dictionary hides the order that the bytes had."""
    message, size = samples()[kind], 4 + 2 * SHARE_BYTES
    head, first, second = message[: -4 * size], message[-4 * size : -3 * size], message[-3 * size : -2 * size]
    assert not takes(kind, head + second + first + message[-2 * size :])
    assert not takes(kind, head + first + first + message[-2 * size :])


@pytest.mark.parametrize("clip", [math.nan, math.inf, -math.inf, 0.0, -1.0, 5e-324])
def test_a_clip_that_could_not_have_been_is_no_state(clip: float) -> None:
    """Found by the fuzzer: said as of any bytes that are no state, which a device that resumes withdraws on."""
    message = samples()["state after input"]
    own = samples()["header"]
    assert message.count(own) == 1
    other = replace(Header.decode(own), clip=clip).encode()
    assert not takes("state after input", message.replace(own, other))
