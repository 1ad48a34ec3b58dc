"""How worker processes of this machine start, and what they may use."""

from __future__ import annotations

import multiprocessing
import os
import sys

from threadpoolctl import threadpool_limits

FORKS = multiprocessing.get_context("forkserver")
"""Forked, since to import torch again takes seconds: not from this process, which may have threads by then, but from
one that has imported what workers need and done nothing else."""
FORKS.set_forkserver_preload(["simulations.federation.inprocess", "simulations.executors.processes"])
MOST_WORKERS = 1 << 12


class WorkerDied(RuntimeError):
    """A worker process ended in the middle of a round; the run can be resumed from its last complete one."""


def one_thread() -> None:
    """For a worker: a process a core, since threads within an operation would only wait for each other."""
    import torch  # noqa: PLC0415 - only a worker may set this for its whole process

    torch.set_num_threads(1)
    threadpool_limits(1)


def cores() -> int:
    """That this process may use, where the system tells, as Linux does."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
