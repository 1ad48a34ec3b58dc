"""The exact sum over the survivors, or a clean end, whoever drops out when."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.secagg import Aborted, Refused, Rejected, Stage
from privacy.secagg.params import parameters
from privacy.states import Encoded
from tests.support.federation import Federation
from tests.support.tasks import make_task


def test_sum_is_exact_when_everyone_stays(federation: Federation) -> None:
    federation.run()
    total = federation.server.total()
    np.testing.assert_array_equal(total.residues, federation.expected(range(10)))
    assert (total.cohort, total.survivors) == (10, 10)


@settings(max_examples=40)
@given(data=st.data(), devices=st.integers(3, 12))
def test_any_drop_out_pattern_gives_the_exact_sum_or_an_abort(data: st.DataObject, devices: int) -> None:
    stages = st.sampled_from([None, None, None, *Stage])
    leaves = [data.draw(stages) for _ in range(devices)]
    federation = Federation(devices)

    def drop(stage: Stage, device: int, message: bytes) -> bytes | None:
        left = leaves[device]
        return None if left is not None and list(Stage).index(stage) >= list(Stage).index(left) else message

    in_sum = [i for i, left in enumerate(leaves) if left in {None, Stage.ECHO, Stage.UNMASK}]
    try:
        federation.run(replies=drop)
        total = federation.server.total()
    except Aborted:
        joined = sum(left is not Stage.ADVERTISE for left in leaves)
        staying = sum(left is None for left in leaves)
        assert joined < 2 or staying < parameters(joined, federation.task.aggregation).survivors_required
        return
    np.testing.assert_array_equal(total.residues, federation.expected(in_sum))
    assert total.survivors == len(in_sum)


@pytest.mark.parametrize("stage", Stage)
def test_one_device_lost_at_each_stage(stage: Stage) -> None:
    federation = Federation(10)
    federation.run(replies=lambda at, device, message: None if (at, device) == (stage, 4) else message)
    lost_before_input = stage in {Stage.ADVERTISE, Stage.SHARE, Stage.INPUT}
    survivors = [i for i in range(10) if not (lost_before_input and i == 4)]
    np.testing.assert_array_equal(federation.server.total().residues, federation.expected(survivors))


def test_too_few_survivors_end_the_round_before_anything_is_unmasked(federation: Federation) -> None:
    with pytest.raises(Aborted, match=r"input: expected at least 7 devices, got 6"):
        federation.run(replies=lambda at, device, message: None if at is Stage.INPUT and device < 4 else message)
    with pytest.raises(Aborted, match="total was asked for"):
        federation.server.total()


def test_masked_vectors_do_not_show_the_input() -> None:
    task = make_task(dimension=4096)
    federation = Federation(3, task=task)
    federation.inputs = [np.zeros(4096, np.uint32) for _ in range(3)]
    seen: list[bytes] = []

    def record(stage: Stage, _device: int, message: bytes) -> bytes:
        if stage is Stage.INPUT:
            seen.append(message[-4 * 4096 :])
        return message

    federation.run(replies=record)
    for body in seen:
        counts = np.bincount(np.frombuffer(body, np.uint8), minlength=256)
        chi_square = float(((counts - 64) ** 2 / 64).sum())
        assert chi_square < 370  # P < 1e-5 for 255 degrees of freedom
    assert not federation.server.total().residues.any()


def test_replies_that_are_garbage_are_set_aside(federation: Federation) -> None:
    def spoil(stage: Stage, device: int, message: bytes) -> bytes:
        return b"\x00" * 40 if device == list(Stage).index(stage) and stage is not Stage.UNMASK else message

    with pytest.raises(Aborted, match="echo"):
        # Three lost of ten are withstood; the fourth, at the echo, leaves too few signatures only if more follow.
        federation.run(replies=lambda at, i, m: b"junk" if at is Stage.ECHO and i > 4 else spoil(at, i, m))
    assert set(federation.rejections) >= {0, 1, 2}


@pytest.mark.parametrize("length", [7, 9])
def test_masked_vector_of_wrong_length_is_rejected(length: int) -> None:
    federation = Federation(5)
    other = Federation(5, task=make_task(dimension=length))
    federation.run(until=Stage.SHARE)
    other.run(until=Stage.SHARE)
    body = other.answer(Stage.INPUT, 0, other.server.requests()[0])
    with pytest.raises(Rejected, match=f"expected 8 coordinates, got {length}"):
        federation.server.receive(0, body or b"")


def test_second_and_unasked_replies_are_rejected(federation: Federation) -> None:
    reply = federation.answer(Stage.ADVERTISE, 0, federation.server.requests()[0]) or b""
    federation.server.receive(0, reply)
    with pytest.raises(Rejected, match="second"):
        federation.server.receive(0, reply)
    with pytest.raises(Rejected, match="not asked"):
        federation.server.receive(99, reply)


def test_garbage_shares_from_one_device_do_not_stop_the_round(federation: Federation) -> None:
    federation.run(until=Stage.ADVERTISE)

    def spoil(stage: Stage, device: int, message: bytes) -> bytes:
        return message[:-40] + bytes(40) if stage is Stage.SHARE and device == 2 else message

    for stage in (Stage.SHARE, Stage.INPUT, Stage.ECHO, Stage.UNMASK):
        federation.exchange(stage, replies=spoil)
        federation.server.advance()
    np.testing.assert_array_equal(federation.server.total().residues, federation.expected(range(10)))


def test_wrong_revealed_shares_from_one_device_are_worked_around(federation: Federation) -> None:
    def lie(stage: Stage, device: int, message: bytes) -> bytes:
        return message[:-20] + bytes(20) if stage is Stage.UNMASK and device == 1 else message

    federation.run(replies=lie)
    np.testing.assert_array_equal(federation.server.total().residues, federation.expected(range(10)))


def test_state_survives_a_change_of_process() -> None:
    federation = Federation(5)
    for stage in Stage:
        federation.exchange(stage)
        federation.server.advance()
        for device in range(5):
            fresh = federation.client(device)
            fresh.resume(federation.clients[device].snapshot())
            federation.clients[device] = fresh
    np.testing.assert_array_equal(federation.server.total().residues, federation.expected(range(5)))


def test_device_gives_one_input_and_then_no_other(federation: Federation) -> None:
    federation.run(until=Stage.INPUT)
    with pytest.raises(Refused, match="stage input at stage echo"):
        federation.clients[0].masked_input(Encoded(federation.inputs[0]))
    with pytest.raises(Refused, match="over"):
        federation.clients[0].echo(b"")
