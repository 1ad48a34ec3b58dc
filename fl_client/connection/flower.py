"""Flower on the device: a ClientApp for Flower's own runtimes, and a connection for an `EmbeddedNode`.

The only module of the client that knows flwr. The connection rests on flwr's private Fleet client, for the public
SuperNode spawns a process per message and ends its host on errors; `tests/e2e/test_superlink_tls.py` pins it.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.clientapp import ClientApp
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    pull_and_inflate_object_from_tree,
    push_objects,
)
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fl_client.connection.node import Handler, NodeError, NotAdmitted, Unreachable, Withdrawn, reason_of
from privacy.secagg import Stage
from privacy.secagg.messages import BODY_FIELD, COMMON_RECORD, ENVELOPE_TYPE_PREFIX, OWN_RECORD

_STATE_FIELD = "snapshot"
_REFUSED = 2
"""flwr's `ErrorCode.CLIENT_APP_RAISED_EXCEPTION`."""
_HEARTBEAT_INTERVAL_S = 30.0
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"""Seconds for a SuperLink to take the connection, TLS included, and for each next piece of an answer; flwr has 30."""
_ADDRESS = re.compile(r"[^\s/:]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}")


@dataclass(frozen=True)
class NodeContext:
    """Which of the simulated devices is asked for, and what it left behind after its last message.

    Attributes:
        partition_id: the device's number, from 0.
        num_partitions: how many devices are simulated.
        run_config: the run's configuration, by key.
        state: what `ResumableHandler.snapshot` gave after its last message; None before the first.
    """

    partition_id: int
    num_partitions: int
    run_config: Mapping[str, bool | float | int | str]
    state: bytes | None = field(repr=False)


class ResumableHandler(Handler, Protocol):
    """A handler whose every message may find it in another process."""

    def snapshot(self) -> bytes:
        """Return all that the next message needs; it comes back as `NodeContext.state`."""
        ...


def client_app(handler_for: Callable[[NodeContext], ResumableHandler]) -> ClientApp:
    """Make a Flower ClientApp that builds its device anew for every message, as Flower's simulation requires.

    A refusal travels as an error reply and not as an exception, because flwr throws the state away with the latter.
    """
    app = ClientApp()

    def answer(message: Message, context: Context) -> Message:
        handler = handler_for(_node_context(context))
        try:
            body = handler.handle(_stage_of(message), _body_of(message))
        except Exception as error:  # a refusal, in whatever form
            return Message(Error(_REFUSED, reason_of(error)), reply_to=message)
        finally:
            context.state[OWN_RECORD] = ConfigRecord({_STATE_FIELD: handler.snapshot()})
        return Message(_content(body), reply_to=message)

    for stage in Stage:
        app.train(stage.value)(answer)
    return app


def _node_context(context: Context) -> NodeContext:
    return NodeContext(
        partition_id=int(context.node_config["partition-id"]),
        num_partitions=int(context.node_config["num-partitions"]),
        run_config=context.run_config,
        state=_bytes_in(context.state, _STATE_FIELD),
    )


class FleetConnection:
    """One node's HTTPS connection to a SuperLink, authenticated by the node's key.

    Implements `fl_client.connection.node.Connection`, and raises the errors that it names.
    """

    heartbeat_interval = _HEARTBEAT_INTERVAL_S

    def __init__(self, superlink: str, root_certificates: Path, node_key: Path) -> None:
        """Read the key and the certificates; connects to nothing yet.

        Args:
            superlink: host:port.
            root_certificates: PEM file of the authorities that may vouch for the SuperLink.
            node_key: OpenSSH file of an ECDSA private key whose public half the SuperLink knows.

        Raises:
            NodeError: when a file cannot be read or is not of its kind, or the address is none.
        """
        if not _ADDRESS.fullmatch(superlink):
            raise NodeError(f"superlink: expected HOST:PORT, without https://, got {superlink!r}")
        key = _load_key(node_key)
        self._client = FleetHttpClient.from_server_address(
            superlink,
            insecure=False,
            root_certificates=_load_certificates(root_certificates),
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
        )
        self._client._client.timeout = _TIMEOUT
        self._public_key = public_key_to_bytes(key.public_key())
        self._node = Node()

    def activate(self) -> None:
        """Tell the SuperLink that this node is online, and learn the node's number.

        Raises:
            NotAdmitted: when the SuperLink does not let this node in.
        """
        request = ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=self.heartbeat_interval)
        with _translated():
            self._node = Node(node_id=self._client.ActivateNode(request).node_id)

    def heartbeat(self) -> None:
        """Tell the SuperLink that this node is still online."""
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=self.heartbeat_interval)
        with _translated():
            self._client.SendNodeHeartbeat(request)

    def receive(self) -> FleetMessage | None:
        """Return the next message for this node, None when there is none."""
        with _translated():
            response = self._client.PullMessages(PullMessagesRequest(node=self._node))
        if not response.messages_list:
            return None
        metadata = response.messages_list[0].metadata
        return FleetMessage(self._client, self._node, metadata.run_id, metadata.ttl, response.message_object_trees[0])

    def deactivate(self) -> None:
        """Tell the SuperLink that this node goes offline."""
        with _translated():
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self._node.node_id))

    def close(self) -> None:
        """Close the connection to the SuperLink."""
        self._client.close()


class FleetMessage:
    """One message that the SuperLink has for this node.

    Implements `fl_client.connection.node.Incoming`, and raises the errors that it names.
    """

    def __init__(self, client: FleetHttpClient, node: Node, run_id: int, lifetime: float, tree: ObjectTree) -> None:
        self.lifetime = lifetime
        self._client = client
        self._node = node
        self._run_id = run_id
        self._tree = tree
        self._received = time.monotonic()
        self._message: Message | None = None

    def open(self) -> tuple[str, bytes]:
        """Fetch the message, and return the stage and the request in it.

        Raises:
            Withdrawn: when it is no message of this protocol, or was taken back.
        """
        with _translated():
            message = pull_and_inflate_object_from_tree(
                self._tree,
                make_pull_object_fn_protobuf(self._client.PullObject, self._node, self._run_id),
                make_confirm_message_received_fn_protobuf(
                    self._client.ConfirmMessageReceived, self._node, self._run_id
                ),
                return_type=Message,
                max_time=self.lifetime,
            )
        # flwr leaves the identifier out of what it sends: it is the hash of the rest.
        message.metadata.__dict__["_message_id"] = self._tree.object_id
        self._message = message
        return _stage_of(message), _body_of(message)

    def answer(self, body: bytes) -> None:
        """Send the device's answer."""
        self._push(Message(_content(body), reply_to=self._opened()))

    def refuse(self, reason: str) -> None:
        """Send the reason why there is no answer."""
        self._push(Message(Error(_REFUSED, reason), reply_to=self._opened()))

    def _opened(self) -> Message:
        if self._message is None:
            raise RuntimeError("a message is opened before it is answered")
        return self._message

    def _push(self, reply: Message) -> None:
        reply.metadata.__dict__["_message_id"] = reply.object_id
        with no_object_id_recompute(), _translated():
            response = self._client.PushMessages(
                PushMessagesRequest(
                    node=self._node,
                    messages_list=[message_to_proto(remove_content_from_message(reply))],
                    message_object_trees=[get_object_tree(reply)],
                    clientapp_runtime_list=[time.monotonic() - self._received],
                )
            )
            push_objects(
                get_all_nested_objects(reply),
                make_push_object_fn_protobuf(self._client.PushObject, self._node, self._run_id, response.session_id),
                object_ids_to_push=set(response.objects_to_push),
            )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn flwr's errors into those of `fl_client.connection.node`."""
    try:
        yield
    except httpx.TransportError as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    except httpx.HTTPStatusError as error:
        raise _refusal(error.response) from error
    except (ObjectPullError, ObjectPushError) as error:
        raise Withdrawn(str(error)) from error


def _refusal(response: httpx.Response) -> Exception:
    said = f"{response.status_code} {response.text[:200]}"
    match response.status_code:
        case httpx.codes.UNAUTHORIZED:
            return NodeError(f"the SuperLink does not know this node's key, or no longer: {said}")
        case httpx.codes.FORBIDDEN:
            return Withdrawn(said)
        case httpx.codes.PRECONDITION_FAILED:
            return NotAdmitted(
                "the SuperLink does not let this node in: its key is not registered, or a node of the same key that "
                f"was killed still counts as online: {said}"
            )
        case status if status >= httpx.codes.INTERNAL_SERVER_ERROR:
            return Unreachable(said)
    return NodeError(f"the SuperLink refuses: {said}")


def _load_key(path: Path) -> EllipticCurvePrivateKey:
    expected = f"node_key: expected an unencrypted OpenSSH ECDSA private key in {path}"
    try:
        key = load_ssh_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NodeError(f"{expected}: {error}") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise NodeError(f"{expected}, got another kind of key; make one with: ssh-keygen -t ecdsa -b 384")
    return key


def _load_certificates(path: Path) -> bytes:
    try:
        pem = path.read_bytes()
        ssl.create_default_context(cadata=pem.decode("ascii"))
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise NodeError(f"root_certificates: expected PEM certificates in {path}: {error}") from error
    return pem


def _stage_of(message: Message) -> str:
    return message.metadata.message_type.removeprefix(ENVELOPE_TYPE_PREFIX)


def _body_of(message: Message) -> bytes:
    """Return a request's own part, followed by the part that all devices are sent."""
    content = message.content if message.has_content() else RecordDict()
    own, common = _bytes_in(content, BODY_FIELD), _bytes_in(content, BODY_FIELD, COMMON_RECORD)
    if own is None or common is None:
        raise Withdrawn("a message without a body of bytes")
    return own + common


def _bytes_in(content: RecordDict, key: str, record: str = OWN_RECORD) -> bytes | None:
    records = content.config_records
    value = records[record].get(key) if record in records else None
    return value if isinstance(value, bytes) else None


def _content(body: bytes) -> RecordDict:
    return RecordDict({OWN_RECORD: ConfigRecord({BODY_FIELD: body})})
