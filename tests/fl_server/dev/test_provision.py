"""What a development federation is given."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fl_client.device.files import DeviceDirectory
from fl_client.training.models import initial_model, model_spec
from fl_server.dev.provision import Scale, development_policy, development_task, enrol_device, provision_server
from fl_server.service import ServerDirectory
from privacy.mechanism.mechanism import Mechanism
from privacy.secagg.membership.params import parameters


def test_development_task_is_the_client_registered_model() -> None:
    """The server cannot ask torch for the layout; it writes it down."""
    task = development_task(Scale(3, 2, 30.0), "any")
    assert task.model == model_spec(task.model.architecture, task.features)
    assert task.initial == initial_model(task.model.architecture, task.features, seed=0)


@pytest.mark.parametrize("devices", range(3, 65))
def test_development_federation_can_lose_a_third(devices: int) -> None:
    task = development_task(Scale(devices, 2, 30.0), "any")
    Mechanism.for_cohort(task, devices)
    development_policy(task).check(task)
    assert parameters(devices, task.aggregation).survivors_required <= devices - devices // 3


def test_server_and_device_are_given_what_they_have_to_agree_on(tmp_path: Path) -> None:
    server, device = ServerDirectory(tmp_path / "server"), DeviceDirectory.create(tmp_path / "device")
    authority = provision_server(server, Scale(3, 2, 30.0))
    enrol_device(device.path, server, authority)
    round_authority, enrolment, now = server.read_round_authority(), device.enrolment(), int(time.time())
    task = server.read_task()
    round_authority.revocations.check(task.population, enrolment.trust.authority, now)
    enrolment.issued.check(task.population, round_authority.authority_public, now)
    enrolment.policy.check(task)
    assert enrolment.trust.operator == round_authority.operator.public
    assert (server.path / "operator.pub").read_text().strip() == round_authority.operator.public.hex()


def test_the_server_has_nothing_of_the_authority_but_its_public_files(tmp_path: Path) -> None:
    server = ServerDirectory(tmp_path / "server")
    authority = provision_server(server, Scale(3, 2, 30.0))
    key = (authority.path / "authority.key").read_bytes()
    files = [path for path in server.path.iterdir() if path.is_file()]
    assert server.revocations in files
    assert all(key not in path.read_bytes() and key.hex().encode() not in path.read_bytes() for path in files)


def test_more_rounds_than_the_budget_allows_leave_nothing_behind(tmp_path: Path) -> None:
    server = ServerDirectory(tmp_path / "server")
    with pytest.raises(ValueError, match="rounds"):
        provision_server(server, Scale(3, 1_000_001, 30.0))
    assert not server.path.exists()
