"""Joining Ray: what goes wrong is said in a line."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from simulations.config.config import ConfigError
from simulations.executors import cluster
from simulations.executors.cluster import ClusterError, check, connected
from tests.support.silent import silent_server


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


def test_a_cluster_that_takes_connections_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a run, and where it fell silent in between: Ray itself is not even asked."""
    assert cluster.JOIN_TIMEOUT_S <= 10
    monkeypatch.setattr(cluster, "JOIN_TIMEOUT_S", 0.3)
    monkeypatch.setattr("ray.init", lambda *_args, **_options: pytest.fail("Ray would wait for minutes"))
    with silent_server() as address:
        since = time.monotonic()
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at {address}"):
            check(address)
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at {address}"), connected(address, 2):
            raise AssertionError("expected no Ray")
        assert time.monotonic() - since < 5
