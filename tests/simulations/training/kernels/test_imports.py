"""Kernels can be imported by themselves."""

from __future__ import annotations

import subprocess
import sys


def test_kernels_come_before_engines_as_well_as_after() -> None:
    subprocess.run(
        [sys.executable, "-c", "import simulations.training.kernels, simulations.training.engines"], check=True
    )
