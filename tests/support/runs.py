"""A federation small enough for a test: 40 devices, rounds of a second; and the command that runs it."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from simulations.cli import app

SMALL = """
seed = 11
[data]
devices = 40
[privacy]
noise_multiplier = 1.0
delta = 1e-3
[training]
buckets = 256
steps = 2
[server]
rounds = {rounds}
cohort = 20
min_survivors = 3
"""


GOOD = "user,text,label\n" + "".join(f"u{i % 20},hello number {i},{i % 2}\n" for i in range(100))
"""A hundred messages of twenty people, as CSV."""


def small_config(directory: Path, rounds: int = 4, extra: str = "") -> Path:
    """Write the configuration and return its path."""
    path = directory / "federation.toml"
    path.write_text(SMALL.format(rounds=rounds) + extra)
    return path


@contextmanager
def few_canaries() -> Iterator[None]:
    """Audit what is released with 400 canaries and 100 trainings: 8,000 and 1,000 take longer than the run itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("privacy.audit.suite.RELEASE_CANARIES", 400)
        patch.setattr("simulations.runs.artifacts._MESSAGE_TRIALS", 50)
        yield


def ledger_digest(run: Path) -> str:
    """Of all rows of the ledger: entries and signed heads."""
    rows = sqlite3.connect(run / "ledger.db").execute("select * from ledger_entries order by seq").fetchall()
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def model_bytes(run: Path) -> bytes:
    return (run / "release" / "stable" / "model.safetensors").read_bytes()


def fl_sim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result) -> str:
    assert result.exit_code == 2, result.output
    return result.output
