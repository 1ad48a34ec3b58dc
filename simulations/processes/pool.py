"""A worker process at the other end of a pipe: starting it, asking it, waiting for several, and seeing one end.

What is asked, and what becomes of the work of one that ended, is up to who uses it: `simulations.federation.inprocess`
ends the round, `simulations.executors.processes` has others do it, `simulations.processes.jobs` reports the job failed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext
from typing import Any, Generic, TypeVar

from fl_server.flower.processes import end_with_parent
from simulations.processes.workers import one_thread

FORK = multiprocessing.get_context("fork")
"""Start method of workers that share what this process has read and computed."""
FORKSERVER = multiprocessing.get_context("forkserver")
"""Start method of workers that share nothing: forked, since to import torch again takes seconds, but not from this
process, which may have threads by then: from one that has imported what workers need and done nothing else."""
PRELOADED = ("simulations.federation.inprocess", "simulations.executors.processes")
"""Modules that the fork server imports. It passes over a name that it cannot import, and says nothing."""
FORKSERVER.set_forkserver_preload(list(PRELOADED))
END_TIMEOUT_S = 5.0
"""Seconds for a process to end once its pipe is closed."""
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)

Request = TypeVar("Request")
Message = TypeVar("Message")
W = TypeVar("W", bound="WorkerProcess[Any, Any]")


class ProcessEnded(RuntimeError):
    """A worker process ended while it was needed; the text says how.

    Attributes:
        exit_code: of the process, negative for a signal; None when it closed its pipe and did not end.
    """

    def __init__(self, exit_code: int | None) -> None:
        self.exit_code = exit_code
        if exit_code is not None and exit_code < 0:
            super().__init__(f"{signal.Signals(-exit_code).name}, perhaps for lack of memory")
        else:
            super().__init__(f"exit code {exit_code}")


class WorkerProcess(Generic[Request, Message]):
    """A process that runs `work` on its end of a pipe, and this side's end.

    It has one thread, ignores Ctrl-C, which goes to the whole process group and is the parent's to act on, and ends
    with its parent, however that ends.
    """

    def __init__(self, context: ForkContext | ForkServerContext, work: Callable[[Connection], None]) -> None:
        """Start the process. `work` is pickled where the context does not fork this process."""
        forked = context.get_start_method() == "fork"
        self.connection, theirs = context.Pipe()
        with theirs:
            arguments = (work, theirs, os.getpid() if forked else None)
            self._process = context.Process(target=_live, args=arguments, daemon=True)
            self._process.start()

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return self._process.pid

    def send(self, request: Request) -> None:
        """Send a request; that nobody is there to read it is found by `receive`, after what was sent before."""
        try:
            self.connection.send(request)
        except OSError:
            return

    def receive(self) -> Message:
        """Wait for the next message and return it.

        Raises:
            ProcessEnded: when the process is gone; it has been ended if it was not.
        """
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError) as error:  # the second in the middle of a message
            raise ProcessEnded(self.end(END_TIMEOUT_S)) from error
        return message

    def end(self, timeout: float) -> int | None:
        """Close the pipe, wait so many seconds for the process to end, and kill it if it has not.

        Returns:
            The exit code, negative for a signal; None when it had to be killed.
        """
        self.connection.close()
        self._process.join(timeout)
        exit_code = self._process.exitcode
        self._process.kill()
        self._process.join()
        return exit_code


def ready(workers: Iterable[W], timeout: float | None = None) -> list[W]:
    """Wait until `receive` of at least one of these workers returns or raises at once.

    Args:
        workers: none of which has ended, as far as `receive` has told.
        timeout: seconds after which to give up; None to wait for as long as it takes.

    Returns:
        Those workers, in the order of `workers`.
    """
    asked = list(workers)
    heard = set(wait([worker.connection for worker in asked], timeout))
    return [worker for worker in asked if worker.connection in heard]


def end_all(workers: Sequence[WorkerProcess[Any, Any]], timeout: float = END_TIMEOUT_S) -> None:
    """Close these workers' pipes, give them `timeout` seconds together to end, and kill who has not.

    Forked workers hold copies of each other's pipes and never see them closed: for them, `timeout` is 0.
    """
    deadline = time.monotonic() + timeout
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.end(max(0.0, deadline - time.monotonic()))


def serve(connection: Connection, respond: Callable[[Any], Iterable[Any]]) -> None:
    """Answer requests, one after the other and each by any number of messages, until the parent closes the pipe."""
    while True:
        for message in respond(connection.recv()):
            connection.send(message)


def _live(work: Callable[[Connection], None], connection: Connection, forked_from: int | None) -> None:
    """Run a worker from its first moment to its last."""
    if forked_from is None:
        threading.Thread(target=_end_with_client, daemon=True).start()
    else:
        end_with_parent(signal.SIGKILL)  # where the system cannot, it ends after its work, which it cannot tell
        if os.getppid() != forked_from:
            return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    try:
        work(connection)
    except _GONE:
        return


def _end_with_client() -> None:
    """End this process with the one that asked the fork server for it, which is not its parent to the system."""
    if client := multiprocessing.parent_process():
        client.join()
    os._exit(1)
