"""The commands of the documentation: each exists with its options, and those that are quick do what they say."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.commands import (
    PAGES,
    Command,
    UnknownError,
    benchmark_options,
    commands,
    known_options,
    options,
    parse,
    tree,
)
from tests.support.golden import VERSIONS, GoldenRun
from tests.support.paths import ROOT

ALL = [command for page in PAGES for command in commands(page)]
QUICK = {
    ("fl-privacy", "verify"): (),
    ("fl-privacy", "report"): (),
    ("fl-privacy", "budget"): (),
    ("fl-privacy", "plan"): (),
    ("fl-privacy", "audit"): ("--trials", "50", "--battery", "40", "--canaries", "200"),
    ("fl-privacy", "diff"): (),
    ("fl-privacy", "keys"): (),
    ("fl-privacy", "witness"): (),
    ("fl-sim", "init"): (),
    ("fl-sim", "score"): (),
    ("fl-server", "authority"): (),
    ("fl-server", "enrol"): (),
    ("fl-server", "revoke"): (),
    ("fl-server", "export-ledger"): (),
    ("fl-client", "init"): (),
}
"""What is run for real, and what is added to make it small."""
MAKES = {("fl-server", "authority"), ("fl-client", "init"), ("fl-privacy", "keys"), ("fl-sim", "init")}
"""What later commands of the same page build on."""
MINUTES = {"plan"}
ENDS = {("fl-privacy", "budget"): {0, 1}}
"""Exit codes; 1: no round is left in the budget, which is so after the golden run."""
OF_FLWR = {"--run-config", "--federation-config", "--stream", "--isolation"}


def quick(command: Command) -> bool:
    """Whether it can be run: whole, and about no model that the reader has to write."""
    try:
        parse(command.words, whole=True)
    except UnknownError:
        return False
    own_model = "--architecture" in command.words
    return command.words[:2] in QUICK and len(command.words) > 2 and not own_model


@pytest.mark.parametrize("command", ALL, ids=str)
def test_a_command_exists_with_all_its_options(command: Command) -> None:
    parse(command.words, whole=command.whole)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_option_in_a_sentence_is_one_of_a_command(page: Path) -> None:
    known = known_options() | benchmark_options() | OF_FLWR
    assert [f"line {number}: {name}" for number, name in options(page) if name not in known] == []


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.long] if command.words[1] in MINUTES else [])
        for command in ALL
        if quick(command)
    ],
    ids=str,
)
def test_a_command_does_what_it_says(command: Command, place: Path) -> None:  # noqa: ARG001
    for earlier in commands(command.page):
        if earlier.line < command.line and earlier.words[:2] in MAKES and quick(earlier):
            run(earlier)
    run(command)


@pytest.mark.parametrize(
    "text",
    [
        "fl-sim rum",
        "fl-sim run --epsilom 3",
        "fl-sim run --rounds many",
        "fl-privacy verify --operator key --ledger ledger.db run more",
        "fl-privacy keys renew witness.key",
        "fl-server enrol --authorities",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    with pytest.raises(UnknownError):
        parse(tuple(text.split()), whole=False)


def test_what_a_whole_command_lacks_is_named() -> None:
    with pytest.raises(UnknownError, match="operator"):
        parse(("fl-privacy", "budget", "--ledger", "ledger.db"), whole=True)


def test_every_page_with_commands_is_read() -> None:
    pages = {command.page.name for command in ALL}
    assert {"README.md", "privacy-review.md", "enrolment.md", "planning.md", "simulation.md", "sweeps.md"} <= pages
    assert {command.words[:2] for command in ALL if quick(command)} >= QUICK.keys() - {("fl-server", "export-ledger")}


def run(command: Command) -> None:
    program, *rest = command.words
    ended = CliRunner().invoke(tree(program), [*rest, *QUICK[program, rest[0]]], prog_name=program)
    assert ended.exit_code in ENDS.get(command.words[:2], {0}), f"{command}: {ended.output} {ended.exception}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as `fl-sim run` leaves it."""
    golden, path = GoldenRun(VERSIONS[-1] / "secure"), tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(golden.path, path, ignore=shutil.ignore_patterns("checkpoint.json"))
    (path / "release" / "stable").symlink_to(golden.release.name)
    shutil.copy(golden.path / "operator.pub", path / "release")
    shutil.copy(golden.release / "report.json", path)
    return path


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory in which every path of the documentation leads to something small."""
    here = tmp_path / "review"
    shutil.copytree(finished, here, symlinks=True)
    for name in ("runs/demo", "runs/chat", "runs/dev"):
        shutil.copytree(finished, here / name, symlinks=True)
    shutil.copytree(finished, tmp_path / "last", symlinks=True)
    with (here / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], ["nobody wants you here"], ["see you at six"]])
    monkeypatch.chdir(here)
    return here
