"""Training in this process, without any other."""

from __future__ import annotations

from collections.abc import Iterator

from simulations.federation.partial_sums import Job, PartialSum, Worker


class LocalExecutor:
    """An executor without other processes; implements `simulations.federation.ideal.Executor`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def partial_sums(self, job: Job) -> Iterator[PartialSum]:
        """Do a job, and yield its sum in one part."""
        yield self._worker.partial_sum(job)
