"""What a test needs of the machine: skipped without it, unless all tests are required, as in continuous integration."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

VARIABLE = "HAVENFL_REQUIRE_ALL_TESTS"


def unavailable(what: str) -> NoReturn:
    """Skip the test, or fail it when the environment says that none may be skipped."""
    if os.environ.get(VARIABLE):
        pytest.fail(f"{VARIABLE} is set, and this machine lacks {what}")
    pytest.skip(f"this machine lacks {what}")
