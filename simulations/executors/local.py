"""No other process."""

from __future__ import annotations

from collections.abc import Iterator

from simulations.federation.partial_sums import Job, PartialSum, Worker


class LocalExecutor:
    """This process alone; implements `simulations.federation.ideal.Executor`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def partial_sums(self, job: Job) -> Iterator[PartialSum]:
        """See `Executor.partial_sums`."""
        yield self._worker.partial_sum(job)
