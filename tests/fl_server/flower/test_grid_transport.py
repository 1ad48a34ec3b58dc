"""`GridTransport` against a grid in this process; `tests/e2e` runs the same against a SuperLink."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from threading import Event, Lock

import httpx
import pytest
from flwr.app import Message, RecordDict

from fl_server.flower.grid_transport import GridTransport, NotEnoughDevices
from fl_server.training.transport import Reply
from privacy.secagg import Request
from tests.support.grids import FakeGrid, body_of, common_of, echo, reply, superlink_error

NOTHING = Request(b"", b"")
TWO = {1: Request(b"a", b""), 2: Request(b"b", b"")}


TIMEOUT = 1000.0
"""Of a stage, in the seconds of a `Clock`."""


class Clock:
    """Advances by a millisecond at each look at it, and by as much as a test says: never by itself."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = Lock()

    def __call__(self) -> float:
        with self._lock:
            self._now += 0.001
            return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


class LastPull:
    """Lets the clock pass the deadline in the pull of that number, from 1."""

    def __init__(self, clock: Clock, number: int) -> None:
        self.clock = clock
        self.left = number

    def __call__(self, ids: Sequence[str]) -> None:  # noqa: ARG002
        self.left -= 1
        if not self.left:
            self.clock.advance(TIMEOUT)


def transport(grid: FakeGrid, clock: Clock | None = None) -> GridTransport:
    return GridTransport(grid, poll_interval=0.01, clock=clock or Clock())


def test_every_device_gets_its_own_request_and_answers_once() -> None:
    grid = FakeGrid(dict.fromkeys(range(100), echo))
    requests = {node: Request(f"for {node}".encode(), b" and all") for node in range(0, 100, 2)}
    replies = list(transport(grid).exchange("share", requests, TIMEOUT))
    assert {answer.node: answer.body for answer in replies} == {
        node: request.body for node, request in requests.items()
    }
    assert len(replies) == len(requests)


def test_requests_carry_the_stage_and_expire_with_it() -> None:
    grid = FakeGrid({7: echo})
    list(transport(grid).exchange("unmask", {7: NOTHING}, timeout=12.5))
    assert [(m.metadata.message_type, m.metadata.ttl) for m in grid.pushed] == [("train.unmask", 12.5)]


def test_nodes_are_in_ascending_order() -> None:
    assert transport(FakeGrid(dict.fromkeys((1, 5, 9), echo))).nodes() == [1, 5, 9]


def test_replies_come_while_others_are_still_working() -> None:
    slow: list[Message] = []
    grid = FakeGrid({1: echo, 2: lambda message: slow.append(message) or []})
    replies = transport(grid).exchange("input", TWO, TIMEOUT)
    assert next(replies) == Reply(1, b"a")
    grid._replies[slow[0].metadata.message_id] = [reply(slow[0], b"late")]
    assert next(replies) == Reply(2, b"late")


def test_a_silent_device_is_given_up_at_the_deadline() -> None:
    clock = Clock()
    grid = FakeGrid({1: echo, 2: lambda _: []})
    replies = transport(grid, clock).exchange("input", TWO, TIMEOUT)
    assert next(replies) == Reply(1, b"a")
    clock.advance(0.9 * TIMEOUT)
    grid.on_pull = last = LastPull(clock, 1)
    assert list(replies) == []
    assert last.left == 0, "it was asked once more just before the deadline"


def test_a_second_reply_is_never_yielded() -> None:
    clock = Clock()
    grid = FakeGrid({1: lambda message: [reply(message, b"first"), reply(message, b"second")], 2: lambda _: []})
    grid.on_pull = LastPull(clock, 2)
    assert list(transport(grid, clock).exchange("input", {1: NOTHING, 2: NOTHING}, TIMEOUT)) == [Reply(1, b"first")]


def test_a_reply_in_another_devices_name_is_never_yielded() -> None:
    def impostor(message: Message) -> list[Message]:
        forged = reply(message, b"forged")
        forged.metadata.__dict__["_src_node_id"] = 2
        return [forged]

    assert list(transport(FakeGrid({1: impostor})).exchange("input", {1: NOTHING}, TIMEOUT)) == []


def test_a_reply_to_an_unknown_message_is_never_yielded() -> None:
    def stray(message: Message) -> list[Message]:
        unrelated = reply(message, b"stray")
        unrelated.metadata.__dict__["_reply_to_message_id"] = "somebody else's"
        return [unrelated]

    clock = Clock()
    grid = FakeGrid({1: stray}, on_pull=LastPull(clock, 2))
    assert list(transport(grid, clock).exchange("input", {1: NOTHING}, TIMEOUT)) == []


def test_a_late_reply_is_never_yielded() -> None:
    clock = Clock()
    grid = FakeGrid({1: echo}, on_pull=LastPull(clock, 1))
    assert list(transport(grid, clock).exchange("input", {1: NOTHING}, TIMEOUT)) == []


def test_errors_written_by_the_superlink_are_matched_to_their_device() -> None:
    grid = FakeGrid({1: lambda message: [superlink_error(message, "node unavailable")], 2: echo})
    replies = list(transport(grid).exchange("input", {1: NOTHING, 2: Request(b"b", b"")}, TIMEOUT))
    assert sorted(replies, key=lambda answer: answer.node) == [Reply(1, None, "node unavailable"), Reply(2, b"b")]


@pytest.mark.parametrize("body", ["text", 3, [b"x"]])
def test_a_reply_without_bytes_is_an_error_of_its_device(body: object) -> None:
    grid = FakeGrid({1: lambda message: [reply(message, body)]})
    assert [
        (answer.body, bool(answer.error)) for answer in transport(grid).exchange("input", {1: NOTHING}, TIMEOUT)
    ] == [(None, True)]


def test_a_reply_without_the_record_is_an_error_of_its_device() -> None:
    grid = FakeGrid({1: lambda message: [Message(RecordDict(), reply_to=message)]})
    assert [answer.body for answer in transport(grid).exchange("input", {1: NOTHING}, TIMEOUT)] == [None]


def test_a_device_unknown_to_the_superlink_does_not_hold_up_the_others() -> None:
    replies = list(transport(FakeGrid({1: echo})).exchange("input", TWO, TIMEOUT))
    assert sorted((answer.node, answer.body) for answer in replies) == [(1, b"a"), (2, None)]


def test_an_upload_that_was_broken_off_blocks_neither_the_others_nor_the_deadline() -> None:
    clock = Clock()
    hung, over, went_on = Event(), Event(), Event()

    def hang(ids: Sequence[str]) -> None:
        if "message-0" in ids:
            hung.set()
            over.wait(60)
            went_on.set()

    grid = FakeGrid(dict.fromkeys(range(50), echo), on_pull=hang)
    replies = transport(grid, clock).exchange("input", dict.fromkeys(range(50), NOTHING), TIMEOUT)
    assert len(list(islice(replies, 46))) == 46
    clock.advance(TIMEOUT)
    assert list(replies) == []
    assert hung.is_set()
    assert not went_on.is_set()
    over.set()


def test_a_reply_that_cannot_be_read_does_not_end_the_run() -> None:
    clock = Clock()
    last = LastPull(clock, 2)

    def corrupt(ids: Sequence[str]) -> None:
        last(ids)
        raise ValueError("bad object")

    grid = FakeGrid({1: echo}, on_pull=corrupt)
    assert list(transport(grid, clock).exchange("input", {1: NOTHING}, TIMEOUT)) == []


def test_a_superlink_that_refuses_ends_the_run() -> None:
    def refuse(ids: Sequence[str]) -> None:  # noqa: ARG001
        raise httpx.HTTPError("not this run")

    with pytest.raises(httpx.HTTPError, match="not this run"):
        list(transport(FakeGrid({1: echo}, on_pull=refuse)).exchange("input", {1: NOTHING}, TIMEOUT))


def test_few_replies_are_held_at_a_time() -> None:
    grid = FakeGrid(dict.fromkeys(range(200), echo))
    replies = transport(grid).exchange("input", dict.fromkeys(range(200), NOTHING), TIMEOUT)
    next(replies)
    pulled = 200 - sum(bool(waiting) for waiting in grid._replies.values())
    assert pulled <= 32
    assert grid.largest_pull <= 4


def test_requests_reach_devices_unchanged_and_in_two_parts() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def watched(message: Message) -> list[Message]:
        seen.append((body_of(message), common_of(message)))
        return echo(message)

    grid = FakeGrid({1: watched})
    request = Request(bytes(range(256)) * 1000, b"\xff" * 70_000)
    assert list(transport(grid).exchange("input", {1: request}, TIMEOUT)) == [Reply(1, request.own + request.common)]
    assert seen == [(request.own, request.common)]


def test_the_common_part_is_held_once_for_all_devices_and_stored_once() -> None:
    """It is the model: a message of one's own for each device must not mean a copy for each."""
    grid = FakeGrid(dict.fromkeys(range(40), echo))
    model = bytes(1_000_000)
    requests = {node: Request(str(node).encode(), model) for node in range(40)}
    list(transport(grid).exchange("input", requests, TIMEOUT))
    parts = [message.content.config_records["havenfl.common"] for message in grid.pushed]
    assert {id(part["body"]) for part in parts} == {id(model)}
    assert len({part.object_id for part in parts}) == 1
    own = [message.content.config_records["havenfl"].object_id for message in grid.pushed]
    assert len(set(own)) == 40


def test_waiting_for_devices_says_how_many_are_missing() -> None:
    with pytest.raises(NotEnoughDevices, match="expected 3 connected devices within 0 s, got 1"):
        transport(FakeGrid({1: echo})).wait_for_nodes(3, timeout=0)


def test_waiting_ends_when_devices_are_there() -> None:
    grid = FakeGrid({})
    grid.devices |= {1: echo}
    transport(grid).wait_for_nodes(1, timeout=0)


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_the_poll_interval_is_checked(seconds: float) -> None:
    with pytest.raises(ValueError, match="poll_interval"):
        GridTransport(FakeGrid({}), poll_interval=seconds)
