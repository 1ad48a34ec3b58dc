"""Joining a Ray cluster, or starting a Ray of our own and leaving nothing of it behind."""

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
"""Seconds for a cluster to say that it is there."""
_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What `ray health-check` calls."""
_SCRATCH = "/tmp"  # noqa: S108 - made there with a name that is nobody else's
"""Not $TMPDIR: the path of a socket may have 107 bytes, and Ray takes 80 of them."""
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a change to come
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else it tells of dead workers on standard output
    "RAY_gcs_server_request_timeout_seconds": "8",  # not 60, to find that no node of the cluster is on this machine
}
"""Ray reads them when it is imported."""


class ClusterError(RuntimeError):
    """A Ray that cannot be used."""


def check(address: str) -> None:
    """That a cluster answers. Ray itself would try for minutes, and may end the process.

    Raises:
        ConfigError: within 10 seconds.
    """
    if silence := silence_of(address, JOIN_TIMEOUT_S):
        raise ConfigError(
            f"--ray-address: no Ray cluster answers at {address} ({silence}); expected HOST:PORT of its head, "
            "as `ray start --head` prints it"
        )


def silence_of(address: str, patience: float, *, retry: bool = False) -> str | None:
    """Why the head there does not answer within `patience` seconds, or None if it does; with `retry`, it may be away in
    between.
    """
    try:
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            channel.unary_unary(_ALIVE)(b"", timeout=patience, wait_for_ready=retry)
    except grpc.RpcError as error:
        return error.code().name if isinstance(error, grpc.Call) else "no answer"
    return None


def settle() -> None:
    """Tell Ray, before it is imported, to keep to itself; what the environment says already stays."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


@contextmanager
def connected(address: str, cpus: int) -> Iterator[None]:
    """Ray, for the time of this context: the cluster's, or one of our own with so many CPUs, on loopback.

    Raises:
        ClusterError: when Ray cannot be started or joined.
    """
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
