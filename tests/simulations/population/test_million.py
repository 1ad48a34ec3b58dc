"""A million devices cost the memory of a thousand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import resource, sys
from pathlib import Path
from simulations.config import load_config
from simulations.runs.run import start

config = load_config(None, {
    "seed": 1, "data.devices": int(sys.argv[2]), "server.cohort": 500, "server.rounds": 4,
    "server.aggregation": "ideal",
    "training.buckets": 1024, "privacy.noise_multiplier": 1.0, "privacy.delta": 1e-7,
})
start(config, Path(sys.argv[1]), force=False, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(path: Path, devices: int) -> float:
    """MiB."""
    command = [sys.executable, "-c", _RUN, str(path), str(devices)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()[-1]) / 1024


@pytest.mark.long
def test_memory_does_not_grow_with_the_population(tmp_path: Path) -> None:
    assert peak(tmp_path / "million", 1_000_000) - peak(tmp_path / "thousand", 2_000) < 60
    assert (tmp_path / "million" / "checkpoint.safetensors").stat().st_size < 200_000
