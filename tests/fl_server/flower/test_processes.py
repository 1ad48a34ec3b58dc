"""Child processes are watched, and none survives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fl_server.flower import processes as module
from fl_server.flower.processes import ProcessError, Processes
from tests.support.eventually import eventually
from tests.support.leftovers import leftovers

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
SLEEPER = "import time; time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{SLEEPER}'])"


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path / "logs") as processes:
        yield processes


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MARK": str(tmp_path)}


def test_children_of_children_end_too(tmp_path: Path) -> None:
    with Processes(tmp_path / "logs") as processes:
        processes.start("parent", python(PARENT), environment(tmp_path))
        eventually(lambda: len(leftovers(tmp_path, timeout=0)) == 2)
    assert leftovers(tmp_path) == []


def test_one_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TERM_TIMEOUT_S", 0.2)
    with Processes(tmp_path / "logs") as processes:
        processes.start("stubborn", python(STUBBORN), environment(tmp_path))
        processes.wait_until(lambda: "deaf" in processes.log("stubborn").read_text(), "a word", 60)
    assert leftovers(tmp_path) == []


def test_all_end_when_the_work_fails(tmp_path: Path) -> None:
    def work() -> None:
        with Processes(tmp_path / "logs") as processes:
            processes.start("sleeper", python(SLEEPER), environment(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert leftovers(tmp_path) == []


def test_an_impatient_second_interrupt_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cuts the wait for one process short; the others are still ended."""

    def interrupted(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is not None:
            raise KeyboardInterrupt
        return wait(self)

    wait = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    processes = Processes(tmp_path / "logs").__enter__()
    for name in ("first", "second", "third"):
        processes.start(name, python(SLEEPER), environment(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        processes.__exit__(None, None, None)
    assert leftovers(tmp_path) == []


def test_an_early_end_is_an_error_with_its_last_words(running: Processes) -> None:
    running.start("brief", python("print('last words'); raise SystemExit(3)"), os.environ)
    with pytest.raises(ProcessError, match=r"brief: ended with exit code 3\n(.|\n)*last words"):
        running.wait_until(lambda: False, "anything", 60)


def test_an_end_that_is_allowed_is_none(running: Processes) -> None:
    running.start("brief", python("pass"), os.environ, may_end=True)
    running.wait_until(lambda: running.ended("brief"), "its end", 60)
    running.check()


def test_waiting_too_long_says_for_what(running: Processes) -> None:
    running.start("sleeper", python("import time; print('working'); time.sleep(60)"), os.environ)
    with pytest.raises(ProcessError, match=r"expected an answer within 0\.5 s\n(.|\n)*sleeper\.log"):
        running.wait_until(lambda: False, "an answer", 0.5)


def test_a_missing_program_is_named(running: Processes) -> None:
    with pytest.raises(ProcessError, match="absent: cannot start /no/such/program"):
        running.start("absent", ["/no/such/program"], os.environ)
