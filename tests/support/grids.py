"""A Flower grid without Flower: devices are functions, and the test decides when their replies can be pulled."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.app.metadata import Metadata
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

Device = Callable[[Message], list[Message]]
"""A request to the replies it causes: none, one or, from a device that misbehaves, several."""


@dataclass
class FakeGrid(Grid):
    """Replies can be pulled at once, and twice when a device sent two.

    What Flower's abstract class asks for beyond pushing and pulling is never called here, and raises if it ever is.
    """

    devices: dict[int, Device]
    pushed: list[Message] = field(default_factory=list)
    largest_pull: int = 0
    on_pull: Callable[[Sequence[str]], None] = lambda _: None

    def __post_init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
        self._replies: dict[str, list[Message]] = {}
        self._ids = itertools.count()

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return reversed(self.devices)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._accept(message) for message in messages if message.metadata.dst_node_id in self.devices]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ids = list(message_ids)
        self.largest_pull = max(self.largest_pull, len(ids))
        self.on_pull(ids)
        return [reply for message_id in ids for reply in self._replies.pop(message_id, [])]

    def _accept(self, message: Message) -> str:
        message.metadata.__dict__["_message_id"] = identifier = f"message-{next(self._ids)}"
        self.pushed.append(message)
        self._replies[identifier] = self.devices[message.metadata.dst_node_id](message)
        return identifier


def echo(message: Message) -> list[Message]:
    return [reply(message, body_of(message) + common_of(message))]


def body_of(message: Message) -> bytes:
    """A reply, or a request's own part."""
    return _bytes_of(message, "havenfl")


def common_of(message: Message) -> bytes:
    return _bytes_of(message, "havenfl.common")


def request_content(own: bytes, common: bytes) -> RecordDict:
    return RecordDict({"havenfl": ConfigRecord({"body": own}), "havenfl.common": ConfigRecord({"body": common})})


def _bytes_of(message: Message, record: str) -> bytes:
    body = message.content.config_records[record]["body"]
    if not isinstance(body, bytes):
        raise TypeError("expected bytes")
    return body


def reply(message: Message, body: object) -> Message:
    return Message(RecordDict({"havenfl": ConfigRecord({"body": body})}), reply_to=message)  # type: ignore[dict-item]


def superlink_error(message: Message, reason: str) -> Message:
    """What a SuperLink writes in the stead of a device; it comes from node 1."""
    metadata = message.metadata
    return make_message(
        metadata=Metadata(
            run_id=metadata.run_id,
            message_id="",
            src_node_id=1,
            dst_node_id=1,
            reply_to_message_id=metadata.message_id,
            group_id="",
            created_at=metadata.created_at,
            ttl=metadata.ttl,
            message_type="system",
        ),
        error=Error(5, reason),
    )


def node_context(partition: int = 0) -> Context:
    return Context(
        run_id=1,
        node_id=partition + 100,
        node_config={"partition-id": partition, "num-partitions": 3},
        state=RecordDict(),
        run_config={"name": "value"},
    )
