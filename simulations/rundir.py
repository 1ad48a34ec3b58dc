"""A run's directory: what is in it, who may write to it, and how it is made, resumed or replaced."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_server.checkpoint import write_atomically
from simulations.config import ConfigError, RunConfig, load_config

_CONFIG = "config.toml"


class RunDirectoryError(ValueError):
    """A directory that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class RunDirectory:
    """One run's files."""

    path: Path

    @classmethod
    def check(cls, path: Path, *, force: bool) -> None:
        """Refuse early what `create` would refuse.

        Raises:
            RunDirectoryError: when the path is a file, or a directory that is not empty and may not be replaced.
        """
        if path.exists() and not path.is_dir():
            raise RunDirectoryError(f"--out: {path} is a file; expected a directory or a new path")
        if not path.exists() or not any(path.iterdir()):
            return
        if not force:
            raise RunDirectoryError(f"--out: {path} exists; go on with `--resume {path}`, or replace it with --force")
        if not (path / _CONFIG).is_file():
            raise RunDirectoryError(f"--force: {path} was not made by fl-sim (no {_CONFIG}); it is left alone")

    @classmethod
    def create(cls, path: Path, config: RunConfig, *, force: bool) -> RunDirectory:
        """A new directory with its configuration in it.

        Raises:
            RunDirectoryError: as `check`, or when it cannot be written.
        """
        cls.check(path, force=force)
        try:
            if path.exists() and any(path.iterdir()):
                shutil.rmtree(path)
            path.mkdir(parents=True, exist_ok=True)
            write_atomically(path / _CONFIG, config.to_toml().encode())
        except OSError as error:
            raise RunDirectoryError(f"--out: cannot write to {path}: {error.strerror or error}") from error
        return cls(path)

    @classmethod
    def reopen(cls, path: Path, overrides: Mapping[str, Any]) -> tuple[RunDirectory, RunConfig]:
        """An earlier run's directory, and its configuration with `overrides` that do not change its outcome.

        Raises:
            RunDirectoryError: when there is no run in it.
        """
        if not (path / _CONFIG).is_file():
            raise RunDirectoryError(f"--resume: {path} holds no run; expected a directory with {_CONFIG}")
        try:
            return cls(path), load_config(path / _CONFIG, overrides)
        except ConfigError as error:
            raise RunDirectoryError(f"--resume: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of this directory.

        Raises:
            RunDirectoryError: when another process is in it.
        """
        with (self.path / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunDirectoryError(f"--resume: another process is running in {self.path}") from error
            yield

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
