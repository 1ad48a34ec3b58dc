"""What rounds leave on disk: the last complete one as a checkpoint, and the log of all that a reviewer verifies.

The checkpoint is replaced atomically: a crash at any moment leaves the old one or the new one. The log is signed lines
in one file, each naming the one before.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fl_server.training.exclusions import Exclusions
from privacy.base.files import write_atomically
from privacy.base.signing import Signer
from privacy.secagg.server.record import FIRST, RoundRecord, line_digest, sign_record
from strategies.fedavg import ModelState

_NOISE = "noise"
_VERSION = 2


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be read, or is of another task."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next round depends on.

    Attributes:
        round: the round's number; 0 before the first.
        state: the model after it.
        transcript: of this round's sum, so that its charge can be settled after a crash; empty when none was charged.
        aborted: why the round gave no release; empty when it gave one.
        extra: arrays that the owner of the devices wants back, by name.
        noise: the memory of the server's correlated noise after this round; as secret as the noise.
        exclusions: whom the next round leaves out, and why.
        waited: how often a draw was put off since the task began, for too few devices within reach.
    """

    round: int
    state: ModelState
    transcript: str = ""
    aborted: str = ""
    extra: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    noise: NDArray[np.float64] | None = field(default=None, repr=False)
    exclusions: Exclusions = field(default_factory=Exclusions, repr=False)
    waited: int = 0


class CheckpointFile:
    """One task's last checkpoint, in one safetensors file."""

    def __init__(self, path: Path, task_id: str) -> None:
        self._path = path
        self._task_id = task_id

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint; returns once the new one will survive a crash."""
        tensors = {"weights": checkpoint.state.weights, "momentum": checkpoint.state.momentum}
        extra = {f"extra.{name}": values for name, values in checkpoint.extra.items()}
        noise = {} if checkpoint.noise is None else {_NOISE: checkpoint.noise}
        facts = {
            "version": _VERSION,
            "task": self._task_id,
            "round": checkpoint.round,
            "clip": checkpoint.state.clip,
            "transcript": checkpoint.transcript,
            "aborted": checkpoint.aborted,
            "waited": checkpoint.waited,
            "exclusions": checkpoint.exclusions.model_dump(mode="json"),
        }
        # safetensors 0.8 writes memory as it lies: findings/safetensors_array_order.sh.
        arrays = {name: np.ascontiguousarray(values) for name, values in {**tensors, **extra, **noise}.items()}
        payload = save(arrays, metadata={"havenfl": json.dumps(facts)})
        write_atomically(self._path, payload, mode=0o600)

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, or None when there is none yet.

        Raises:
            CheckpointError: when the file is damaged, of another version, or belongs to another task.
        """
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="numpy") as file:
                facts = json.loads(file.metadata()["havenfl"])
                self._check_version(facts)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
            exclusions = Exclusions.model_validate(facts["exclusions"], strict=False)
        except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self._path}: expected a checkpoint, got {error}") from error
        if facts["task"] != self._task_id:
            raise CheckpointError(f"{self._path}: belongs to task {facts['task'][:16]}, not to {self._task_id[:16]}")
        extra = {name.removeprefix("extra."): values for name, values in tensors.items() if name.startswith("extra.")}
        state = ModelState(tensors["weights"], tensors["momentum"], facts["clip"])
        return Checkpoint(
            facts["round"],
            state,
            facts["transcript"],
            facts["aborted"],
            extra,
            tensors.get(_NOISE),
            exclusions,
            facts["waited"],
        )

    def _check_version(self, facts: dict[str, Any]) -> None:
        if (version := facts.get("version", "none")) != _VERSION:
            raise CheckpointError(
                f"{self._path}: expected a checkpoint of version {_VERSION}, got {version}; finish the run with the "
                "program that began it, or begin a new one"
            )


class RecordLog:
    """One file of signed JSON lines, each naming the one before.

    A crash leaves whole lines, and at most one beginning of another.
    """

    def __init__(self, path: Path, operator: Signer) -> None:
        self._path = path
        self._operator = operator
        self._head = self._last_digest()

    def keep_to(self, last_round: int) -> None:
        """Drop what was written about later rounds: they will be run again, for their checkpoint was never saved."""
        kept = [line for line in self._lines() if json.loads(line)["record"]["round"] <= last_round]
        write_atomically(self._path, b"".join(line + b"\n" for line in kept))
        self._head = self._last_digest()

    @property
    def head(self) -> str:
        """The digest of the last line, for the next one to name."""
        return self._head

    def append(self, record: RoundRecord) -> None:
        """Sign a record and add its line; returns once the line will survive a crash."""
        line = sign_record(record, self._operator)
        with self._path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._head = line_digest(line)

    def _last_digest(self) -> str:
        lines = self._lines()
        return line_digest(lines[-1]) if lines else FIRST

    def _lines(self) -> list[bytes]:
        data = self._path.read_bytes() if self._path.exists() else b""
        return data.split(b"\n")[:-1]
