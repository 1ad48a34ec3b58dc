"""The files that a reviewer brings, read and parsed; nothing of them is believed yet."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from privacy.audit import TaskAudits
from privacy.base.canonical import Frozen
from privacy.base.errors import what_is_wrong
from privacy.base.signing import PUBLIC_KEY_BYTES
from privacy.ledger.ledger import SignedHead
from privacy.ledger.witness import Checkpoint
from privacy.release.files import CARD_FILE, MODEL_FILE, REPORT_FILE, STATEMENT_FILE, TASK_FILE
from privacy.report.model import AuditPart, EpsilonReport
from privacy.task.task import TaskSpec


class EvidenceError(ValueError):
    """A file or a key that cannot be read at all; what is in it has not been judged."""


@dataclass(frozen=True)
class Files:
    """What there is to verify; what may be missing is None.

    Attributes:
        operator: the operator's Ed25519 public key.
        entries: the ledger's entries, in order.
        heads: the signed head that is stored with each of them.
        task: the task whose charges, report, release and rounds are checked.
        authority: the enrolment authority's Ed25519 public key.
        lines: lines of the round log, without their line breaks.
        report: the epsilon report.
        report_bytes: the file that it was read from.
        release: every file of a release directory, by name.
        checkpoint: the last head that a witness cosigned.
        witness: the witness's Ed25519 public key.
    """

    operator: bytes
    entries: list[bytes]
    heads: list[bytes]
    task: TaskSpec | None = None
    authority: bytes | None = None
    lines: list[bytes] | None = None
    report: EpsilonReport | None = None
    report_bytes: bytes = b""
    release: dict[str, bytes] | None = None
    checkpoint: Checkpoint | None = None
    witness: bytes | None = None

    @property
    def head(self) -> SignedHead | None:
        """The ledger's last signed head; None when it cannot be parsed."""
        try:
            return SignedHead.model_validate_json(self.heads[-1])
        except (IndexError, ValidationError):
            return None


@dataclass(frozen=True)
class Paths:
    """Where the files are, by the name of their option; keys are given in hex or as a file of it.

    All but ledger and operator's key may be missing.
    """

    ledger: Path
    operator: str
    task: Path | None = None
    log: Path | None = None
    authority: str | None = None
    report: Path | None = None
    release: Path | None = None
    checkpoint: Path | None = None
    witness: str | None = None


def read_evidence(paths: Paths) -> Files:
    """Read every file; a release brings its own task and report, unless others are given.

    Raises:
        EvidenceError: when a file cannot be read or another is missing beside it; the message names the option.
    """
    release = None if paths.release is None else _read_release(paths.release)
    task_bytes = _optional("--task", paths.task, release, TASK_FILE)
    report_bytes = _optional("--report", paths.report, release, REPORT_FILE)
    if paths.log is not None and (task_bytes is None or paths.authority is None):
        raise EvidenceError("--log: needs --authority, and --task or --release, as well")
    if (paths.checkpoint is None) != (paths.witness is None):
        raise EvidenceError("--checkpoint: needs --witness as well, and the other way round")
    entries, heads = read_ledger(paths.ledger)
    return Files(
        operator=read_public_key("--operator", paths.operator),
        entries=entries,
        heads=heads,
        task=None if task_bytes is None else _parse("--task", TaskSpec, task_bytes),
        authority=None if paths.authority is None else read_public_key("--authority", paths.authority),
        lines=None if paths.log is None else _lines(paths.log),
        report=None if report_bytes is None else _parse("--report", EpsilonReport, report_bytes),
        report_bytes=report_bytes or b"",
        release=release,
        checkpoint=None if paths.checkpoint is None else read_checkpoint(paths.checkpoint),
        witness=None if paths.witness is None else read_public_key("--witness", paths.witness),
    )


def read_report(option: str, path: Path) -> EpsilonReport:
    """Read an epsilon report.

    Raises:
        EvidenceError: when the file holds none; the message names the option.
    """
    return _parse(option, EpsilonReport, _read(option, path))


def read_task(option: str, path: Path) -> TaskSpec:
    """Read a task.

    Raises:
        EvidenceError: when the file holds none; the message names the option.
    """
    return _parse(option, TaskSpec, _read(option, path))


def read_audits(option: str, path: Path, task: TaskSpec) -> tuple[AuditPart, ...]:
    """Read what `fl-privacy audit --out` wrote about a task.

    Args:
        option: the option's name, for messages.
        path: the file.
        task: the task that the audits must be of.

    Raises:
        EvidenceError: when the file holds no audits, or those of another task; the message names the option.
    """
    audits = _parse(option, TaskAudits, _read(option, path))
    if audits.task != task.id:
        raise EvidenceError(f"{option}: expected audits of task {task.id}, got those of {audits.task}")
    return audits.audits


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a witness's checkpoint.

    Raises:
        EvidenceError: when the file holds none.
    """
    return _parse("--checkpoint", Checkpoint, _read("--checkpoint", path))


def read_ledger(path: Path) -> tuple[list[bytes], list[bytes]]:
    """Read a ledger in SQLite without writing anything: its entries, and the signed head stored with each, in order.

    Raises:
        EvidenceError: when there is no ledger.
    """
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
    """Return the URI that opens a ledger without ever writing it, so that a reviewer cannot change the evidence.

    Without a write-ahead log beside it, SQLite would make one, and fail where it may not: unless the file is said to be
    immutable (https://www.sqlite.org/wal.html#read_only_databases).
    """
    has_log = path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?mode=ro{'' if has_log else '&immutable=1'}"


def read_public_key(option: str, given: str) -> bytes:
    """Read an Ed25519 public key, given in hex or as the path of a file that holds it.

    Raises:
        EvidenceError: when it is neither; the message names the option.
    """
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


_Record = TypeVar("_Record", bound=Frozen)


def _parse(option: str, kind: type[_Record], data: bytes) -> _Record:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise EvidenceError(f"{option}: expected a {kind.__name__} in JSON; {what_is_wrong(error)}") from error


def _optional(option: str, path: Path | None, release: dict[str, bytes] | None, name: str) -> bytes | None:
    if path is not None:
        return _read(option, path)
    return None if release is None else release[name]


def _read_release(path: Path) -> dict[str, bytes]:
    names = (MODEL_FILE, TASK_FILE, CARD_FILE, REPORT_FILE, STATEMENT_FILE)
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        hint = f"; try {path / 'stable'}" if (path / "stable").is_dir() else ""
        raise EvidenceError(f"--release: expected a release directory, but {path} has no {missing[0]}{hint}")
    return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.is_file()}


def _lines(path: Path) -> list[bytes]:
    """Return a log's lines without their line breaks, and without what follows the last break, which is unfinished."""
    return _read("--log", path).split(b"\n")[:-1]


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{option}: {path}: {error.strerror or error}") from error
