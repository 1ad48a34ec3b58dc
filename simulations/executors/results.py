"""What a worker in another process sends back for a part of a round: one packed vector, or why there is none."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privacy.secagg.primitives.masking import Words, pack, unpack
from privacy.task.task import TaskSpec
from simulations.federation.partial_sums import Job, PartialSum, Worker
from simulations.processes.workers import WorkerDied

_ALLOCATION_FAILED = ("can't allocate memory", "not enough memory", "out of memory")
"""Words by which torch says that there is no memory, in a RuntimeError."""


@dataclass(frozen=True, eq=False)
class PackedPartialSum:
    """A partial sum as it travels, in words of Z_m: a quarter of its size, and the same total once all are added.

    Attributes:
        words: the packed sums; of a trusted aggregator, whose sums are not in Z_m, the sums themselves.
        survivors: int64[devices], the devices in the sum.
        lost: how many devices failed, by reason.
        central: whether the sum is a trusted aggregator's.
    """

    words: Words = field(repr=False)
    survivors: NDArray[np.int64] = field(repr=False)
    lost: Mapping[str, int]
    central: bool

    @classmethod
    def of(cls, partial_sum: PartialSum, task: TaskSpec) -> PackedPartialSum:
        """Pack a partial sum of a task."""
        bits = task.aggregation.modulus_bits
        words = partial_sum.sums.view(np.uint64) if partial_sum.central else pack(partial_sum.sums, bits)
        return cls(words, np.array(partial_sum.survivors, np.int64), partial_sum.lost, partial_sum.central)

    def open(self, task: TaskSpec) -> PartialSum:
        """Return the partial sum, its sums reduced modulo m."""
        bits = task.aggregation.modulus_bits
        sums = self.words.view(np.int64) if self.central else unpack(self.words, bits, task.length)
        return PartialSum(sums, self.survivors.tolist(), self.lost, self.central)


@dataclass(frozen=True)
class Unfinished:
    """A part of a round that was not done and has to be, in smaller parts.

    Attributes:
        reason: why, for people.
    """

    reason: str


Answer = PackedPartialSum | Unfinished | Exception
"""What a worker answers: a sum, that its part was not done, or an error that ends the run."""


def answer(worker: Worker, job: Job) -> Answer:
    """Do a job and return its packed sum, or why there is none. Errors are not raised, so that the process goes on."""
    try:
        return PackedPartialSum.of(worker.partial_sum(job), worker.task)
    except MemoryError:
        return Unfinished("a worker ran out of memory")
    except ValueError as error:
        return error
    except Exception as error:
        if any(words in str(error).lower() for words in _ALLOCATION_FAILED):
            return Unfinished("a worker ran out of memory")
        failed = WorkerDied(f"a worker failed: {type(error).__name__}: {error}")
        failed.add_note(traceback.format_exc())
        return failed
