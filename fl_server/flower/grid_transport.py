"""Devices behind a Flower SuperLink. The only module of the server that knows flwr."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread

import httpx
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from fl_server.training.transport import NodeId, Reply
from privacy.secagg import Request
from privacy.secagg.messages import BODY_FIELD, COMMON_RECORD, ENVELOPE_TYPE_PREFIX, OWN_RECORD

_log = logging.getLogger(__name__)

RunConfig = Mapping[str, bool | float | int | str]

_PUSHED_AT_ONCE = 16
_PULLED_AT_ONCE = 4
"""How many replies one pull asks for. They are whole models: few at a time bounds memory, and how many wait behind an
upload that was broken off."""
_PULLS_AT_ONCE = 4
_SLOW_PULL_TIMEOUT_S = 5.0
"""How long a pull counts among those at once, and so holds up the others. A device that dies in the middle of an upload
blocks its pull for 180 s: flwr waits for the rest of the reply until the upload's session expires."""


class NotEnoughDevices(TimeoutError):
    """Fewer devices are connected than a round needs."""


class GridTransport:
    """A transport over flwr's Message API: one message a device and stage.

    Implements `fl_server.training.transport.Transport`. Requests expire with their stage, so that no device works on a
    round that has gone on without it.
    """

    def __init__(self, grid: Grid, poll_interval: float = 0.5, clock: Callable[[], float] = time.monotonic) -> None:
        """Make a transport; nothing is sent yet.

        Args:
            grid: flwr's connection to the SuperLink.
            poll_interval: seconds between two looks for the same reply.
            clock: seconds, monotonic.

        Raises:
            ValueError: when the interval is not above 0.
        """
        if poll_interval <= 0:
            raise ValueError(f"poll_interval: expected seconds above 0, got {poll_interval}")
        self._grid = grid
        self._poll_interval = poll_interval
        self._clock = clock

    def nodes(self) -> list[NodeId]:
        """Return the devices that are connected now, in ascending order."""
        return sorted(self._grid.get_node_ids())

    def wait_for_nodes(self, count: int, timeout: float) -> None:
        """Return once `count` devices are connected.

        Raises:
            NotEnoughDevices: when fewer are after `timeout` seconds.
        """
        deadline = self._clock() + timeout
        while (connected := len(self.nodes())) < count:
            if self._clock() >= deadline:
                raise NotEnoughDevices(
                    f"expected {count} connected devices within {timeout:g} s, got {connected}: "
                    "start more devices or lower the cohort"
                )
            time.sleep(self._poll_interval)

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:
        """Send each device its request, and yield replies as they come; see `Transport.exchange`."""
        deadline = self._clock() + timeout
        waiting, refused = self._push(stage, requests, timeout)
        yield from (Reply(node, None, "unknown to the SuperLink") for node in refused)
        pulls = _Pulls(self._grid, self._poll_interval, self._clock)
        while waiting and (left := deadline - self._clock()) > 0:
            for message in pulls.next(waiting, min(left, self._poll_interval)):
                node = waiting.pop(message.metadata.reply_to_message_id, None)
                if node is not None and self._clock() < deadline and _is_from(message, node):
                    yield _reply(node, message)

    def _push(
        self, stage: str, requests: Mapping[NodeId, Request], ttl: float
    ) -> tuple[dict[str, NodeId], Sequence[NodeId]]:
        """Send all messages.

        Returns:
            The device of each message id, and the devices that the SuperLink took no message for.
        """
        waiting: dict[str, NodeId] = {}
        items = iter(requests.items())
        while batch := dict(islice(items, _PUSHED_AT_ONCE)):
            messages = [_message(stage, node, request, ttl) for node, request in batch.items()]
            accepted = set(self._grid.push_messages(messages))
            waiting |= {
                message.metadata.message_id: message.metadata.dst_node_id
                for message in messages
                if message.metadata.message_id in accepted
            }
        return waiting, [node for node in requests if node not in set(waiting.values())]


class _Pulls:
    """Requests for replies, in threads of their own: one broken upload must not hold up the other devices."""

    def __init__(self, grid: Grid, poll_interval: float, clock: Callable[[], float]) -> None:
        self._grid = grid
        self._poll_interval = poll_interval
        self._clock = clock
        self._finished: SimpleQueue[tuple[tuple[str, ...], list[Message] | httpx.HTTPError]] = SimpleQueue()
        self._running: dict[tuple[str, ...], float] = {}
        self._not_before: dict[str, float] = {}

    def next(self, waiting: Iterable[str], timeout: float) -> list[Message]:
        """Return the replies of the next pull to finish; none when it brought none or `timeout` seconds passed.

        Raises:
            httpx.HTTPError: when the SuperLink refuses; while it cannot be reached, flwr itself tries again.
        """
        self._start(waiting)
        try:
            ids, result = self._finished.get(timeout=timeout)
        except Empty:
            return []
        del self._running[ids]
        if isinstance(result, httpx.HTTPError):
            raise result
        self._not_before |= dict.fromkeys(ids, self._clock() + self._poll_interval)
        return result

    def _start(self, waiting: Iterable[str]) -> None:
        now = self._clock()
        busy = {message_id for ids in self._running for message_id in ids}
        due = (
            message_id
            for message_id in waiting
            if message_id not in busy and self._not_before.get(message_id, now) <= now
        )
        slots = _PULLS_AT_ONCE - sum(now - started < _SLOW_PULL_TIMEOUT_S for started in self._running.values())
        for _ in range(slots):
            if ids := tuple(islice(due, _PULLED_AT_ONCE)):
                self._running[ids] = now
                # A daemon: it may outlive its stage by minutes, and must not keep the process from ending.
                Thread(target=self._pull, args=(ids,), name="fl-pull", daemon=True).start()

    def _pull(self, ids: tuple[str, ...]) -> None:
        try:
            self._finished.put((ids, list(self._grid.pull_messages(ids))))
        except httpx.HTTPError as error:
            self._finished.put((ids, error))
        except Exception as error:  # whatever one device managed to upload must not end the run
            _log.warning("a reply cannot be read, its device drops out: %s", type(error).__name__)
            self._finished.put((ids, []))


def server_app(main: Callable[[GridTransport, RunConfig], None]) -> ServerApp:
    """Make a Flower ServerApp that hands `main` the transport and the run's configuration, and ends when it returns."""
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        main(GridTransport(grid), context.run_config)

    return app


def _message(stage: str, node: NodeId, request: Request, ttl: float) -> Message:
    """Make a message whose common part is a record of its own: flwr stores equal records once."""
    own, common = ConfigRecord({BODY_FIELD: request.own}), ConfigRecord({BODY_FIELD: request.common})
    content = RecordDict({OWN_RECORD: own, COMMON_RECORD: common})
    return Message(content, dst_node_id=node, message_type=f"{ENVELOPE_TYPE_PREFIX}{stage}", ttl=ttl)


def _is_from(message: Message, node: NodeId) -> bool:
    """Tell whether a message counts as this device's: a body must be from itself, an error may be the SuperLink's."""
    return message.has_error() or message.metadata.src_node_id == node


def _reply(node: NodeId, message: Message) -> Reply:
    if message.has_error():
        return Reply(node, None, message.error.reason or f"error {message.error.code}")
    records = message.content.config_records if message.has_content() else {}
    body = records[OWN_RECORD].get(BODY_FIELD) if OWN_RECORD in records else None
    if not isinstance(body, bytes):
        return Reply(node, None, "expected a reply with a body of bytes, got none")
    return Reply(node, body)
