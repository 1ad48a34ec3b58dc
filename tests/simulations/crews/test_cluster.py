"""Joining Ray: what goes wrong is said in a line."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.crews.cluster import ClusterError, connected


@pytest.mark.parametrize("error", [OSError, RuntimeError, ValueError, Exception])
def test_a_ray_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fails(*_args: Any, **_options: Any) -> None:
        raise error("The current node timed out during startup.\nand more")

    monkeypatch.setattr("ray.init", fails)
    with (
        pytest.raises(ClusterError, match=r"^--ray-address: cannot use Ray at local: The current .* startup\.$"),
        connected("local", 2),
    ):
        raise AssertionError("expected no Ray")
