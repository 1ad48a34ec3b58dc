"""The directory of a run: what is in it, who may write to it, and how it is made, resumed or replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privacy.base.files import write_atomically
from simulations.config.config import ConfigError, RunConfig, load_config
from simulations.outdir import ManagedDirectory, OutputDirectoryError, exclusive

_CONFIG = "config.toml"
_DIRECTORY = ManagedDirectory("fl-sim", _CONFIG, "go on with `--resume {path}`, or replace it with --force")


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run, below `path`."""

    path: Path

    @classmethod
    def check(cls, path: Path, *, force: bool) -> None:
        """Refuse early what `create` would refuse.

        Raises:
            OutputDirectoryError: when the path is a file, or a directory that is not empty and may not be replaced.
        """
        _DIRECTORY.check(path, force=force)

    @classmethod
    def create(cls, path: Path, config: RunConfig, *, force: bool) -> RunDirectory:
        """Make a directory with the run's configuration in it.

        Args:
            path: of the directory.
            config: what the run is told to do.
            force: whether an earlier run there is replaced.

        Raises:
            OutputDirectoryError: where `check` raises it, or when the directory cannot be written.
        """
        _DIRECTORY.create(path, config.to_toml(), force=force)
        return cls(path)

    @classmethod
    def reopen(cls, path: Path, overrides: Mapping[str, Any]) -> tuple[RunDirectory, RunConfig]:
        """Return an earlier run's directory, and its configuration with `overrides` that do not change its outcome.

        Raises:
            OutputDirectoryError: when there is no run in it.
        """
        if not (path / _CONFIG).is_file():
            raise OutputDirectoryError(f"--resume: {path} holds no run; expected a directory with {_CONFIG}")
        try:
            return cls(path), load_config(path / _CONFIG, overrides)
        except ConfigError as error:
            raise OutputDirectoryError(f"--resume: {error}") from error

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes out of this directory for the time of a context.

        Raises:
            OutputDirectoryError: on entering, when another process is in it.
        """
        return exclusive(self.path)

    @property
    def checkpoint(self) -> Path:
        """File of the last complete round: the model, and what devices remember."""
        return self.path / "checkpoint.safetensors"

    @property
    def ledger(self) -> Path:
        """File of the run's own ledger."""
        return self.path / "ledger.db"

    @property
    def rounds(self) -> Path:
        """File of what each round leaves for a reviewer."""
        return self.path / "rounds.jsonl"

    @property
    def release(self) -> Path:
        """Directory of published models."""
        return self.path / "release"

    @property
    def log(self) -> Path:
        """File of the run's log."""
        return self.path / "run.log"

    @property
    def curves(self) -> Path:
        """File of the curves, a PNG."""
        return self.path / "curves.png"

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Add a round to `metrics.jsonl`, on disk before the round's checkpoint."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the complete lines of `metrics.jsonl`; a last line that a crash cut short is left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def keep_metrics_to(self, last_round: int) -> None:
        """Drop the lines after the last complete round: they will be written again."""
        kept = [line for line in self.metrics() if line["round"] <= last_round]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept)
        write_atomically(self.path / "metrics.jsonl", text.encode())

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace a JSON file of the directory atomically."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write(self, name: str, text: str) -> None:
        """Replace a file of the directory atomically."""
        write_atomically(self.path / name, text.encode())
