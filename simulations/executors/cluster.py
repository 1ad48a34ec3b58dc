"""Joining a Ray cluster, or starting one of this process's own and leaving nothing of it behind."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from privacy.base.errors import first_line
from simulations.config.config import LOCAL_RAY, ConfigError

JOIN_TIMEOUT_S = 5.0
"""Seconds for a cluster to answer that it is there."""
_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""The method that `ray health-check` calls."""
_SCRATCH = "/tmp"  # noqa: S108 - made there with a name that is nobody else's
"""Where Ray keeps its files; not $TMPDIR, since the path of a socket may have 107 bytes, and Ray takes 80 of them."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a change to come
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else it tells of dead workers on standard output
    "RAY_gcs_server_request_timeout_seconds": "8",  # not 60, to find that no node of the cluster is on this machine
}
"""Environment variables that Ray reads when it is imported."""


class ClusterError(RuntimeError):
    """A Ray cluster cannot be started or joined."""


def check(address: str) -> None:
    """Return once the cluster at `address` answers. Ray itself would try for minutes, and may end the process.

    Raises:
        ConfigError: when none does, within 10 seconds.
    """
    if silence := silence_of(address, JOIN_TIMEOUT_S):
        raise ConfigError(_silent(address, silence))


def _silent(address: str, silence: str) -> str:
    return (
        f"--ray-address: no Ray cluster answers at {address} ({silence}); expected HOST:PORT of its head, "
        "as `ray start --head` prints it"
    )


def silence_of(address: str, timeout: float, *, retry: bool = False) -> str | None:
    """Return why the head of a cluster does not answer, or None if it does.

    Args:
        address: host and port of the head.
        timeout: seconds for the answer.
        retry: whether the head may be away in between.
    """
    try:
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            channel.unary_unary(_ALIVE)(b"", timeout=timeout, wait_for_ready=retry)
    except grpc.RpcError as error:
        return error.code().name if isinstance(error, grpc.Call) else "no answer"
    return None


def settle() -> None:
    """Tell Ray, before it is imported, to keep to itself; what the environment says already stays."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """Connect to the cluster at `address`, or to one of this process's own with so many CPUs, on loopback.

    It ends with the context.

    Raises:
        ClusterError: when Ray cannot be started or joined.
    """
    if address != LOCAL_RAY and (silence := silence_of(address, JOIN_TIMEOUT_S)):
        raise ClusterError(_silent(address, silence))  # it answered before; Ray would wait for minutes
    settle()
    import ray  # noqa: PLC0415 - after the settings, and slow to import

    with tempfile.TemporaryDirectory(prefix="fl-ray-", dir=_SCRATCH, ignore_cleanup_errors=True) as scratch:
        own = {"num_cpus": cpus, "_temp_dir": scratch, "_node_ip_address": "127.0.0.1", "include_dashboard": False}
        try:
            _init(address, own if address == LOCAL_RAY else {})
            yield
        finally:
            ray.shutdown()


def _init(address: str, options: dict[str, Any]) -> None:
    import ray  # noqa: PLC0415 - as above

    previous = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises a bare one where its own processes take long to start
        hint = "" if address == LOCAL_RAY else "; fl-sim has to run on one of the cluster's machines"
        raise ClusterError(f"--ray-address: cannot use Ray at {address}: {first_line(error)}{hint}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, previous)
