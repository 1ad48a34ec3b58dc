"""The notebook of the documentation runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest

from simulations.config.config import load_config
from simulations.runs.run import start
from tests.support.paths import ROOT
from tests.support.runs import small_config

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_every_cell_runs_on_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(small_config(tmp_path, rounds=2), {"server.aggregation": "ideal"})
    start(config, tmp_path / "run", force=False, workers=1)
    monkeypatch.setenv("RUN", str(tmp_path / "run"))
    mpl.use("agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    known: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), known)  # noqa: S102 - our own file
    assert all(0 < score < 1 for score in known["scores"])  # type: ignore[attr-defined]
    assert len(known["lines"]) == 2  # type: ignore[arg-type]
