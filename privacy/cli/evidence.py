"""The files that a reviewer brings, read and parsed; nothing of them is believed yet."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from privacy.ledger import SignedHead
from privacy.report_model import EpsilonReport
from privacy.signing import PUBLIC_KEY_BYTES
from privacy.task import TaskSpec


class EvidenceError(ValueError):
    """A file or a key that cannot be read at all; what is in it was not judged."""


@dataclass(frozen=True)
class Files:
    """What there is to verify.

    Attributes:
        entries, heads: of the ledger, in order; a head is stored with each entry.
        lines: of the round log; None when there is none to check.
    """

    operator: bytes
    entries: list[bytes]
    heads: list[bytes]
    task: TaskSpec | None
    authority: bytes | None
    lines: list[bytes] | None
    report: EpsilonReport | None

    @property
    def head(self) -> SignedHead | None:
        """The last one; None when it cannot be parsed."""
        try:
            return SignedHead.model_validate_json(self.heads[-1])
        except (IndexError, ValidationError):
            return None


def read_evidence(
    *, ledger: Path, operator: str, task: Path | None, log: Path | None, authority: str | None, report: Path | None
) -> Files:
    """Read every file.

    Raises:
        EvidenceError: naming the option.
    """
    if log is not None and (task is None or authority is None):
        raise EvidenceError("--log: needs --task and --authority as well")
    entries, heads = _read_ledger(ledger)
    return Files(
        operator=_public_key("--operator", operator),
        entries=entries,
        heads=heads,
        task=None if task is None else _parse_task(task),
        authority=None if authority is None else _public_key("--authority", authority),
        lines=None if log is None else _lines(log),
        report=None if report is None else _parse_report(report),
    )


def _read_ledger(path: Path) -> tuple[list[bytes], list[bytes]]:
    if not path.is_file():
        raise EvidenceError(f"--ledger: no file {path}")
    try:
        with closing(sqlite3.connect(_read_only(path.resolve()), uri=True)) as connection:
            rows = connection.execute("SELECT entry, head FROM ledger_entries ORDER BY seq").fetchall()
    except sqlite3.Error as error:
        raise EvidenceError(f"--ledger: expected a ledger in SQLite at {path}: {error}") from error
    if not all(isinstance(entry, bytes) and isinstance(head, bytes) for entry, head in rows):
        raise EvidenceError(f"--ledger: expected rows of bytes in {path}")
    return [entry for entry, _ in rows], [head for _, head in rows]


def _read_only(path: Path) -> str:
    """The ledger is never written, so that a reviewer cannot change the evidence.

    Without a write-ahead log beside it, SQLite would make one, and fail where it may not: unless the file is said to be
    immutable (https://www.sqlite.org/wal.html#read_only_databases).
    """
    alone = not path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?mode=ro{'&immutable=1' if alone else ''}"


def _public_key(option: str, given: str) -> bytes:
    """Hex, or a file that holds it."""
    text = given
    if not _is_key(given):
        try:
            text = Path(given).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise EvidenceError(f"{option}: expected 64 hex digits or a file of them, got {given}") from error
    if not _is_key(text):
        raise EvidenceError(f"{option}: expected 64 hex digits, got {len(text)} characters in {given}")
    return bytes.fromhex(text)


def _is_key(text: str) -> bool:
    return len(text) == 2 * PUBLIC_KEY_BYTES and all(digit in "0123456789abcdef" for digit in text)


def _parse_task(path: Path) -> TaskSpec:
    try:
        return TaskSpec.model_validate_json(_read("--task", path))
    except ValidationError as error:
        raise EvidenceError(f"--task: expected a task in JSON at {path}: {error}") from error


def _parse_report(path: Path) -> EpsilonReport:
    try:
        return EpsilonReport.model_validate_json(_read("--report", path))
    except ValidationError as error:
        raise EvidenceError(f"--report: expected an epsilon report in JSON at {path}: {error}") from error


def _lines(path: Path) -> list[bytes]:
    """Without the line breaks; what follows the last of them is a line that was never finished."""
    return _read("--log", path).split(b"\n")[:-1]


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{option}: {path}: {error.strerror or error}") from error
