"""What several rooms' tests share."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from privacy.task.task import TaskSpec
from tests.support.tasks import make_task

settings.register_profile("havenfl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("havenfl")


@pytest.fixture
def task() -> TaskSpec:
    return make_task()
