"""Builds what the site has beside docs/: pages from elsewhere in the repository, the API, and links between all.

mkdocs calls the functions by name. On a code host the same files are read as they are, so their links point to files of
the repository. Here a link to a file that is a page becomes a link to that page; one to any other file, which the site
does not have, becomes the file's path.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = "docs"
_DECISIONS = "decisions"

PAGES = {
    "README.md": "index.md",
    "privacy/README.md": "privacy.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files of the repository that are pages, by the name of the page."""
PACKAGES = ("privacy", "strategies", "fl_client", "fl_server", "simulations")
LEFT_OUT = {"__main__", "cli", "command", "migrations"}
"""Modules and folders that a user of the library does not call."""

_LINK = re.compile(r"(?P<text>\[(?:[^\[\]]|\[[^\[\]]*\])*\])\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^(?P<fence>```|~~~).*?^(?P=fence)[^\S\n]*$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add to the navigation the decisions and the API: a section for each package, a page for each of its rooms."""
    decisions = [f"{_DECISIONS}/{file.name}" for file in sorted((ROOT / DOCS / _DECISIONS).glob("0*.md"))]
    api = [{package: [{room: _api_page(room)} for room in _rooms(package)]} for package in PACKAGES]
    config.nav = [*(config.nav or []), {"Decisions": [f"{_DECISIONS}/README.md", *decisions]}, {"API": api}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for package in PACKAGES:
        for room in _rooms(package):
            files.append(File.generated(config, _api_page(room), content=_api_text(room)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - by name
    """Turn links between files of the repository into links between pages; code blocks are left alone."""
    here = page.file.src_uri
    if here.startswith("api/"):
        return markdown
    parts, last = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_relinked(markdown[last : fence.start()], here, files), fence.group()]
        last = fence.end()
    return "".join([*parts, _relinked(markdown[last:], here, files)])


def _relinked(text: str, here: str, files: Files) -> str:
    source = next((name for name, page in PAGES.items() if page == here), join(DOCS, here))

    def target_of(link: re.Match[str]) -> str:
        path, mark, anchor = link["target"].partition("#")
        if not path or ":" in path:
            return link.group()
        file = normpath(join(dirname(source), path))
        page = PAGES.get(file) or file.removeprefix(f"{DOCS}/")
        known = file in PAGES or (file.startswith(f"{DOCS}/") and files.get_file_from_path(page) is not None)
        if known:
            return f"{link['text']}({relpath(page, dirname(here) or '.')}{mark}{anchor})"
        if not (ROOT / file).exists():
            return link.group()  # a broken link: --strict says so
        return f"{link['text'][1:-1]} (`{file}`)"

    return _LINK.sub(target_of, text)


def _rooms(package: str) -> list[str]:
    """Dotted names of a package and of the folders in it that have a docstring to show, in order."""
    found = [".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / package).rglob("__init__.py")]
    return sorted(room for room in found if not LEFT_OUT & set(room.split(".")))


def _api_page(room: str) -> str:
    return f"api/{room.replace('.', '/')}.md"


def _api_text(room: str) -> str:
    """The room's docstring, then each of its own modules."""
    folder = ROOT / room.replace(".", "/")
    modules = [file.stem for file in sorted(folder.glob("*.py")) if file.stem not in {*LEFT_OUT, "__init__"}]
    package = _directive(room, {"heading_level": 1, "members": False, "show_source": False})
    return "\n\n".join([package, *(_directive(f"{room}.{module}", {}) for module in modules)]) + "\n"


def _directive(name: str, options: dict[str, Any]) -> str:
    lines = [f"::: {name}"]
    if options:
        lines += ["    options:", *(f"      {key}: {str(value).lower()}" for key, value in options.items())]
    return "\n".join(lines)
