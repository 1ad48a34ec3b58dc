"""The files of a run, found in its directory by their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from privacy.verification.errors import EvidenceError
from privacy.verification.evidence import CHANNELS, KEY_FILE, Paths, RunFiles

_LEDGER, _LOG, _TASK, _REPORT = "ledger.db", "rounds.jsonl", "task.json", "report.json"
_AUTHORITY, _CHECKPOINT, _WITNESS = "authority.pub", "checkpoint.json", "witness.key.pub"
_PAGE, _SUMMARY, _METRICS, _RELEASE = "report.html", "summary.json", "metrics.jsonl", "release"
_LOCK = ".lock"
_KEYS = {"--operator": KEY_FILE, "--authority": _AUTHORITY, "--witness": _WITNESS}


def find_run(directory: Path, given: Paths) -> tuple[Paths, RunFiles]:
    """Return where a run's files are, and what its directory holds besides.

    Args:
        directory: of `fl-sim run`, or of a server.
        given: what was named by an option, which is taken in place of the directory's own.

    Raises:
        EvidenceError: when it is no run's directory, or holds no ledger or no operator's key and none was given.
    """
    if not directory.is_dir():
        raise EvidenceError(f"DIR: expected a run's directory, got {directory}")
    ledger = given.ledger or _file(directory, _LEDGER)
    if ledger is None:
        raise EvidenceError(f"DIR: {directory} has no {_LEDGER}; expected one there or --ledger")
    keys = {option: path for option, name in _KEYS.items() if (path := _file(directory, name))}
    named = {"--operator": given.operator, "--authority": given.authority, "--witness": given.witness}
    own = [option for option in keys if named[option] is None]
    chosen = {option: named[option] or (str(keys[option]) if option in keys else None) for option in _KEYS}
    if chosen["--operator"] is None:
        raise EvidenceError(f"DIR: {directory} has no {KEY_FILE}; expected one there or --operator")
    release = given.release or _release(directory)
    task = given.task or (None if release else _file(directory, _TASK))
    checkpoint = given.checkpoint or _file(directory, _CHECKPOINT)
    paths = replace(
        given,
        ledger=ledger,
        operator=chosen["--operator"],
        task=task,
        log=given.log or (_log(directory) if chosen["--authority"] and (task or release) else None),
        authority=chosen["--authority"],
        report=given.report or _file(directory, _REPORT),
        release=release,
        checkpoint=checkpoint if chosen["--witness"] else given.checkpoint,
        witness=chosen["--witness"] if checkpoint else given.witness,
    )
    page, summary, metrics = (_bytes(directory, name) for name in (_PAGE, _SUMMARY, _METRICS))
    read = {Path(value).resolve() for value in vars(paths).values() if value is not None}
    read |= {path.resolve() for path in keys.values()}
    read |= {(directory / name).resolve() for name in (_PAGE, _SUMMARY, _METRICS)}
    read |= {release.resolve().parent} if release else set()
    return paths, RunFiles(
        page=page,
        summary=summary,
        metrics=metrics,
        own_keys=tuple(own),
        keys={option: path.read_text(encoding="utf-8", errors="replace") for option, path in keys.items()},
        unread=tuple(
            one.name for one in sorted(directory.iterdir()) if one.resolve() not in read and not _is_lock(one)
        ),
    )


def _file(directory: Path, name: str) -> Path | None:
    return directory / name if (directory / name).is_file() else None


def _bytes(directory: Path, name: str) -> bytes | None:
    return (directory / name).read_bytes() if (directory / name).is_file() else None


def _release(directory: Path) -> Path | None:
    channels = (directory / _RELEASE / channel for channel in CHANNELS)
    return next((channel for channel in channels if channel.is_dir()), None)


def _log(directory: Path) -> Path | None:
    """Return the round log; None for an empty one, as a run without the protocol leaves it."""
    path = _file(directory, _LOG)
    return path if path is not None and path.stat().st_size else None


def _is_lock(path: Path) -> bool:
    return path.name == _LOCK and path.is_file() and not path.stat().st_size
