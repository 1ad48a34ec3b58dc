"""What workers of this machine may use, and the error that ends a run when they fail."""

from __future__ import annotations

import os
import sys

from threadpoolctl import threadpool_limits


class WorkerDied(RuntimeError):
    """A worker ended in the middle of a round; the run can be resumed from its last complete one."""


def one_thread() -> None:
    """Limit this process, a worker's, to one thread: with a process a core, more would only wait for each other."""
    import torch  # noqa: PLC0415 - only a worker may set this for its whole process

    torch.set_num_threads(1)
    threadpool_limits(1)


def cores() -> int:
    """Return the number of cores that this process may use, where the system tells, as Linux does; else of all."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
