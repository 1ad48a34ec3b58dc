"""Files of messages as public sets have them, made up: one function a kind, each with columns and quirks of its own.

Each has 24 messages of 12 people, 8 of them abuse, and returns the flags with which it loads.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

MESSAGES = 24
ABUSE = [n % 3 == 0 for n in range(MESSAGES)]
TEXTS = [f'{"you fool" if bad else "see you"} at {n}, "friend"' for n, bad in enumerate(ABUSE)]
USERS = [f"u{n % 12}" for n in range(MESSAGES)]

Flags = list[str]


def delimited(rows: Sequence[Sequence[object]], separator: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> str:
    """Rows as the csv module writes them."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="\n").writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


def workbook(rows: Sequence[Sequence[object]]) -> bytes:
    """The least that a spreadsheet program takes for a workbook of one sheet."""
    cells = "".join(
        "<row>" + "".join(f'<c t="inlineStr"><is><t>{escape(str(cell))}</t></is></c>' for cell in row) + "</row>"
        for row in rows
    )
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'spreadsheetml.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
        '<sheet name="Chat" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def olid(at: Path) -> Flags:
    """Tabs with CSV's quoting in some lines; the labels of the test set lie in a file without a header."""
    rows = [(100 + n, text, "OFF" if bad else "NOT") for n, (text, bad) in enumerate(zip(TEXTS, ABUSE, strict=True))]
    (at / "training.tsv").write_text(delimited([("id", "tweet", "subtask_a"), *rows], "\t"))
    (at / "testset.tsv").write_text(delimited([("id", "tweet"), (1, "a fool you are"), (2, 'a "nice" day')], "\t"))
    (at / "labels.csv").write_text("1,OFF\n2,NOT\n")
    return [
        "training.tsv", "--text-column", "tweet", "--label-column", "subtask_a", "--positive", "OFF", "--test",
        "testset.tsv", "--test-labels", "labels.csv", "--labels-columns", "id,subtask_a", "--join", "id",
    ]  # fmt: skip


def detox(at: Path) -> Flags:
    """Comments and their annotations, ten a comment, joined by an id; line ends are words."""
    comments = [
        (float(n), f"{text}NEWLINE_TOKENgood bye", "2015", "train" if n > 8 else "test") for n, text in enumerate(TEXTS)
    ]
    (at / "comments.tsv").write_text(delimited([("rev_id", "comment", "year", "split"), *comments], "\t"))
    votes = [(n, worker, float(worker < (6 if bad else 5))) for n, bad in enumerate(ABUSE) for worker in range(10)]
    (at / "annotations.tsv").write_text(delimited([("rev_id", "worker_id", "attack"), *votes], "\t"))
    return [
        "comments.tsv", "--text-column", "comment", "--replace", "NEWLINE_TOKEN=\\n", "--labels", "annotations.tsv",
        "--join", "rev_id", "--label-column", "attack", "--votes", "majority", "--test-where", "split=test",
    ]  # fmt: skip


def hatexplain(at: Path) -> Flags:
    """One object of posts, each with words for a text and three annotators."""
    labels = {True: ("hatespeech", "offensive", "normal"), False: ("normal", "normal", "offensive")}
    posts = {
        f"{n}_gab": {
            "post_id": f"{n}_gab",
            "annotators": [{"label": label, "annotator_id": k} for k, label in enumerate(labels[bad])],
            "post_tokens": text.split(),
        }
        for n, (text, bad) in enumerate(zip(TEXTS, ABUSE, strict=True))
    }
    (at / "dataset.json").write_text(json.dumps(posts))
    return [
        "dataset.json", "--text-column", "post_tokens", "--label-column", "annotators.label", "--positive",
        "hatespeech,offensive", "--votes", "majority",
    ]  # fmt: skip


def convokit(at: Path) -> Flags:
    """Utterances, some of which are headers of sections."""
    rows = [{"id": "h", "speaker": "u0", "text": "== Title ==", "meta": {"is_section_header": True}, "timestamp": 0.5}]
    rows += [
        {
            "id": str(n),
            "speaker": user,
            "text": text,
            "meta": {"is_section_header": False, "comment_has_personal_attack": bad},
            "timestamp": float(n),
        }
        for n, (text, user, bad) in enumerate(zip(TEXTS, USERS, ABUSE, strict=True))
    ]
    (at / "utterances.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        "utterances.jsonl", "--label-column", "meta.comment_has_personal_attack", "--user-column", "speaker", "--where",
        "meta.is_section_header=false", "--time-column", "timestamp",
    ]  # fmt: skip


def civil_comments(at: Path) -> Flags:
    """The fraction of raters who said so."""
    rows = [(n, 0.6 if bad else 0.4, text) for n, (text, bad) in enumerate(zip(TEXTS, ABUSE, strict=True))]
    (at / "train.csv").write_text(delimited([("id", "target", "comment_text"), *rows]))
    return ["train.csv", "--text-column", "comment_text", "--label-column", "target", "--positive", ">=0.5"]


def jigsaw(at: Path) -> Flags:
    """Several columns of labels, and a test set of which some rows are not used."""
    rows = [(n, text, int(bad and n % 2), int(bad)) for n, (text, bad) in enumerate(zip(TEXTS, ABUSE, strict=True))]
    (at / "train.csv").write_text(delimited([("id", "comment_text", "toxic", "obscene"), *rows]))
    (at / "test.csv").write_text(delimited([("id", "comment_text"), ("a", "fool"), ("b", "friend"), ("c", "unused")]))
    (at / "test_labels.csv").write_text("id,toxic,obscene\na,0,1\nb,0,0\nc,-1,-1\n")
    return [
        "train.csv", "--text-column", "comment_text", "--label-column", "toxic,obscene", "--test", "test.csv",
        "--test-labels", "test_labels.csv", "--join", "id", "--where", "toxic!=-1",
    ]  # fmt: skip


def davidson(at: Path) -> Flags:
    """Three classes as numbers, the index in a column without a name."""
    classes = [n % 2 if bad else 2 for n, bad in enumerate(ABUSE)]
    rows = [(n, 3, label, text) for n, (label, text) in enumerate(zip(classes, TEXTS, strict=True))]
    (at / "labeled_data.csv").write_text(delimited([("", "count", "class", "tweet"), *rows]))
    return ["labeled_data.csv", "--text-column", "tweet", "--label-column", "class", "--positive", "0,1"]


def germeval(at: Path) -> Flags:
    """Tabs, no header, quotation marks that mean nothing, and a name that says nothing."""
    lines = [f'"{text}\t{"OFFENSE" if bad else "OTHER"}\tfine\n' for text, bad in zip(TEXTS, ABUSE, strict=True)]
    (at / "germeval.training.txt").write_text("".join(lines))
    return [
        "germeval.training.txt", "--separator", "tab", "--no-quoting", "--columns", "text,label,kind", "--positive",
        "OFFENSE",
    ]  # fmt: skip


def xlsx(at: Path) -> Flags:
    """A sheet of a workbook."""
    rows = list(zip(TEXTS, map(int, ABUSE), USERS, strict=True))
    (at / "chat.xlsx").write_bytes(workbook([("message", "abusive", "who"), *rows]))
    return ["chat.xlsx", "--text-column", "message", "--label-column", "abusive", "--user-column", "who"]


def json_array(at: Path) -> Flags:
    """An array of nested objects."""
    rows = [
        {"post": {"text": text, "author": {"name": user}}, "label": "abusive" if bad else "fine"}
        for text, user, bad in zip(TEXTS, USERS, ABUSE, strict=True)
    ]
    (at / "posts.json").write_text(json.dumps(rows, indent=1))
    return [
        "posts.json", "--text-column", "post.text", "--user-column", "post.author.name", "--positive", "abusive",
    ]  # fmt: skip


def stormfront(at: Path) -> Flags:
    """A folder with a file for each message, and a table of annotations beside it."""
    (at / "all_files").mkdir()
    for n, text in enumerate(TEXTS):
        (at / "all_files" / f"{n}_1.txt").write_text(text)
    rows = [
        (f"{n}_1", user, "hate" if bad else "noHate") for n, (user, bad) in enumerate(zip(USERS, ABUSE, strict=True))
    ]
    (at / "annotations.csv").write_text(delimited([("file_id", "user_id", "label"), *rows]))
    return [
        "all_files", "--labels", "annotations.csv", "--join", "file=file_id", "--positive", "hate", "--user-column",
        "user_id",
    ]  # fmt: skip


def parquet(at: Path) -> Flags:
    """Typed columns, times to the nanosecond among them."""
    times = pa.array([10**18 + n for n in range(MESSAGES)], pa.timestamp("ns"))
    table = pa.table({"text": TEXTS, "label": ABUSE, "user": USERS, "written": times})
    pq.write_table(table, at / "chat.parquet")
    return ["chat.parquet", "--user-column", "user", "--time-column", "written"]


def jsonl(at: Path) -> Flags:
    """An object a line, compressed."""
    rows = [
        {"text": text, "label": int(bad), "user": n}
        for n, (text, bad) in zip([n % 12 for n in range(MESSAGES)], zip(TEXTS, ABUSE, strict=True), strict=True)
    ]
    (at / "chat.jsonl.bz2").write_bytes(bz2.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return ["chat.jsonl.bz2", "--user-column", "user"]


def gzipped(at: Path) -> Flags:
    """Two files, one after the other, each compressed."""
    rows = list(zip(TEXTS, map(int, ABUSE), USERS, strict=True))
    for name, part in (("a", rows[:10]), ("b", rows[10:])):
        (at / f"{name}.csv.gz").write_bytes(gzip.compress(delimited([("text", "label", "user"), *part]).encode()))
    return ["a.csv.gz", "b.csv.gz", "--user-column", "user"]


def semicolons(at: Path) -> Flags:
    """As a German spreadsheet saves a table."""
    rows = [(f"{text} wäre", "ja" if bad else "nein") for text, bad in zip(TEXTS, ABUSE, strict=True)]
    (at / "tabelle.csv").write_bytes(delimited([("text", "label"), *rows], ";").encode("latin-1"))
    return ["tabelle.csv", "--separator", ";", "--encoding", "latin-1", "--positive", "ja"]


def zipped(at: Path) -> Flags:
    """An archive as competitions hand it out."""
    rows = list(zip(TEXTS, map(int, ABUSE), strict=True))
    with zipfile.ZipFile(at / "train.csv.zip", "w") as archive:
        archive.writestr("train.csv", delimited([("text", "label"), *rows]))
        archive.writestr("__MACOSX/._train.csv", b"\0\1")
    return ["train.csv.zip"]


KINDS: dict[str, Callable[[Path], Flags]] = {
    kind.__name__: kind
    for kind in (
        olid, detox, hatexplain, convokit, civil_comments, jigsaw, davidson, germeval, xlsx, json_array, stormfront,
        parquet, jsonl, gzipped, semicolons, zipped,
    )
}  # fmt: skip
