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
"""How torch says it, as a RuntimeError."""


@dataclass(frozen=True, eq=False)
class PackedPartialSum:
    """A share as it travels, in words of Z_m: a quarter of its size, and the same sum once all are added.

    Attributes:
        words: or the sums themselves, of a trusted aggregator, which are not in Z_m.
        survivors: int64[devices].
    """

    words: Words = field(repr=False)
    survivors: NDArray[np.int64] = field(repr=False)
    lost: Mapping[str, int]
    central: bool

    @classmethod
    def of(cls, partial_sum: PartialSum, task: TaskSpec) -> PackedPartialSum:
        bits = task.aggregation.modulus_bits
        words = partial_sum.sums.view(np.uint64) if partial_sum.central else pack(partial_sum.sums, bits)
        return cls(words, np.array(partial_sum.survivors, np.int64), partial_sum.lost, partial_sum.central)

    def open(self, task: TaskSpec) -> PartialSum:
        """The share, its sums reduced."""
        bits = task.aggregation.modulus_bits
        sums = self.words.view(np.int64) if self.central else unpack(self.words, bits, task.length)
        return PartialSum(sums, self.survivors.tolist(), self.lost, self.central)


@dataclass(frozen=True)
class Unfinished:
    """A part that has to be done again, in smaller pieces."""

    reason: str


Answer = PackedPartialSum | Unfinished | Exception


def answer(worker: Worker, job: Job) -> Answer:
    """The job done, or why not. An error is returned, so that its process goes on."""
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
