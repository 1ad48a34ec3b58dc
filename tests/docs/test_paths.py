"""Files that the documentation names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.commands import PAGES
from tests.support.paths import ROOT

_ROOTS = "benchmarks|docs|fl_client|fl_server|privacy|simulations|strategies|tests"
_PATH = re.compile(rf"`((?:{_ROOTS})/[\w./*-]+)`")
_CODE = re.compile(r"`([\w/]+\.py)`")
READING_MAP = ROOT / "docs" / "reading-map.md"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_from_the_root_leads_somewhere(page: Path) -> None:
    named = _PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not list(ROOT.glob(path))] == []


def test_every_file_of_the_reading_map_is_there() -> None:
    """A name alone, or the end of a path, stands in the folder that its row began with."""
    named = set(_CODE.findall(READING_MAP.read_text(encoding="utf-8")))
    assert len(named) > 80
    folders = [ROOT / folder for folder in ("privacy", "fl_client", "fl_server", "simulations", "strategies")]
    files = [f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*.py")]
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in files)] == []
