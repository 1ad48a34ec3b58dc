"""CPU time of processes and peaks of memory, as Linux counts them."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree_seconds(root: int) -> float:
    """CPU seconds so far of process `root` and all its descendants, those that ended and were waited for included."""
    ticks, children = dict[int, int](), defaultdict[int, list[int]](list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()  # a name may have spaces and brackets
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        process = int(path.parent.name)
        children[int(fields[1])].append(process)
        ticks[process] = sum(map(int, fields[11:15]))  # its own, and of children waited for
    spent, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        spent += ticks.get(process, 0)
        waiting += children[process]
    return spent / _TICKS


def resident_from_now_on() -> int:
    """Return the bytes of this process in memory; `most_resident` forgets what was more before."""
    Path("/proc/self/clear_refs").write_text("5")
    return most_resident()


def most_resident() -> int:
    """Return the bytes at the peak by Linux's own count: `ru_maxrss` is the parent's at least, also when fresh."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
