"""The files that a reviewer brings, read and parsed; nothing of them is believed yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
from privacy.verification.errors import EvidenceError
from privacy.verification.ledger_file import read_ledger_file

__all__ = [
    "EvidenceError",
    "Files",
    "Paths",
    "Registry",
    "RunFiles",
    "read_audits",
    "read_checkpoint",
    "read_evidence",
    "read_ledger",
    "read_public_key",
    "read_report",
    "read_task",
]

KEY_FILE = "operator.pub"
"""The operator's public key, beside releases and in a run's directory: whoever can write there can replace it."""
CHANNELS = ("stable", "extrapolated")
"""Symbolic links beside the releases, each to one of them."""


@dataclass(frozen=True)
class Registry:
    """The directory that a release lies in.

    Attributes:
        chosen: the name of the release's own directory.
        key: the text of the operator's key beside the releases; None where there is none.
        releases: every release's files by name, by the name of its directory.
        others: names of what is neither a release nor a channel.
    """

    chosen: str
    key: str | None
    releases: Mapping[str, Mapping[str, bytes]]
    others: tuple[str, ...]


@dataclass(frozen=True)
class RunFiles:
    """What a run's directory holds beside the evidence, most of it for people to read.

    Attributes:
        page: the report's page, `report.html`.
        summary: `summary.json`.
        metrics: `metrics.jsonl`.
        own_keys: options whose key was taken from the directory itself, since none was given.
        keys: the texts of public keys in the directory, by the option that each is for.
        unread: names of files and folders that no check reads.
    """

    page: bytes | None = None
    summary: bytes | None = None
    metrics: bytes | None = None
    own_keys: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """What there is to verify; what may be missing is None.

    Attributes:
        operator: the operator's Ed25519 public key.
        entries: the ledger's entries, in order.
        heads: the signed head that is stored with each of them.
        strays: what else is in the ledger's file, in words.
        pending: whether a write-ahead log was read with the ledger's file.
        task: the task whose charges, report, release and rounds are checked.
        task_bytes: the file that it was read from.
        authority: the enrolment authority's Ed25519 public key.
        lines: lines of the round log, without their line breaks.
        unfinished: how many bytes follow the log's last line break.
        report: the epsilon report.
        report_bytes: the file that it was read from.
        release: every file of a release directory, by name; a folder's name ends with a slash.
        registry: the directory that the release lies in, if that holds nothing but releases.
        checkpoint: the last head that a witness cosigned.
        witness: the witness's Ed25519 public key.
        run: what a run's directory holds besides; None where none was given.
    """

    operator: bytes
    entries: list[bytes]
    heads: list[bytes]
    strays: tuple[str, ...] = ()
    pending: bool = False
    task: TaskSpec | None = None
    task_bytes: bytes = b""
    authority: bytes | None = None
    lines: list[bytes] | None = None
    unfinished: int = 0
    report: EpsilonReport | None = None
    report_bytes: bytes = b""
    release: dict[str, bytes] | None = None
    registry: Registry | None = None
    checkpoint: Checkpoint | None = None
    witness: bytes | None = None
    run: RunFiles | None = None

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

    ledger: Path | None = None
    operator: str | None = None
    task: Path | None = None
    log: Path | None = None
    authority: str | None = None
    report: Path | None = None
    release: Path | None = None
    checkpoint: Path | None = None
    witness: str | None = None


def read_evidence(paths: Paths, run: RunFiles | None = None) -> Files:
    """Read every file; a release brings its own task and report, unless others are given.

    Args:
        paths: where the files are.
        run: what a run's directory holds besides, where they were found in one.

    Raises:
        EvidenceError: when a file cannot be read or another is missing beside it; the message names the option.
    """
    if paths.ledger is None or paths.operator is None:
        missing = "--ledger" if paths.ledger is None else "--operator"
        raise EvidenceError(f"{missing}: expected one, or a run's directory that holds it, got none")
    release = None if paths.release is None else _read_release(paths.release)
    task_bytes = _optional("--task", paths.task, release, TASK_FILE)
    report_bytes = _optional("--report", paths.report, release, REPORT_FILE)
    if paths.log is not None and (task_bytes is None or paths.authority is None):
        raise EvidenceError("--log: needs --authority, and --task or --release, as well")
    if (paths.checkpoint is None) != (paths.witness is None):
        raise EvidenceError("--checkpoint: needs --witness as well, and the other way round")
    ledger = read_ledger_file(paths.ledger)
    log = None if paths.log is None else _read("--log", paths.log).split(b"\n")
    return Files(
        operator=read_public_key("--operator", paths.operator),
        entries=ledger.entries,
        heads=ledger.heads,
        strays=ledger.strays,
        pending=ledger.pending,
        task=None if task_bytes is None else _parse("--task", TaskSpec, task_bytes),
        task_bytes=task_bytes or b"",
        authority=None if paths.authority is None else read_public_key("--authority", paths.authority),
        lines=None if log is None else log[:-1],
        unfinished=0 if log is None else len(log[-1]),
        report=None if report_bytes is None else _parse("--report", EpsilonReport, report_bytes),
        report_bytes=report_bytes or b"",
        release=release,
        registry=None if paths.release is None else _read_registry(paths.release.resolve()),
        checkpoint=None if paths.checkpoint is None else read_checkpoint(paths.checkpoint),
        witness=None if paths.witness is None else read_public_key("--witness", paths.witness),
        run=run,
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
    ledger = read_ledger_file(path)
    return ledger.entries, ledger.heads


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
    return _files_in(path)


def _files_in(path: Path) -> dict[str, bytes]:
    """Return the bytes of each file by name; of a folder, whose name ends with a slash, none."""
    found = sorted(path.iterdir())
    return {f"{one.name}/" if one.is_dir() else one.name: b"" if one.is_dir() else one.read_bytes() for one in found}


def _read_registry(release: Path) -> Registry | None:
    """Read the directory that a release lies in; None where it is none of releases alone, having no channel or key."""
    root = release.parent
    key = root / KEY_FILE
    if not key.exists() and not any((root / channel).is_symlink() for channel in CHANNELS):
        return None
    releases, others = {}, []
    for one in sorted(root.iterdir()):
        if one.is_dir() and not one.is_symlink() and (one / STATEMENT_FILE).is_file():
            releases[one.name] = _files_in(one)
        elif one.name != KEY_FILE and not (one.name in CHANNELS and one.is_symlink() and one.resolve().parent == root):
            others.append(one.name)
    text = key.read_text(encoding="utf-8", errors="replace") if key.is_file() else None
    return Registry(release.name, text, releases, tuple(others))


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceError(f"{option}: {path}: {error.strerror or error}") from error
