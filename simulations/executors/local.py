"""No other process."""

from __future__ import annotations

from collections.abc import Iterator

from simulations.federation.partial_sums import Job, Share, Worker


class LocalCrew:
    """This process alone; implements `simulations.federation.ideal.Crew`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def shares(self, job: Job) -> Iterator[Share]:
        """See `Crew.shares`."""
        yield self._worker.share(job)
