"""Which executor a run has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simulations.config.config import LOCAL_RAY, RunConfig
from simulations.executors import cluster
from simulations.executors.local import LocalExecutor
from simulations.executors.processes import ProcessWorkers
from simulations.executors.retrying import RetryingExecutor
from simulations.federation.ideal import Executor
from simulations.federation.partial_sums import Worker
from simulations.processes.workers import cores


@contextmanager
def executor(config: RunConfig, worker: Worker, workers: int | None, tell: Callable[[str], None]) -> Iterator[Executor]:
    """Run copies of a worker for the time of this context, and yield the executor over them.

    Args:
        config: names the engine and, of Ray, the cluster.
        worker: what is copied.
        workers: how many copies; None for one a core, or one for every CPU of a cluster.
        tell: is told, in a line, of workers that come and go.

    Raises:
        ClusterError: when Ray cannot be started or joined.
    """
    count = workers or cores()
    if config.engine == "ray":
        with cluster.connected(config.ray_address, count):
            from simulations.executors.actors import RayWorkers  # noqa: PLC0415 - Ray is imported with its settings

            most = count if config.ray_address == LOCAL_RAY else workers
            yield RetryingExecutor(RayWorkers(worker, most, tell), worker.task, tell)
    elif count > 1:
        with ProcessWorkers(worker, count) as processes:
            yield RetryingExecutor(processes, worker.task, tell)
    else:
        yield LocalExecutor(worker)
