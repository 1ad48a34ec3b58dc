"""The exact sum over the survivors, or a clean end, whoever drops out when."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from privacy.secagg import Aborted, Refused, Rejected, Stage
from privacy.secagg.membership.params import parameters
from privacy.task.states import Encoded
from privacy.task.task import AggregationPolicy, BoundedParticipation, Budget, DeviceMechanism, TaskSpec
from tests.support.federation import Federation
from tests.support.tasks import make_task


def federation_of(devices: int, bits: int, **policy: float) -> Federation:
    """Noise follows the modulus; the test's inputs are what it likes."""
    task = make_task(
        dimension=11,
        participation=BoundedParticipation(cohort=devices, max_participations=1),
        aggregation=AggregationPolicy(
            corrupt_fraction=policy.get("corrupt", 0.05),
            max_dropouts=math.floor(policy.get("dropout", 0.3) * devices),
            min_survivors=max(2, devices // 2),
            modulus_bits=32,
        ),
    )
    federation = Federation(devices, task=task)
    federation.inputs = [values % (1 << (bits - 1)) // devices for values in federation.inputs]
    return federation


def silent_task(**changes: object) -> TaskSpec:
    """Without noise any modulus is wide enough; the sums are the test's."""
    silent = DeviceMechanism(clip=1.0, noise_multiplier=0)
    return make_task(**{"dimension": 9, "mechanism": silent, "budget": Budget(delta=1e-5), **changes})  # type: ignore[arg-type]


def test_sum_is_exact_when_everyone_stays(federation: Federation) -> None:
    federation.run()
    [total] = federation.server.totals()
    np.testing.assert_array_equal(total.sums, federation.expected(range(10)))
    assert (total.cohort, total.survivors) == (10, 10)
    assert total.transcript == federation.server.shards[0].transcript


@settings(max_examples=40)
@given(data=st.data(), devices=st.integers(3, 12), bits=st.integers(8, 32))
def test_any_drop_out_pattern_gives_the_exact_sum_or_an_abort(data: st.DataObject, devices: int, bits: int) -> None:
    stages = st.sampled_from([None, None, None, *Stage])
    leaves = [data.draw(stages) for _ in range(devices)]
    policy = AggregationPolicy(
        corrupt_fraction=0.05,
        max_dropouts=devices * 3 // 10,
        min_survivors=max(2, devices * 3 // 10 + 1),
        modulus_bits=bits,
    )
    federation = Federation(devices, task=silent_task(aggregation=policy, participation=_of(devices)))

    def drop(stage: Stage, device: int, message: bytes) -> bytes | None:
        left = leaves[device]
        return None if left is not None and list(Stage).index(stage) >= list(Stage).index(left) else message

    in_sum = [i for i, left in enumerate(leaves) if left in {None, Stage.CONSISTENCY, Stage.UNMASK}]
    try:
        federation.run(replies=drop)
        [total] = federation.server.totals()
    except Aborted:
        joined = sum(left is not Stage.ADVERTISE for left in leaves)
        staying = sum(left is None for left in leaves)
        assert staying <= 2 * policy.max_dropouts + 1 or staying < parameters(joined, policy).survivors_required
        return
    np.testing.assert_array_equal(total.sums, federation.expected(in_sum))
    assert total.survivors == len(in_sum)


@settings(max_examples=4, deadline=None)
@given(devices=st.integers(65, 80), data=st.data())
def test_drop_outs_on_a_random_graph(devices: int, data: st.DataObject) -> None:
    """Within the policy at every stage together: at most a tenth."""
    federation = federation_of(devices, 32, dropout=0.1)
    lost = data.draw(st.permutations(range(devices)))[: devices // 10]
    leaves = {device: data.draw(st.sampled_from(list(Stage)[1:])) for device in lost}
    federation.run(
        replies=lambda at, device, message: (
            None if device in leaves and list(Stage).index(at) >= list(Stage).index(leaves[device]) else message
        )
    )
    in_sum = [device for device in range(devices) if leaves.get(device) in {None, Stage.CONSISTENCY, Stage.UNMASK}]
    [total] = federation.server.totals()
    assert not federation.server.shards[0].cohort.params.complete
    np.testing.assert_array_equal(total.sums, federation.expected(in_sum))


@pytest.mark.parametrize("bits", [8, 10, 12, 16, 21, 32])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_edge_of_the_modulus(bits: int, sign: int, beyond: int) -> None:
    """The largest and the smallest sum are exact; one more wraps, and moves its neighbour in the word by one."""
    policy = AggregationPolicy(corrupt_fraction=0.0, max_dropouts=0, min_survivors=2, modulus_bits=bits)
    task = silent_task(dimension=2, aggregation=policy, participation=_of(3))
    federation, edge = Federation(3, task=task), 1 << (bits - 1)
    most = edge - 1 if sign > 0 else edge
    federation.inputs = [np.array([sign * (most - 2), 0]), np.array([sign, 0]), np.array([sign * (1 + beyond), 0])]
    federation.run()
    [total] = federation.server.totals()
    assert total.sums[0] == sign * most - beyond * sign * 2 * edge + beyond * sign
    assert abs(total.sums[1]) <= beyond


def _of(devices: int) -> BoundedParticipation:
    return BoundedParticipation(cohort=devices, max_participations=1)


@pytest.mark.parametrize("stage", Stage)
def test_one_device_lost_at_each_stage(stage: Stage) -> None:
    federation = Federation(10)
    federation.run(replies=lambda at, device, message: None if (at, device) == (stage, 4) else message)
    lost_before_input = stage in {Stage.ADVERTISE, Stage.SHARE, Stage.INPUT}
    survivors = [i for i in range(10) if not (lost_before_input and i == 4)]
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(survivors))


def test_too_few_survivors_end_the_round_before_anything_is_unmasked(federation: Federation) -> None:
    with pytest.raises(Aborted, match=r"input: expected at least 7 devices, got 6"):
        federation.run(replies=lambda at, device, message: None if at is Stage.INPUT and device < 4 else message)
    with pytest.raises(Aborted, match="total was asked for"):
        federation.server.totals()


@pytest.mark.parametrize("bits", [8, 16, 21, 32])
def test_masked_vectors_do_not_show_the_input(bits: int) -> None:
    """An update of zeros, byte by byte, at 1e-6."""
    policy = AggregationPolicy(corrupt_fraction=0.0, max_dropouts=0, min_survivors=2, modulus_bits=bits)
    federation = Federation(3, task=silent_task(dimension=1000, aggregation=policy, participation=_of(3)))
    federation.inputs = [np.zeros(1000, np.int64)] * 3
    seen: list[bytes] = []

    def record(stage: Stage, _device: int, message: bytes) -> bytes:
        if stage is Stage.INPUT:
            seen.append(message[9:])
        return message

    federation.run(replies=record)
    assert len(seen) == 3
    for body in seen:
        counts = np.bincount(np.frombuffer(body, np.uint8), minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-6
    assert not federation.server.totals()[0].sums.any()


def test_second_and_unasked_replies_are_rejected(federation: Federation) -> None:
    reply = federation.answer(Stage.ADVERTISE, 0, federation.server.requests()[0].body) or b""
    federation.server.receive(0, reply)
    with pytest.raises(Rejected, match="second"):
        federation.server.receive(0, reply)
    with pytest.raises(Rejected, match="not asked"):
        federation.server.receive(99, reply)
    later = Federation(10)
    later.run(until=Stage.ADVERTISE)
    with pytest.raises(Rejected, match="not asked"):
        later.server.receive(99, reply)


@pytest.mark.parametrize("devices", [5, 131])
def test_state_survives_a_change_of_process(devices: int) -> None:
    federation = federation_of(devices, 32)
    for stage in Stage:
        federation.exchange(stage)
        federation.server.advance()
        for device in range(devices):
            fresh = federation.client(device)
            fresh.resume(federation.clients[device].snapshot())
            federation.clients[device] = fresh
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(range(devices)))


def test_a_device_gives_one_input_and_then_no_other(federation: Federation) -> None:
    federation.run(until=Stage.INPUT)
    with pytest.raises(Refused, match="stage input at stage echo"):
        federation.clients[0].masked_input(Encoded(federation.inputs[0]))
    with pytest.raises(Refused, match="over"):
        federation.clients[0].check_consistency(b"")


def test_neither_after_a_restart(federation: Federation) -> None:
    federation.run(until=Stage.SHARE)
    request = federation.server.requests()[0].body
    federation.step(Stage.INPUT, 0, request)
    again = federation.client(0)
    again.resume(federation.clients[0].snapshot())
    with pytest.raises(Refused, match="a request of stage input at stage echo"):
        again.open_input(request)


def test_shards_are_drawn_by_lot_and_summed_apart() -> None:
    policy = AggregationPolicy(corrupt_fraction=0.05, max_dropouts=3, min_survivors=4, modulus_bits=32, shards=3)
    federation = Federation(40, task=make_task(aggregation=policy, participation=_of(40)))
    federation.run()
    totals = federation.server.totals()
    lots = [federation.server.header.shard_of(client._certificate, 3) for client in federation.clients]
    assert [total.survivors for total in totals] == [lots.count(number) for number in range(3)]
    for number, total in enumerate(totals):
        members = [device for device, lot in enumerate(lots) if lot == number]
        np.testing.assert_array_equal(total.sums, federation.expected(members))


def test_secrets_do_not_show(federation: Federation) -> None:
    federation.run(until=Stage.SHARE)
    client = federation.clients[0]
    state = client._state
    assert state is not None
    own = state.secrets
    federation.exchange(Stage.INPUT)
    assert state.own is None
    secrets = [own.self_secret, own.mask.secret, *(part for pair in state.held.values() for part in pair)]
    shown = f"{client!r} {state!r} {client._own!r} {client._agreements!r} {federation.server!r}"
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
