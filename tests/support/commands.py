"""Commands as the documentation gives them, and the tree of subcommands and options that the programs have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import typer.main

from tests.support.paths import ROOT

PROGRAMS = {
    "fl-sim": "simulations.cli",
    "fl-privacy": "privacy.cli.app",
    "fl-server": "fl_server.cli",
    "fl-client": "fl_client.cli",
}
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "privacy/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))

_SPAN = re.compile(r"`([^`\n]+)`")
_SHELLS = {"", "sh"}


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        words: program, subcommands and arguments.
        whole: stands in a block of its own, not in a sentence, where it may be cut short.
    """

    page: Path
    line: int
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}:{' '.join(self.words[:2])}"


class UnknownError(ValueError):
    """No program has such a subcommand or option, or it does not take what it is given."""


def commands(page: Path) -> Iterator[Command]:
    """All that begin with one of the programs, in blocks and in sentences."""
    language: str | None = None
    begun, start = "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            language = line.strip().removeprefix("```") if language is None else None
        elif language is None:
            for span in _SPAN.findall(line):
                yield from _of(page, number, span, whole=False)
        elif language in _SHELLS:
            start = start if begun else number
            begun += line.removesuffix("\\") if line.endswith("\\") else line
            if not line.endswith("\\"):
                yield from _of(page, start, begun, whole=True)
                begun = ""


def options(page: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each option that a sentence names by itself."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fenced ^= line.lstrip().startswith("```")
        spans = [] if fenced else _SPAN.findall(line)
        yield from ((number, name) for span in spans for name in re.findall(r"^--[a-z][a-z0-9-]*", span))


@cache
def tree(program: str) -> click.Command:
    return typer.main.get_command(import_module(PROGRAMS[program]).app)


def parse(words: tuple[str, ...], *, whole: bool) -> None:
    """Check a command without running it; no file has to be there.

    Raises:
        UnknownError: when it is none of the program, or lacks what it needs although it is `whole`.
    """
    try:
        _parse(tree(words[0]), words[0], list(words[1:]), whole)
    except click.ClickException as error:
        raise UnknownError(f"{' '.join(words)}: {error.format_message()}") from error


def known_options() -> set[str]:
    """Of all subcommands of all programs."""
    return {name for program in PROGRAMS for command in _leaves(tree(program)) for name in _names(command)}


def benchmark_options() -> set[str]:
    """Of all scripts in benchmarks/."""
    return {
        name for path in (ROOT / "benchmarks").glob("*.py") for name in re.findall(r'"(--[a-z-]+)"', path.read_text())
    }


def _of(page: Path, number: int, text: str, *, whole: bool) -> Iterator[Command]:
    if text.split(" ", maxsplit=1)[0] in PROGRAMS:
        for part in text.split(" && "):
            words = shlex.split(part, comments=True)
            if words[0] in PROGRAMS and "..." not in words:
                yield Command(page, number, tuple(words), whole)


def _parse(command: click.Command, name: str, words: list[str], whole: bool) -> None:
    with click.Context(command, info_name=name) as context:
        if not whole and words and words[-1] in _names(command):
            words.pop()  # a sentence may name an option and leave its value out
        given, rest, _ = command.make_parser(context).parse_args(list(words))
        if isinstance(command, click.Group):
            if rest:
                chosen = command.get_command(context, rest[0])
                if chosen is None:
                    raise click.UsageError(f"no such command: {rest[0]}")
                _parse(chosen, rest[0], rest[1:], whole)
            return
        if rest:
            raise click.UsageError(f"too many arguments: {rest}")
        for parameter in command.params:
            value = given.get(parameter.name or "")
            if value in (None, ()):
                if parameter.required and whole:
                    raise click.MissingParameter(ctx=context, param=parameter)
            elif not isinstance(parameter.type, click.Path):
                parameter.type_cast_value(context, value)


def _leaves(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _leaves(below)


def _names(command: click.Command) -> Iterator[str]:
    yield "--help"
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
