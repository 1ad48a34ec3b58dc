"""Joining Ray: what goes wrong is said in a line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from simulations.executors.cluster import ClusterError, connected


@pytest.mark.parametrize("error", [OSError, RuntimeError, ValueError, Exception])
@pytest.mark.parametrize(("message", "line"), [("The node timed out.\nand more", "The node timed out."), ("", "")])
def test_a_ray_that_does_not_start_is_named(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], message: str, line: str
) -> None:
    def fails(*_args: Any, **_options: Any) -> None:
        raise error(message)

    monkeypatch.setattr("ray.init", fails)
    with (
        pytest.raises(ClusterError, match=rf"^--ray-address: cannot use Ray at local: {re.escape(line)}$"),
        connected("local", 2),
    ):
        raise AssertionError("expected no Ray")
