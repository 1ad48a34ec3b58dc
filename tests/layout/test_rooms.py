"""The rooms: few entries a folder, a face on each that names what is there, and help that imports next to nothing."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

WINGS = ("privacy", "strategies", "fl_client", "fl_server", "simulations")
FACE = {"__init__.py", "__init__.pyi", "__main__.py", "__pycache__", "py.typed", "README.md"}
MOST_ENTRIES = 18
PACKAGES = sorted(
    folder.relative_to(ROOT)
    for wing in WINGS
    for folder in [ROOT / wing, *(ROOT / wing).rglob("*")]
    if (folder / "__init__.py").exists()
)
COMMANDS = {"privacy": "fl-privacy", "fl_client": "fl-client", "fl_server": "fl-server", "simulations": "fl-sim"}
SLOW = ("numpy", "pydantic", "scipy", "torch", "flwr", "opacus", "cryptography", "sqlalchemy", "dp_accounting")


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_folder_can_be_taken_in_at_a_glance(package: Path) -> None:
    entries = {entry.name for entry in (ROOT / package).iterdir()} - FACE
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_every_folder_with_code_is_a_package() -> None:
    with_code = {path.parent.relative_to(ROOT) for wing in WINGS for path in (ROOT / wing).rglob("*.py")}
    assert with_code == set(PACKAGES)


@pytest.mark.parametrize("package", [one for one in PACKAGES if (ROOT / one / "__init__.pyi").exists()], ids=str)
def test_a_face_names_what_is_there(package: Path) -> None:
    face = importlib.import_module(".".join(package.parts))
    stub = ast.parse((ROOT / package / "__init__.pyi").read_text())
    names = [alias.name for line in stub.body if isinstance(line, ast.ImportFrom) for alias in line.names]
    assert names
    assert all(hasattr(face, name) for name in names)
    assert set(face.__all__) == set(names)


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_says_what_its_subject_is(package: Path) -> None:
    subject = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
    assert subject
    assert subject.split("\n\n")[0].endswith(".")


@pytest.mark.parametrize("wing", COMMANDS)
def test_help_imports_nothing_that_takes_long(wing: str) -> None:
    script = (
        f"import sys; sys.argv = ['x', '--help']; import {wing}.__main__ as command\n"
        "try: command.main()\n"
        f"except SystemExit: print('slow:', sorted(set(sys.modules) & set({SLOW!r})))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"Usage: {COMMANDS[wing]} " in ended.stdout
    assert ended.stdout.splitlines()[-1] == "slow: []"
