"""Where the bytes come from: whether they look uniform, and whether two sources are ever alike.

A generator of a secret seed cannot be told from the system's by what it gives. What can be told is a short seed, bytes
that are not uniform, and a source that is taken although the task promises another.
"""

from __future__ import annotations

import numpy as np

from privacy.audit import laws
from privacy.audit.pipeline import Audited, Pipeline, Predictable
from privacy.audit.record import Check
from privacy.base.randomness import Randomness, RandomnessError, SystemRandomness, uniform_words

_BYTES = 1 << 17
_SOURCES = 1 << 12
"""Fresh sources that are held against each other: seeds of up to 20 bits or so are found, of 30 hardly ever."""
_BLOCK = 16
_UNIFORM_VARIANCE = (256**2 - 1) / 12


def check_source(audited: Audited, run: Pipeline, rng: Randomness, chance: float) -> Check:
    """Check the source of the rounds' randomness, and that devices refuse one that the task does not promise."""
    p_value = laws.least([_uniform(rng), _distinct()])
    if audited.task.randomness == "system" and _takes_any(audited, run):
        return Check(
            name="source",
            passed=False,
            line="the task promises the system's randomness, and a device drew from a predictable source",
        )
    return Check(
        name="source",
        passed=p_value >= chance,
        line=f"its bytes are as far from uniform and unrelated ones with {p_value:.2g}; alarm below {chance:.2g}",
    )


def _uniform(rng: Randomness) -> float:
    """Return the p-value of a source's bytes: how often each occurs, and whether they echo or repeat."""
    drawn = uniform_words(rng, _BYTES, np.uint8).astype(np.int64)
    counts = np.bincount(drawn, minlength=256)
    return laws.least(
        [
            laws.pearson(counts, np.full(256, drawn.size / 256)),
            laws.echoes(np.asarray(drawn - 127.5, np.float64), _UNIFORM_VARIANCE),
            laws.repeats(drawn.reshape(-1, _BLOCK), 8.0),
        ]
    )


def _distinct() -> float:
    """Return the p-value of how many of many fresh sources of the system's begin alike."""
    first = np.array([uniform_words(SystemRandomness(), _BLOCK, np.uint8) for _ in range(_SOURCES)], np.int64)
    return laws.repeats(first, 8.0)


def _takes_any(audited: Audited, run: Pipeline) -> bool:
    try:
        run([audited.silent], 0, Predictable())
    except RandomnessError:
        return False
    return True
