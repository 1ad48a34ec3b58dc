"""Waiting for what comes soon, and on a loaded machine later."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(condition: Callable[[], bool], timeout: float = 60.0) -> None:
    """Return once the condition holds; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"expected within {timeout:g} s"
        time.sleep(0.005)
