"""The directory of a run: what is in it, who may write to it, and how it is made, resumed or replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from privacy.base.files import write_atomically
from simulations.config.config import ConfigError, RunConfig, load_config
from simulations.config.paths import shown
from simulations.data.errors import DataError
from simulations.data.files import Source
from simulations.outdir import Inputs, ManagedDirectory, OutputDirectoryError, exclusive

_CONFIG = "config.toml"
_DATA = "data.json"
"""The digests of the files that the run began with."""
_DIRECTORY = ManagedDirectory("fl-sim", _CONFIG, "go on with `--resume {path}`, or replace it with --force")


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run, below `path`."""

    path: Path

    @classmethod
    def check(cls, path: Path, *, force: bool, inputs: Inputs) -> None:
        """See `ManagedDirectory.check`."""
        _DIRECTORY.check(path, force=force, inputs=inputs)

    @classmethod
    def create(cls, path: Path, config: RunConfig, *, force: bool, sources: Sequence[Source] = ()) -> RunDirectory:
        """Make a directory with the run's configuration in it, and the digests of its data.

        Args:
            path: of the directory.
            config: what the run is told to do.
            force: whether an earlier run there is replaced.
            sources: the files that its messages came from; none of generated ones.

        Raises:
            OutputDirectoryError: where `check` raises it, or when the directory cannot be written.
        """
        _DIRECTORY.check(path, force=force, inputs=config.inputs)
        _DIRECTORY.create(path, config.to_toml(path), force=force)
        directory = cls(path)
        if sources:
            directory.write_json(_DATA, {"files": [one.record() for one in sources]})
        return directory

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

    def refuse_changed(self, sources: Sequence[Source]) -> None:
        """Refuse other data than those that the run began with.

        Args:
            sources: the files as they are now.

        Raises:
            DataError: when a file has changed, is missing, or is one too many; the message names it.
        """
        path = self.path / _DATA
        if not path.is_file():  # generated messages, or killed between the two files, before anything was trained
            return
        before = json.loads(path.read_text(encoding="utf-8"))["files"]
        for then, now in zip_longest(before, (one.record() for one in sources)):
            if then != now:
                raise DataError(f"--resume: {self._difference(then, now, sources)}")

    def _difference(
        self, then: Mapping[str, str] | None, now: Mapping[str, str] | None, sources: Sequence[Source]
    ) -> str:
        names = {(one.flag, one.member): one.name for one in sources}
        known = now if now is not None else then or {}
        name = names.get((known["flag"], known["member"]), known["member"] or f"a file of {known['flag']}")
        if then is None or now is None or then["member"] != now["member"]:
            what = f"{name} was {'not there' if then is None else 'there'} when the run began"
        else:
            what = (
                f"{name} has changed since the run began (sha256 {then['sha256'][:12]} then, {now['sha256'][:12]} now)"
            )
        return (
            f"{what}; a run goes on with the data that it began with: put these back, say where they are now "
            f"(--data), or begin another run: fl-sim run --config {shown(self.path / _CONFIG)} --out NEW"
        )

    def remember(self, config: RunConfig) -> None:
        """Write down the run's configuration anew: with other paths, to the same data."""
        self.write(_CONFIG, config.to_toml(self.path))

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
