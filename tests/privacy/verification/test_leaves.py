"""No figure or word that a person reads in a run's directory can be changed unseen: by an outsider, or by the signer.

The law, for each file and each value in it: `verify` fails, or says that it did not verify that value.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from privacy.base.canonical import canonical_json
from privacy.secagg.server.record import RoundRecord, line_digest, sign_record
from privacy.verification.checks import Check
from privacy.verification.directory import find_run
from privacy.verification.evidence import EvidenceError, Paths, read_evidence
from privacy.verification.verify import verify_all
from tests.support.resigned import OPERATOR, resigned

Place = tuple[str | int, ...]
QUICK = 8
"""Values a file in the default run: each costs a review."""


@dataclass(frozen=True)
class Lie:
    """One value of a file, changed."""

    file: str
    place: Place


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Every value that has no other inside it, and every list and object that is empty."""
    inner: Iterator[tuple[str | int, Any]] | None = None
    if isinstance(value, dict) and value:
        inner = iter(value.items())
    elif isinstance(value, list) and value:
        inner = iter(enumerate(value))
    if inner is None:
        yield place
        return
    for key, one in inner:
        yield from leaves(one, (*place, key))


def other(value: Any) -> Any:
    """A value of the same kind, and another one."""
    if isinstance(value, str):
        return other_text(value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return {list: ["something"], dict: {"something": 1}}.get(type(value), "something")


def other_text(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{32,}", value):
        return ("0" if value[0] != "0" else "1") + value[1:]
    if re.fullmatch(r"[\d.]+", value):
        return value[:-1] + ("1" if value[-1] != "1" else "2")
    return f"{value} indeed"


def changed(document: Any, place: Place) -> Any:
    """A copy with another value in one place."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = other(inner[place[-1]])
    return copy


def without(document: Any, place: Place) -> Any:
    """A copy that lacks one place."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return copy


def review(run: Path, given: Paths | None = None) -> list[Check] | None:
    """What a reviewer is told; None for files that are refused outright."""
    try:
        return verify_all(read_evidence(*find_run(run, Paths()) if given is None else (given,)))
    except EvidenceError:
        return None


def seen(checks: list[Check] | None, lie: Lie) -> bool:
    """Whether a check failed, or one names the changed value, or what it is in, as not verified."""
    if checks is None or any(check.passed is False for check in checks):
        return True
    full = [lie.file, *map(str, lie.place)]
    return any(covers(place, full) for check in checks if check.passed is None for place in check.places)


def covers(place: str, full: list[str]) -> bool:
    file, _, inside = place.partition("#")
    parts = [file, *(inside.split(".") if inside else [])]
    return len(parts) <= len(full) and all(one in ("*", two) for one, two in zip(parts, full, strict=False))


@pytest.fixture
def release(run: Path) -> Path:
    return (run / "release" / "stable").resolve()


def test_an_honest_run_has_nothing_that_fails(run: Path) -> None:
    checks = review(run)
    assert checks is not None
    assert [check for check in checks if check.passed is False] == []


def test_the_law_can_fail() -> None:
    """A check that names another place, or passes, does not excuse a lie."""
    lie = Lie("report.json", ("claim", "epsilon"))
    assert not seen([Check("a", True, "", ("report.json#claim.epsilon",))], lie)
    assert not seen([Check("a", None, "", ("report.json#claim.delta", "summary.json"))], lie)
    assert seen([Check("a", None, "", ("report.json#claim",))], lie)
    assert seen([Check("a", False, "")], lie)


def chosen(places: list[Place], *, whole: bool) -> list[Place]:
    return places if whole else places[:: max(1, -(-len(places) // QUICK))]


_WHOLE = pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(2 * 3600)])
"""Some files have hundreds of values, and each costs a review."""
each_extent = pytest.mark.parametrize("whole", [False, _WHOLE])


def parsed(path: Path) -> list[Any]:
    """The documents of a file: one, or one a line."""
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


def written(path: Path, documents: list[Any]) -> None:
    """As the writer of the file would."""
    if path.name == "summary.json":
        path.write_text(json.dumps(documents[0], indent=2) + "\n")
    elif path.name == "metrics.jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in documents))
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(canonical_json(one) + b"\n" for one in documents))
    else:
        path.write_bytes(canonical_json(documents[0]))


FILES = ["report.json", "summary.json", "metrics.jsonl", "rounds.jsonl"]
RELEASED = ["report.json", "card.json", "task.json", "statement.dsse.json"]


SIGNED = [f"release/stable/{name}" for name in RELEASED]


@each_extent
@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((name, changed) for name in [*FILES, *SIGNED]),
        # A figure of the summary that is left out says nothing that is false.
        *((name, without) for name in [*FILES, *SIGNED] if name != "summary.json"),
    ],
)
def test_by_an_outsider(run: Path, name: str, change: Any, whole: bool) -> None:
    path = run / name
    honest, documents = path.read_bytes(), parsed(path)
    places = [(at, *place) for at, one in enumerate(documents) for place in leaves(one)]
    unseen = []
    for at, *place in chosen(places, whole=whole):
        lie = [change(one, tuple(place)) if number == at else one for number, one in enumerate(documents)]
        written(path, lie)
        where = (at, *place) if path.suffix == ".jsonl" else tuple(place)
        if not seen(review(run), Lie(path.name, where)):
            unseen.append(where)
    path.write_bytes(honest)
    assert unseen == []


@each_extent
@pytest.mark.parametrize("name", ["report.json", "card.json"])
def test_by_the_signer(run: Path, release: Path, tmp_path: Path, name: str, whole: bool) -> None:
    """Who signs the lie, and draws its page: what follows from ledger and log is found, the rest is named."""
    document = json.loads((release / name).read_bytes())
    unseen = []
    for at, place in enumerate(chosen(list(leaves(document)), whole=whole)):
        copy = Path(shutil.copytree(run, tmp_path / f"lie{at}", symlinks=True))
        try:
            resigned(copy, copy / "release" / release.name, name, canonical_json(changed(document, place)))
        except ValueError:
            continue  # no report any more: the page cannot be drawn
        if not seen(review(copy), Lie(name, place)):
            unseen.append(place)
        shutil.rmtree(copy)
    assert unseen == []


@each_extent
def test_by_the_signer_in_the_log(run: Path, whole: bool) -> None:
    path = run / "rounds.jsonl"
    honest = [json.loads(line)["record"] for line in path.read_bytes().splitlines()]
    places = [(at, *place) for at, one in enumerate(honest) for place in leaves(one) if place != ("previous",)]
    unseen = []
    for at, *place in chosen(places, whole=whole):
        try:
            lie = [changed(one, tuple(place)) if number == at else one for number, one in enumerate(honest)]
            path.write_bytes(chained(lie))
        except ValueError:
            continue  # no record any more
        if not seen(review(run), Lie(path.name, (at, "record", *place))):
            unseen.append((at, *place))
    assert unseen == []


def chained(records: list[dict[str, Any]]) -> bytes:
    """The lines signed anew, each naming the one before."""
    lines: list[bytes] = []
    for document in records:
        record = RoundRecord.model_validate_json(json.dumps(document))
        before = line_digest(lines[-1]) if lines else "0" * 64
        lines.append(sign_record(record.model_copy(update={"previous": before}), OPERATOR))
    return b"".join(line + b"\n" for line in lines)


@each_extent
def test_without_a_release_or_log(run: Path, whole: bool) -> None:
    """A report with its task and ledger alone: what was taken over from it is named, value by value."""
    path = run / "report.json"
    document = json.loads(path.read_bytes())
    given = Paths(
        ledger=run / "ledger.db",
        operator=OPERATOR.public.hex(),
        task=run / "release" / "stable" / "task.json",
        report=path,
    )
    unseen = []
    for place in chosen(list(leaves(document)), whole=whole):
        path.write_bytes(canonical_json(changed(document, place)))
        if not seen(review(run, given), Lie(path.name, place)):
            unseen.append(place)
    assert unseen == []
