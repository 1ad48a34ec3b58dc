"""Which round was begun last: kept where devices outlive a server's crash, since none answers a number twice."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from fl_server.training.checkpoint import CheckpointError
from privacy.base.canonical import Frozen
from privacy.base.errors import what_is_wrong
from privacy.base.files import write_atomically


class _Begun(Frozen):
    version: Literal[1] = 1
    task: str
    round: int = Field(ge=1)


class BegunFile:
    """The number of one task's last round that any device may have heard of, in one file beside the checkpoint."""

    def __init__(self, path: Path, task_id: str) -> None:
        self._path = path
        self._task_id = task_id

    def save(self, number: int) -> None:
        """Keep the number of a round before its first message; returns once it will survive a crash."""
        write_atomically(self._path, _Begun(task=self._task_id, round=number).canonical())

    def load(self) -> int:
        """Return the number of the round that was begun last; 0 before the first.

        Raises:
            CheckpointError: when the file is damaged, or of another task or version.
        """
        if not self._path.exists():
            return 0
        try:
            begun = _Begun.model_validate_json(self._path.read_bytes())
        except ValidationError as error:
            raise CheckpointError(f"{self._path}: expected the last round begun; {what_is_wrong(error)}") from error
        if begun.task != self._task_id:
            raise CheckpointError(f"{self._path}: belongs to task {begun.task[:16]}, not to {self._task_id[:16]}")
        return begun.round
