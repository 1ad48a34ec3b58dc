"""The parts of a development federation that need no SuperLink; `tests/e2e` runs all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fl_server.dev import dev as module
from fl_server.flower.processes import ProcessError


def test_devices_that_cannot_be_made_in_time_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INIT_TIMEOUT_S", 0.001)
    with pytest.raises(ProcessError, match=r"fl-client init: not done within 0\.001 s"):
        module._make_devices([tmp_path / "device"], os.environ)


def test_devices_that_exist_are_an_error_in_the_words_of_the_client(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"fl-client init: exit code 2\n(.|\n)*expected a new path"):
        module._make_devices([tmp_path], os.environ)
