"""No other process."""

from __future__ import annotations

from collections.abc import Iterator

from simulations.shares import Job, Share, Worker


class LocalCrew:
    """This process alone; implements `simulations.ideal.Crew`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def shares(self, job: Job) -> Iterator[Share]:
        """See `Crew.shares`."""
        yield self._worker.share(job)
