"""What a development federation is given."""

from __future__ import annotations

import pytest

from fl_client.models import model_spec
from fl_server.provision import Scale, development_task
from privacy.mechanism import Mechanism
from privacy.secagg.params import parameters


def test_development_task_is_the_client_registered_model() -> None:
    """The server cannot ask torch for the layout; it writes it down."""
    task = development_task(Scale(3, 2, 30.0), "any")
    assert task.model == model_spec(task.model.architecture, task.features)


@pytest.mark.parametrize("devices", range(3, 65))
def test_development_federation_can_lose_a_third(devices: int) -> None:
    task = development_task(Scale(devices, 2, 30.0), "any")
    Mechanism.for_cohort(task, devices)
    assert parameters(devices, task.aggregation).survivors_required <= devices - devices // 3
