"""The embedded node against a connection in this process, and the ClientApp without Ray."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flwr.app import ConfigRecord, Message, RecordDict

from fl_client.connection import node as node_module
from fl_client.connection.flower import FleetConnection, NodeContext, client_app
from fl_client.connection.node import EmbeddedNode, NodeError, NotAdmitted, Unreachable, Withdrawn
from fl_client.device.files import DeviceDirectory
from fl_server.enrolment.pki import make_loopback_tls
from privacy.secagg import Refused
from tests.support.eventually import eventually
from tests.support.grids import FakeGrid, body_of, node_context, request_content

PRIVATE = "the user's own words"
SOON = 60.0
"""Seconds that nothing here takes, on however busy a machine."""


@dataclass
class Request:
    """One request, and what became of it."""

    stage: str
    body: bytes
    done: SimpleQueue[tuple[str, object]]
    failures: list[Exception] = field(default_factory=list)
    lifetime: float = SOON

    def open(self) -> tuple[str, bytes]:
        self._fail()
        return self.stage, self.body

    def answer(self, body: bytes) -> None:
        self._fail()
        self.done.put(("answer", body))

    def refuse(self, reason: str) -> None:
        self._fail()
        self.done.put(("refuse", reason))

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


@dataclass
class FakeConnection:
    """Hands out what is in `inbox`, and raises what is in `troubles` first."""

    heartbeat_interval: float = 0.02
    troubles: dict[str, list[Exception]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    inbox: SimpleQueue[Request] = field(default_factory=SimpleQueue)
    done: SimpleQueue[tuple[str, object]] = field(default_factory=SimpleQueue)

    def ask(self, stage: str, body: bytes, *failures: Exception) -> None:
        self.inbox.put(Request(stage, body, self.done, list(failures)))

    def activate(self) -> None:
        self._called("activate")

    def heartbeat(self) -> None:
        self._called("heartbeat")

    def receive(self) -> Request | None:
        self._called("receive")
        try:
            return self.inbox.get_nowait()
        except Empty:
            return None

    def deactivate(self) -> None:
        self._called("deactivate")

    def close(self) -> None:
        self._called("close")

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.troubles.get(name):
            raise self.troubles[name].pop(0)


class Handler:
    def __init__(self, answer: Callable[[str, bytes], bytes] = lambda stage, body: stage.encode() + body) -> None:
        self.handle = answer


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "_FIRST_RETRY_INTERVAL_S", 0.001)
    monkeypatch.setattr(node_module, "_ADMISSION_INTERVAL_S", 0.001)


@contextmanager
def running(connection: FakeConnection, handler: Handler | None = None) -> Iterator[EmbeddedNode]:
    node = EmbeddedNode(connection, handler or Handler(), poll_interval=0.005)
    node.start()
    yield node
    assert node.stop(SOON)


def test_answers_in_order_with_one_handler() -> None:
    connection = FakeConnection()
    with running(connection):
        connection.ask("share", b"1")
        connection.ask("input", b"2")
        assert connection.done.get(timeout=SOON) == ("answer", b"share1")
        assert connection.done.get(timeout=SOON) == ("answer", b"input2")


def test_signs_off_and_ends_every_thread() -> None:
    connection = FakeConnection()
    before = threading.active_count()
    with running(connection) as node:
        eventually(lambda: "heartbeat" in connection.calls)
    assert connection.calls[-2:] == ["deactivate", "close"]
    assert (node.alive, node.error, threading.active_count()) == (False, None, before)


def test_killed_it_falls_silent_without_signing_off() -> None:
    connection = FakeConnection()
    working, go_on = threading.Event(), threading.Event()

    def slow(stage: str, body: bytes) -> bytes:  # noqa: ARG001
        working.set()
        go_on.wait(SOON)
        return b"never sent"

    with running(connection, Handler(slow)) as node:
        connection.ask("input", b"")
        assert working.wait(SOON)
        node.kill()
        go_on.set()
    assert connection.done.empty()
    assert "deactivate" not in connection.calls


def test_a_refusal_is_sent_in_its_own_words() -> None:
    def refuse(stage: str, body: bytes) -> bytes:  # noqa: ARG001
        raise Refused("round 3 is not after round 3")

    connection = FakeConnection()
    with running(connection, Handler(refuse)):
        connection.ask("advertise", b"")
        assert connection.done.get(timeout=SOON) == ("refuse", "round 3 is not after round 3")


def test_a_failure_tells_neither_server_nor_log_what_it_was_about(caplog: pytest.LogCaptureFixture) -> None:
    def fail(stage: str, body: bytes) -> bytes:  # noqa: ARG001
        raise KeyError(PRIVATE)

    connection = FakeConnection()
    with caplog.at_level("DEBUG"), running(connection, Handler(fail)) as node:
        connection.ask("input", b"")
        assert connection.done.get(timeout=SOON) == ("refuse", "failed: KeyError")
        assert node.alive
    assert PRIVATE not in caplog.text


@pytest.mark.parametrize("call", ["activate", "receive"])
def test_an_unreachable_server_is_tried_again(call: str) -> None:
    connection = FakeConnection(troubles={call: [Unreachable("down")] * 4})
    with running(connection):
        connection.ask("share", b"")
        assert connection.done.get(timeout=SOON) == ("answer", b"share")


def test_an_answer_is_sent_again_until_it_arrives() -> None:
    connection = FakeConnection()
    with running(connection):
        connection.ask("share", b"", Unreachable("down"), Unreachable("down"))
        assert connection.done.get(timeout=SOON) == ("answer", b"share")


@pytest.mark.parametrize("trouble", [Withdrawn("the run is over"), NodeError("400")])
def test_a_request_that_cannot_be_answered_does_not_end_the_node(trouble: Exception) -> None:
    connection = FakeConnection()
    with running(connection) as node:
        connection.ask("share", b"lost", trouble)
        connection.ask("share", b"next")
        assert connection.done.get(timeout=SOON) == ("answer", b"sharenext")
        assert node.alive


def test_a_predecessor_that_counts_as_online_is_waited_for() -> None:
    connection = FakeConnection(troubles={"activate": [NotAdmitted("already online")] * 3})
    with running(connection):
        eventually(lambda: "receive" in connection.calls)
    assert connection.calls[:4] == ["activate"] * 4


def test_waiting_for_admission_ends_after_90_seconds() -> None:
    now = iter(range(0, 1000, 40))
    connection = FakeConnection(troubles={"activate": [NotAdmitted("already online")] * 100})
    node = EmbeddedNode(connection, Handler(), clock=lambda: float(next(now)))
    node.start()
    eventually(lambda: not node.alive)
    assert isinstance(node.error, NotAdmitted)


@pytest.mark.parametrize("error", [NodeError("unknown key"), SystemExit(1)])
def test_an_error_ends_the_node_and_not_its_host(error: Exception) -> None:
    connection = FakeConnection(troubles={"receive": [error]})
    with running(connection) as node:
        eventually(lambda: not node.alive)
        assert node.error is error
    assert connection.calls[-1] == "close"


def test_trouble_with_the_heartbeat_does_not_end_the_node() -> None:
    connection = FakeConnection(troubles={"heartbeat": [Unreachable("down"), NodeError("unknown")]})
    with running(connection) as node:
        eventually(lambda: connection.calls.count("heartbeat") > 3)
        assert node.alive


def test_stop_interrupts_a_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "_FIRST_RETRY_INTERVAL_S", 10 * SOON)
    connection = FakeConnection(troubles={"activate": [Unreachable("down")]})
    with running(connection):
        eventually(lambda: "activate" in connection.calls)
    assert connection.calls == ["activate", "deactivate", "close"]


def test_a_node_that_never_started_can_be_stopped() -> None:
    assert EmbeddedNode(FakeConnection(), Handler()).stop()


class Counter:
    """Counts its messages across processes; refuses the second."""

    def __init__(self, context: NodeContext) -> None:
        self.context = context
        self.count = int(context.state or b"0")

    def handle(self, stage: str, request: bytes) -> bytes:
        self.count += 1
        if self.count == 2:
            raise Refused("the second")
        return b"%s %d %d %s" % (stage.encode(), self.context.partition_id, self.count, request)

    def snapshot(self) -> bytes:
        return str(self.count).encode()


def message_to(stage: str, content: RecordDict) -> Message:
    FakeGrid({})  # makes messages possible outside Flower
    return Message(content, dst_node_id=100, message_type=f"train.{stage}", ttl=5.0)


def test_a_simulated_device_keeps_its_state_also_when_it_refuses() -> None:
    app, context = client_app(Counter), node_context(partition=2)
    content = request_content(b"x", b"y")
    replies = [app(message_to(stage, content), context) for stage in ("advertise", "share", "unmask")]
    assert body_of(replies[0]) == b"advertise 2 1 xy"
    assert replies[1].error.reason == "the second"
    assert body_of(replies[2]) == b"unmask 2 3 xy"


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"havenfl": ConfigRecord({"body": b"own"})}),
        RecordDict({"havenfl.common": ConfigRecord({"body": b"common"})}),
        RecordDict({"havenfl": ConfigRecord({"body": b"own"}), "havenfl.common": ConfigRecord({"body": "text"})}),
        RecordDict({"havenfl": ConfigRecord({"body": b"own"}), "havenfl.common": ConfigRecord({})}),
    ],
)
def test_a_message_without_one_of_its_parts_is_an_error_and_not_a_crash(content: RecordDict) -> None:
    """It is withdrawn before the device has seen anything of it."""
    context = node_context()
    answer = client_app(Counter)(message_to("share", content), context)
    assert answer.error.reason == "failed: Withdrawn"
    assert context.state.config_records["havenfl"]["snapshot"] == b"0"


def test_state_does_not_show() -> None:
    assert PRIVATE not in repr(NodeContext(0, 1, {}, PRIVATE.encode()))


@pytest.mark.parametrize("address", ["localhost", "localhost:x", "https://localhost:1", "localhost:1/v1", ""])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(NodeError, match="superlink: expected HOST:PORT"):
        FleetConnection(address, tmp_path / "ca.crt", tmp_path / "node.key")


def test_key_and_certificates_are_checked_before_anything_starts(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = make_loopback_tls(tmp_path, now).authority
    key = DeviceDirectory.create(tmp_path / "device").node_key
    FleetConnection("127.0.0.1:1", authority, key).close()
    with pytest.raises(NodeError, match=r"node_key: .*missing"):
        FleetConnection("127.0.0.1:1", authority, tmp_path / "missing")
    with pytest.raises(NodeError, match=r"node_key: .*ca.crt"):
        FleetConnection("127.0.0.1:1", authority, authority)
    with pytest.raises(NodeError, match=r"root_certificates: .*node.key"):
        FleetConnection("127.0.0.1:1", key, key)


def test_another_kind_of_key_is_refused_with_advice(tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    (tmp_path / "node").write_bytes(other)
    with pytest.raises(NodeError, match="ssh-keygen -t ecdsa"):
        FleetConnection("127.0.0.1:1", tmp_path / "node", tmp_path / "node")


def test_importing_the_node_needs_no_flower() -> None:
    """A host application may look at its node's state without paying for flwr."""
    code = "import sys, fl_client.connection.node; assert 'flwr' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
