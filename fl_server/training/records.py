"""The log of rounds that a reviewer verifies: signed lines in one file, each naming the one before."""

from __future__ import annotations

import json
import os
from pathlib import Path

from privacy.base.files import write_atomically
from privacy.base.signing import Signer
from privacy.secagg.server.record import FIRST, RoundRecord, line_digest, sign_record


class RecordLog:
    """One file of JSON lines. A crash leaves whole lines, and at most one beginning of another."""

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
        """Digest of the last line, for the next one to name."""
        return self._head

    def append(self, record: RoundRecord) -> None:
        """Returns once the line will survive a crash."""
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
