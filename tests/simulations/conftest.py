from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.runs import few_canaries


@pytest.fixture(scope="session", autouse=True)
def _few_canaries() -> Iterator[None]:
    with few_canaries():
        yield
