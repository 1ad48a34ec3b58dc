"""A plugin of pytest that plants a fault before any test is collected: `pytest -p tests.support.planted --plant NAME`.

With it one sees that the unit tests of `privacy` fail for every fault of `tests/support/faults.py`.
"""

from __future__ import annotations

import pytest

from tests.support.faults import PLANTED


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the fault's name."""
    parser.addoption("--plant", choices=list(PLANTED), required=True, help="The fault to plant in the code that ships.")


def pytest_configure(config: pytest.Config) -> None:
    """Plant it, for as long as the process lives."""
    PLANTED[config.getoption("--plant")].plant(pytest.MonkeyPatch())
