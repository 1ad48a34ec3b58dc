"""A run's directory: what is in it, who may write to it, and how it is made, resumed or replaced."""

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
    """One run's files."""

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
        """A new directory with its configuration in it.

        Raises:
            OutputDirectoryError: as `check`, or when it cannot be written.
        """
        _DIRECTORY.create(path, config.to_toml(), force=force)
        return cls(path)

    @classmethod
    def reopen(cls, path: Path, overrides: Mapping[str, Any]) -> tuple[RunDirectory, RunConfig]:
        """An earlier run's directory, and its configuration with `overrides` that do not change its outcome.

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
        """Keep other processes out of this directory; raises OutputDirectoryError when another one is in it."""
        return exclusive(self.path)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.db"

    @property
    def rounds(self) -> Path:
        """What each round leaves for a reviewer."""
        return self.path / "rounds.jsonl"

    @property
    def release(self) -> Path:
        return self.path / "release"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """One more round in `metrics.jsonl`, on disk before the round's checkpoint."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The complete lines of `metrics.jsonl`; a last line that a crash cut short is left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def keep_metrics_to(self, last_round: int) -> None:
        """Drop the lines after the last complete round: they will be written again."""
        kept = [line for line in self.metrics() if line["round"] <= last_round]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept)
        write_atomically(self.path / "metrics.jsonl", text.encode())

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Replace one JSON file atomically."""
        self.write(name, json.dumps(value, indent=2, allow_nan=False) + "\n")

    def write(self, name: str, text: str) -> None:
        """Replace one file atomically."""
        write_atomically(self.path / name, text.encode())
