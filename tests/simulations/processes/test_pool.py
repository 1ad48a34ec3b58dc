"""Worker processes: one that ends is seen and named, takes no other with it, and none outlives its parent."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch  # so that workers forked from this process need not

from simulations.processes.pool import (
    FORK,
    FORKSERVER,
    PRELOADED,
    ProcessEnded,
    WorkerProcess,
    end_all,
    ready,
    serve,
)
from tests.support.leftovers import leftovers
from tests.support.paths import ROOT

Start = Callable[..., WorkerProcess[Any, Any]]

contexts = pytest.mark.parametrize("context", [FORK, FORKSERVER], ids=["fork", "forkserver"])


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts workers that are ended after the test, by which no child of this process may be left."""
    workers: list[WorkerProcess[Any, Any]] = []

    def starting(
        context: ForkContext | ForkServerContext, work: Callable[[Connection], None]
    ) -> WorkerProcess[Any, Any]:
        workers.append(WorkerProcess(context, work))
        return workers[-1]

    yield starting
    end_all(workers, timeout=0)
    assert not multiprocessing.active_children()


def count(connection: Connection) -> None:
    """Answers n with all numbers below n, its process number and how often it was asked."""
    asked: list[int] = []

    def respond(number: int) -> Iterator[object]:
        asked.append(number)
        yield from range(number)
        yield os.getpid(), len(asked)

    serve(connection, respond)


def hang(connection: Connection) -> None:
    """Says that it has read a request, and never answers it."""
    serve(connection, lambda request: (connection.send(request), time.sleep(600)))


def leave(_connection: Connection) -> None:
    """Ends before it reads anything."""
    sys.exit(3)


def break_off(connection: Connection) -> None:
    """Writes the length of a message of 100 bytes, and ten of them."""
    os.write(connection.fileno(), (100).to_bytes(4, "big") + b"0123456789")
    os._exit(4)


def describe(connection: Connection) -> None:
    """Says what was imported before this module, and what a worker is set to."""
    connection.send(
        {
            "imported": [name for name in PRELOADED if name in sys.modules],
            "threads": torch.get_num_threads(),
            "ctrl_c": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        }
    )
    serve(connection, lambda _: [])


class Unreadable:
    """Work that cannot be read where the worker starts."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return int, ("no number",)

    def __call__(self, _connection: Connection) -> None:
        raise AssertionError("it was read")


@contexts
def test_a_worker_keeps_what_it_knows_and_answers_by_several_messages(
    context: ForkContext | ForkServerContext, start: Start
) -> None:
    workers = [start(context, count) for _ in range(2)]
    for times in (1, 2):
        for number, worker in enumerate(workers):
            worker.send(number)
        for number, worker in enumerate(workers):
            expected = [*range(number), (worker.pid, times)]
            assert [worker.receive() for _ in range(number + 1)] == expected


@contexts
def test_a_worker_killed_at_work_is_named_and_its_neighbours_answer_is_kept(
    context: ForkContext | ForkServerContext, start: Start
) -> None:
    killed, other = start(context, hang), start(context, count)
    killed.send("read")
    assert killed.receive() == "read"
    os.kill(killed.pid or 0, signal.SIGKILL)
    other.send(0)
    with pytest.raises(ProcessEnded, match=r"^SIGKILL, perhaps for lack of memory$") as caught:
        killed.receive()
    assert caught.value.exit_code == -signal.SIGKILL
    assert other.receive() == (other.pid, 1)
    killed.send("nobody reads this, and whoever sends it learns that from `receive`")
    with pytest.raises(ProcessEnded, match="SIGKILL"):
        killed.receive()


@contexts
def test_what_a_worker_said_before_it_was_killed_is_heard(
    context: ForkContext | ForkServerContext, start: Start
) -> None:
    worker = start(context, count)
    worker.send(2)
    assert ready([worker]) == [worker]
    while not worker.connection.poll():
        pass
    time.sleep(0.2)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.send(1)
    assert [worker.receive() for _ in range(3)] == [0, 1, (worker.pid, 1)]
    with pytest.raises(ProcessEnded):
        worker.receive()


@contexts
@pytest.mark.parametrize(("work", "exit_code"), [(leave, 3), (break_off, 4)])
def test_a_worker_that_ends_by_itself_is_named(
    context: ForkContext | ForkServerContext, work: Callable[[Connection], None], exit_code: int, start: Start
) -> None:
    """Before it reads anything, or in the middle of a message."""
    worker = start(context, work)
    worker.send("anybody there?")
    with pytest.raises(ProcessEnded, match=f"^exit code {exit_code}$"):
        worker.receive()


def test_a_worker_that_cannot_start_is_named(start: Start) -> None:
    worker, other = start(FORKSERVER, Unreadable()), start(FORKSERVER, count)
    with pytest.raises(ProcessEnded, match=r"^exit code 1$"):
        worker.receive()
    other.send(0)
    assert other.receive() == (other.pid, 1)


@contexts
def test_those_that_can_be_heard_are_returned_in_order(context: ForkContext | ForkServerContext, start: Start) -> None:
    silent, *others = (start(context, count) for _ in range(3))
    assert ready([silent], timeout=0.1) == []
    for worker in reversed(others):
        worker.send(0)
        assert ready([worker]) == [worker]
    assert ready([silent, *others]) == others


@contexts
def test_a_worker_has_one_thread_and_leaves_ctrl_c_to_its_parent(
    context: ForkContext | ForkServerContext, start: Start
) -> None:
    said = start(context, describe).receive()
    assert (said["threads"], said["ctrl_c"]) == (1, True)


@pytest.mark.parametrize("name", PRELOADED)
def test_what_the_fork_server_is_to_import_can_be_imported(name: str) -> None:
    """It says nothing of a name that it cannot import: workers would only start slowly."""
    importlib.import_module(name)


ASKING = """
from simulations.processes.pool import FORKSERVER, WorkerProcess
from tests.simulations.processes.test_pool import describe

if __name__ == "__main__":
    worker = WorkerProcess(FORKSERVER, describe)
    print(worker.receive()["imported"])
    worker.end(5.0)
"""


def test_the_fork_server_has_imported_what_workers_need() -> None:
    """In an interpreter of its own: a process has one fork server, and another test may have started it."""
    asked = subprocess.run([sys.executable, "-c", ASKING], cwd=ROOT, capture_output=True, text=True, check=True)
    assert asked.stdout == f"{list(PRELOADED)}\n"


@contexts
def test_whoever_does_not_end_is_killed(context: ForkContext | ForkServerContext, start: Start) -> None:
    worker = start(context, hang)
    worker.send("read")
    worker.receive()
    assert worker.end(0.1) is None
    assert not Path(f"/proc/{worker.pid}").exists()


PARENT = """
import os, signal, sys
import torch  # so that forked workers need not
from simulations.processes.pool import FORK, FORKSERVER, WorkerProcess
from tests.simulations.processes.test_pool import hang

if __name__ == "__main__":
    workers = [WorkerProcess(context, hang) for context in (FORK, FORK, FORKSERVER, FORKSERVER)]
    for worker in workers[::2]:
        worker.send("read")
        worker.receive()
    print(*(worker.pid for worker in workers), flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_none_outlives_its_parent(tmp_path: Path, how: str) -> None:
    """At work or idle, and however the parent ends; the fork server ends as well."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MARK": str(tmp_path)}
    parent = subprocess.run(
        [sys.executable, str(script), how], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    assert parent.returncode == (-signal.SIGKILL if how == "killed" else 0)
    assert len(parent.stdout.split()) == 4
    assert leftovers(tmp_path) == []
