from __future__ import annotations

import pytest

from tests.support.federation import Federation


@pytest.fixture
def federation() -> Federation:
    return Federation(10)
