"""A release that its own operator signs anew, with a lie in it."""

from __future__ import annotations

import json
from pathlib import Path

from privacy.base.canonical import sha256
from privacy.base.signing import Signer
from privacy.release.files import open_statement, release_name, sign_statement
from privacy.report.html import render_html
from privacy.report.model import EpsilonReport
from simulations.federation.devices import Authorities
from simulations.randomness import SeedTree

OPERATOR = Authorities(SeedTree.root(11)).operator
"""The operator of the runs that `small_config` makes."""


def resigned(run: Path, release: Path, name: str, data: bytes, signer: Signer = OPERATOR) -> None:
    """Put another file into the release and sign it; the page and the report beside it follow."""
    (release / name).write_bytes(data)
    digests, predicate = open_statement((release / "statement.dsse.json").read_bytes(), signer.public)
    digests[name] = sha256(data).hex()
    (release / "statement.dsse.json").write_bytes(sign_statement(digests, predicate, signer))
    renamed(run, release, release_name(digests))
    if name == "report.json":
        (run / name).write_bytes(data)
        (run / "report.html").write_text(render_html(EpsilonReport.model_validate_json(data)))


def renamed(run: Path, release: Path, name: str) -> None:
    release.rename(release.parent / name)
    stable = run / "release" / "stable"
    stable.unlink()
    stable.symlink_to(name, target_is_directory=True)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "release": name}, indent=2) + "\n")
