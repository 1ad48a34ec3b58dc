"""A federated-learning node inside a host application: one thread that polls, answers and can always be stopped.

It starts no process, installs no signal handler, runs no code that a server sent and never ends its host.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Protocol, TypeVar

from privacy.secagg import Refused

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_ADMISSION_INTERVAL_S = 5.0
ADMISSION_TIMEOUT_S = 90.0
"""How long a node waits to be let in. One that was killed counts as online for 60 s, and until then its successor is
refused."""
_FIRST_RETRY_INTERVAL_S, _LONGEST_RETRY_INTERVAL_S = 0.5, 20.0
"""How long a node waits after the first call that did not reach the server, and at most."""


class Handler(Protocol):
    """Answers a round's requests; `fl_client.device.device.Device` is one."""

    def handle(self, stage: str, request: bytes) -> bytes:
        """Answer one request, or refuse by raising any exception."""
        ...


class NodeError(RuntimeError):
    """The server will not have this node: what is wrong and what to do is in the text."""


class Unreachable(ConnectionError):
    """No answer from the server now; the same call may succeed later."""


class NotAdmitted(NodeError):
    """The server knows this node, and does not let it in: perhaps it takes it for online already."""


class Withdrawn(Exception):
    """The server no longer wants this request answered."""


class Incoming(Protocol):
    """One request of the server.

    Every call may raise `NodeError`, `Withdrawn`, or `Unreachable`, after which the same call may be repeated.
    """

    @property
    def lifetime(self) -> float:
        """The time, in seconds, after which the server does not take an answer any more."""
        ...

    def open(self) -> tuple[str, bytes]:
        """Fetch the request; returns its stage and body."""
        ...

    def answer(self, body: bytes) -> None:
        """Send the answer; `open` comes first."""
        ...

    def refuse(self, reason: str) -> None:
        """Send the reason why there is no answer; `open` comes first."""
        ...


class Connection(Protocol):
    """One node's way to its server, which its threads may use at the same time.

    Every call may raise `Unreachable`, after which the same call may succeed later, or `NodeError`.
    """

    heartbeat_interval: float
    """The longest time, in seconds, between two heartbeats of a node that is online."""

    def activate(self) -> None:
        """Tell the server that this node is online.

        Raises:
            NotAdmitted: while the server takes this node for online already.
        """
        ...

    def heartbeat(self) -> None:
        """Tell the server that this node is still online."""
        ...

    def receive(self) -> Incoming | None:
        """Return the next request, None when there is none."""
        ...

    def deactivate(self) -> None:
        """Tell the server that this node goes offline."""
        ...

    def close(self) -> None:
        """End the connection; no call follows."""
        ...


class EmbeddedNode:
    """Answers a server's requests with `handler`, from `start` until `stop`; starts once."""

    def __init__(
        self,
        connection: Connection,
        handler: Handler,
        *,
        poll_interval: float = 1.0,
        name: str = "fl-node",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a node that does nothing until `start`.

        Args:
            connection: the way to the server; closed by the node when it ends.
            handler: called in the node's thread, one request at a time.
            poll_interval: seconds between two looks for a request.
            name: of its thread, which tells several nodes of one host apart in a log.
            clock: seconds, monotonic.
        """
        self._connection = connection
        self._handler = handler
        self._poll_interval = poll_interval
        self._clock = clock
        self._stopping = Event()
        self._killed = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._main, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the node runs: false before `start`, and once it has stopped for whatever reason."""
        return self._thread.is_alive()

    @property
    def error(self) -> BaseException | None:
        """The error for which the node stopped by itself; None if it did not."""
        return self._error

    def start(self) -> None:
        """Begin to answer, in a thread of its own.

        Raises:
            RuntimeError: when it was started before.
        """
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """Sign off and end; a request in the works stays unanswered.

        Returns:
            Whether the node ended within `timeout` seconds.
        """
        self._stopping.set()
        if self.alive:
            self._thread.join(timeout)
        return not self.alive

    def kill(self) -> None:
        """Fall silent at once, as a device that lost power: the server is not told."""
        self._killed = True
        self._stopping.set()

    def _main(self) -> None:
        beat = Thread(target=self._beat, name="fl-heartbeat", daemon=True)
        try:
            self._activate()
            _log.info("the server has let this node in")
            beat.start()
            self._serve()
        except _Stopped:
            pass
        except (Exception, SystemExit) as error:  # reported to the host, which goes on
            self._error = error
            _log.error("the node has stopped: %s", error)
        finally:
            self._stopping.set()
            self._sign_off()
            if beat.ident is not None:
                beat.join()
            self._connection.close()

    def _activate(self) -> None:
        deadline = self._clock() + ADMISSION_TIMEOUT_S
        while True:
            try:
                return self._persist(self._connection.activate)
            except NotAdmitted:
                if self._clock() >= deadline:
                    raise
            self._pause(_ADMISSION_INTERVAL_S)

    def _serve(self) -> None:
        while True:
            incoming = self._persist(self._connection.receive)
            if incoming is None:
                self._pause(self._poll_interval)
                continue
            try:
                self._answer(incoming)
            except (Withdrawn, Unreachable, NodeError) as error:  # is it the node's fault, `receive` meets it too
                _log.info("a request stays unanswered: %s", error)

    def _answer(self, incoming: Incoming) -> None:
        deadline = self._clock() + incoming.lifetime
        stage, request = self._persist(incoming.open, deadline)
        try:
            body = self._handler.handle(stage, request)
        except Exception as error:
            reason = reason_of(error)
            _log.info("%s: %s", stage, reason)
            self._persist(lambda: incoming.refuse(reason), deadline)
        else:
            self._persist(lambda: incoming.answer(body), deadline)

    def _persist(self, call: Callable[[], _T], deadline: float = math.inf) -> _T:
        """Make the call again and again until the server is reached, the deadline is over or the node is to stop."""
        delays, level = _delays(), logging.WARNING
        while not self._stopping.is_set():
            try:
                return call()
            except Unreachable as error:
                if self._clock() >= deadline:
                    raise
                _log.log(level, "server not reached, trying again: %s", error)
                level = logging.INFO  # said once is enough for a server that is away for hours
            self._pause(next(delays))
        raise _Stopped

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise _Stopped

    def _beat(self) -> None:
        while not self._stopping.wait(self._connection.heartbeat_interval / 2):
            try:
                self._connection.heartbeat()
            except (Unreachable, NodeError) as error:  # the polling thread meets the same, and decides
                _log.info("heartbeat: %s", error)

    def _sign_off(self) -> None:
        if self._killed:
            return
        try:
            self._connection.deactivate()
        except (Unreachable, NodeError) as error:
            _log.info("signing off: %s", error)


class _Stopped(Exception):
    """The host called `stop` or `kill`."""


def reason_of(error: Exception) -> str:
    """Return what the server may know of an error: a refusal's words; of others the type, for texts may quote data."""
    return str(error) if isinstance(error, Refused) else f"failed: {type(error).__name__}"


def _delays() -> Iterator[float]:
    """Yield exponential delays in seconds, with jitter so that a fleet does not come back in step."""
    delay = _FIRST_RETRY_INTERVAL_S
    while True:
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        delay = min(2 * delay, _LONGEST_RETRY_INTERVAL_S)
