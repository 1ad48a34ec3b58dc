"""A refusal names the flag that helps: with it, the same file loads. And no message is longer than a screen."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from simulations.cli import app

ROWS = "".join(f"text {n};{n % 2}\n" for n in range(6))
QUOTES = "text\tlabel\n" + "".join(f'"so {n}\t{n % 2}\n' for n in range(6))


def shown(path: Path, *flags: str) -> Result:
    return CliRunner().invoke(app, ["data", str(path), *flags])


@pytest.mark.parametrize(
    ("name", "content", "flags", "hint"),
    [
        ("a.csv", f"text;label\n{ROWS}".encode(), "", "--separator semicolon"),
        ("a.csv", f"text;label\n{ROWS}".encode().replace(b";", b"\t"), "", "--separator tab"),
        ("a.tsv", QUOTES.encode(), "", "--no-quoting"),
        ("a.csv", f"text;label\n{ROWS}é;1\n".encode("cp1252"), "--separator ;", "--encoding cp1252"),
        ("a.csv", f"text;label\n{ROWS}".encode("utf-16"), "--separator ;", "--encoding utf-16"),
        ("a.csv", f"text;label\n{ROWS}".encode("utf-16-le"), "--separator ;", "--encoding utf-16-le"),
        ("a.csv", f"text;label\n{ROWS}".encode("utf-16-be"), "--separator ;", "--encoding utf-16-be"),
        ("a.csv", b"text,label\na,hate\nb,fine\n", "", "--positive hate"),
        ("a.csv", b"text,label\na,0.7\nb,0.2\n", "", '--positive ">=0.5"'),
        ("a.csv", b"text,label\na,0\nb,1\nc,\n", "", "--where 'label!='"),
        ("a.csv", b"text,label,user\na,0,x\nb,1,y\nc,1,#N/A\n", "--user-column user", "--where 'user!=#N/A'"),
        ("a.csv", b"text,label,user\na,0,x\nb,1,y\nc,1,\n", "--user-column user", "--where 'user!='"),
        (
            "a.json",
            b'[{"text": "a", "label": [1, 0, 1]}, {"text": "b", "label": [0, 0, 1]}]',
            "",
            "--votes majority",
        ),
        ("a.dat", b"text;label\na;0\nb;1\n", "--separator ;", ""),
    ],
)
def test_the_flag_that_a_refusal_names_helps(name: str, content: bytes, flags: str, hint: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    given = shlex.split(flags.replace(";", "';'"))
    if hint:
        refused = shown(path, *given)
        assert refused.exit_code == 2
        # cp1252 is one of several guesses that a person has to make, and so not the whole of the hint
        assert hint.removesuffix(" cp1252") in refused.output
        assert hint.rpartition(" ")[2] in refused.output
    result = shown(path, *given, *shlex.split(hint))
    assert result.exit_code == 0, result.output
    assert "abuse" in result.output


LONG = "x" * 300_000
WIDE = ",".join(f"column{n}" for n in range(5_000))


@pytest.mark.parametrize(
    ("name", "content", "flags"),
    [
        ("a.jsonl", json.dumps({"text": LONG}) + "\n" + LONG, []),
        ("a.jsonl", json.dumps({LONG: 1, "label": 0}), []),
        ("a.json", json.dumps([LONG, LONG]), []),
        ("a.csv", f"text,label\na,{LONG}\nb,0\n", []),
        ("a.csv", f"{WIDE}\n{WIDE}\n", []),
        ("a.csv", f"text,label\n{LONG},0,{LONG}\n", []),
        ("a.csv", f"text,label,user\na,1,{LONG}\nb,0,\n", ["--user-column", "user"]),
        ("a.csv", f"text,label,at\na,1,{LONG}\nb,0,1\n", ["--time-column", "at"]),
        ("a.csv", "text,label\n" + "".join(f"a,word{n}\n" for n in range(5_000)), ["--positive", "none of these"]),
        ("a.csv", "text,label\na,0\nb,1\n", ["--where", f"label={LONG}"]),
        ("a.csv", "text,label\na,0\nb,1\n", ["--text-column", LONG]),
        ("a.csv", "text,label\na,0\nb,1\n", ["--encoding", LONG]),
        ("a.csv", "text,label\n\x1b[2J,0\nb,7\n", []),
    ],
)
def test_no_message_is_longer_than_a_screen(name: str, content: str, flags: list[str], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    result = shown(path, *flags)
    assert result.exit_code == 2, result.output[:2_000]
    assert len(result.output) < 3_500
    assert result.output.count("\n") < 24
    assert "\x1b" not in re.sub(r"\x1b\[\d*m", "", result.output)
    assert "Traceback" not in result.output


def test_what_cannot_be_used_is_shown_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("id\ttweet\tsubtask_a\n1\tyou fool\tOFF\n2\thello\tNOT\n")
    result = shown(path)
    assert result.exit_code == 2
    for line in (
        "2 rows, cells between tabs",
        "columns: id, tweet, subtask_a",
        "row 1: id='1', tweet='you fool', subtask_a='OFF'",
    ):
        assert line in result.output
