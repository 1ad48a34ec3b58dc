"""Requests and replies in any order, any number of times: a device says no more, and the sum stays exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from hypothesis import given, settings, strategies as st

from privacy.secagg import Aborted, Client, Refused, Rejected, Stage
from privacy.secagg.messages import CONSISTENCY_DOMAIN, Members, Survivors, decode_revealed, encode_consistency_checks
from tests.support.federation import Federation
from tests.support.hostile import place

DEVICES = 5
Step = tuple[Stage, str]
"""A stage, and which of two stories the server tells in it."""
RESTART = "restart"


# -- a device


@dataclass(frozen=True)
class Requests:
    """What device 0 is sent in one round, with and without device 4 among the survivors."""

    by_step: dict[Step, bytes]
    held: dict[int, tuple[bytes, bytes]]


@lru_cache(maxsize=1)
def recorded() -> Requests:
    federation, requests = Federation(DEVICES), dict[Step, bytes]()
    for stage in Stage:
        if stage is Stage.CONSISTENCY:
            state = federation.clients[0]._state
            assert state is not None
            held = dict(state.held)
        requests[stage, "true"] = federation.server.requests()[0].body
        federation.exchange(stage)
        federation.server.advance()
    fewer = Survivors(Members(tuple(device for device in range(DEVICES) if device != place(federation, 4))))
    statement = federation.server.shards[0].cohort.consistency_statement(fewer.signed_survivors)
    checks = {
        place(federation, device): federation.keys(device).identity.sign(CONSISTENCY_DOMAIN, statement)
        for device in range(4)
    }
    requests[Stage.CONSISTENCY, "other"] = fewer.encode()
    requests[Stage.UNMASK, "other"] = encode_consistency_checks(checks)
    return Requests(requests, held)


STEPS = [*((stage, "true") for stage in Stage), (Stage.CONSISTENCY, "other"), (Stage.UNMASK, "other")]


def ahead(steps: Sequence[Step]) -> st.SearchStrategy[list[Step | str]]:
    """Sequences that often get far: repetitions, jumps and restarts in the order of a round."""
    anything: list[Step | str] = [*steps, RESTART]
    wild = st.lists(st.sampled_from(anything), max_size=3)
    return st.tuples(*(st.tuples(st.just(step), wild) for step in steps)).map(
        lambda parts: [item for step, more in parts for item in (step, *more)]
    )


def honest(told: str) -> list[Step]:
    return [*((stage, "true") for stage in list(Stage)[:3]), (Stage.CONSISTENCY, told), (Stage.UNMASK, told)]


SEQUENCES = st.one_of(
    st.lists(st.sampled_from([*STEPS, RESTART]), max_size=12),
    ahead(honest("true")),
    ahead(honest("other")),
    st.sampled_from(["true", "other"]).map(honest),
)


def answers(federation: Federation, sequence: Sequence[Step | str]) -> list[tuple[Stage, bytes]]:
    """What device 0 gives for them; after the first refusal it must be wiped, and refuse all else."""
    given_, refused = list[tuple[Stage, bytes]](), False
    for step in sequence:
        if isinstance(step, str):
            _restart(federation)
            continue
        try:
            reply = federation.step(step[0], 0, recorded().by_step[step])
        except Refused:
            refused = bool(given_)
            assert federation.clients[0].snapshot() == b""
        else:
            assert not refused
            given_.append((step[0], reply))
    return given_


def _restart(federation: Federation) -> None:
    """A device whose round is over has nothing to take up; what keeps it from a new one is its store."""
    if snapshot := federation.clients[0].snapshot():
        again: Client = federation.client(0)
        again.resume(snapshot)
        federation.clients[0] = again


@settings(max_examples=150)
@given(SEQUENCES)
def test_no_order_of_requests_makes_a_device_say_more(sequence: list[Step | str]) -> None:
    given_ = answers(Federation(DEVICES), sequence)
    assert [stage for stage, _ in given_] == list(Stage)[: len(given_)]
    if len(given_) == len(Stage):
        revealed = decode_revealed(given_[-1][1])
        for dealer, share in revealed.items():
            assert share in recorded().held[dealer]
        assert len(given_[-1][1]) == len(b"".join(revealed.values())) + 4 * len(revealed) + 9


def test_both_stories_come_to_their_end_when_told_alone() -> None:
    """So that the sequences above are not refused for another reason."""
    ends = [dict(answers(Federation(DEVICES), honest(told)))[Stage.UNMASK] for told in ("true", "other")]
    assert ends[0] != ends[1]


# -- the server

Delivery = tuple[bool, list[tuple[int, str]]]
"""Whether everyone's reply comes in the end, and what comes before: a device, and what comes in its name."""

ARRIVALS = st.lists(
    st.tuples(st.integers(0, DEVICES - 1), st.sampled_from(["reply", "reply", "reply", "earlier", "garbage", "cut"])),
    max_size=3 * DEVICES,
)


@settings(max_examples=80)
@given(st.tuples(*[st.tuples(st.booleans(), ARRIVALS) for _ in Stage]))
def test_replies_in_any_order_give_the_exact_sum_or_an_abort(stages: tuple[Delivery, ...]) -> None:
    """Duplicates, replays of an earlier stage, garbage; in some stages everyone's reply comes at last.

    Once keys are exchanged, a device's first reply of a stage is its only one, whatever it holds. The round goes on
    for as long as no more of them are lost than may drop out.
    """
    federation, earlier, survivors = Federation(DEVICES), dict[int, bytes](), set[int]()
    arrived = set[int]()
    try:
        for stage, (complete, arrivals) in zip(Stage, stages, strict=True):
            requests = federation.server.requests()
            replies = {device: federation.step(stage, device, request.body) for device, request in requests.items()}
            arrived, heard = set[int](), set[int]()
            for device, kind in [*arrivals, *((device, "reply") for device in replies if complete)]:
                reply = replies.get(device, b"")
                body = {"reply": reply, "earlier": earlier.get(device, b""), "garbage": b"\xff" * 80, "cut": reply[:-1]}
                expected = kind == "reply" and device in replies and device not in heard
                assert _accepted(federation, device, body[kind]) == expected
                if expected:
                    arrived.add(device)
                if expected or stage is not Stage.ADVERTISE:
                    heard.add(device)
            survivors = arrived if stage is Stage.INPUT else survivors
            earlier = replies
            federation.server.advance()
        [total] = federation.server.totals()
    except Aborted:
        assert len(arrived) < federation.task.aggregation.required(DEVICES)
        return
    np.testing.assert_array_equal(total.sums, federation.expected(sorted(survivors)))


def _accepted(federation: Federation, device: int, body: bytes) -> bool:
    try:
        federation.server.receive(device, body)
    except Rejected:
        return False
    return True
