"""A device's directory, made, enrolled and opened."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from fl_client.cli import app
from fl_client.device.device import Device
from fl_client.device.files import DeviceDirectory, DeviceFilesError
from fl_client.device.host import open_device
from fl_server.dev.provision import Scale, enrol_device, provision_server
from fl_server.enrolment.pki import make_loopback_tls
from fl_server.service import ServerDirectory
from privacy.base.randomness import SystemRandomness
from privacy.secagg import Refused
from privacy.secagg.membership.identity import EnrolmentRequest
from privacy.task.task import TaskSpec
from simulations.randomness import SeedTree


@pytest.fixture
def enrolled(tmp_path: Path) -> DeviceDirectory:
    server = ServerDirectory(tmp_path / "server")
    authority = provision_server(server, Scale(3, 2, 30.0))
    device = DeviceDirectory.create(tmp_path / "device")
    enrol_device(device.path, server, authority)
    return device


def test_keys_are_fresh_and_readable_by_the_owner_alone(tmp_path: Path) -> None:
    first, second = (DeviceDirectory.create(tmp_path / name) for name in ("first", "second"))
    assert first.keys().identity.public != second.keys().identity.public
    for name in ("identity.key", "store.key", "node.key"):
        assert (first.path / name).stat().st_mode & 0o777 == 0o600
        assert (first.path / name).read_bytes() != (second.path / name).read_bytes()


def test_an_existing_directory_keeps_its_keys(enrolled: DeviceDirectory) -> None:
    before = enrolled.keys().identity.public
    with pytest.raises(DeviceFilesError, match="expected a new path"):
        DeviceDirectory.create(enrolled.path)
    assert enrolled.keys().identity.public == before


def test_the_request_is_for_the_keys_of_this_device(tmp_path: Path) -> None:
    device = DeviceDirectory.create(tmp_path / "device")
    request = EnrolmentRequest.decode((device.path / "enrolment-request.bin").read_bytes())
    assert request == EnrolmentRequest.by(device.keys())


def test_another_devices_enrolment_is_refused(tmp_path: Path, enrolled: DeviceDirectory) -> None:
    other = DeviceDirectory.create(tmp_path / "other")
    (other.path / "enrolment.json").write_bytes((enrolled.path / "enrolment.json").read_bytes())
    with pytest.raises(DeviceFilesError, match=r"other/enrolment\.json: expected a certificate of this device's keys"):
        open_device(other)


@pytest.mark.parametrize("change", [{"policy": None}, {"policy": {}}, {"operator": "00"}, {"extra": 1}])
def test_an_enrolment_is_taken_whole_or_not_at_all(enrolled: DeviceDirectory, change: dict[str, object]) -> None:
    path = enrolled.path / "enrolment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DeviceFilesError, match=rf"enrolment\.json: (.|\n)*{next(iter(change))}"):
        enrolled.enrolment()


def test_an_enrolled_device_opens_and_refuses_a_stranger(enrolled: DeviceDirectory) -> None:
    with pytest.raises(Refused):
        open_device(enrolled).handle("advertise", b"not an invitation")


def test_an_enrolled_device_trains_on_its_messages(enrolled: DeviceDirectory) -> None:
    task = ServerDirectory(enrolled.path.parent / "server").read_task()
    device = open_device(enrolled)
    update = device._train(task, np.zeros(task.model.dimension, np.float32), SystemRandomness())
    assert np.linalg.norm(update.delta) > 0


def test_a_host_is_asked_for_its_messages_in_every_round(enrolled: DeviceDirectory) -> None:
    task = ServerDirectory(enrolled.path.parent / "server").read_task()
    kept = [("go away", 1)]
    device = open_device(enrolled, lambda: kept)
    before = _update(device, task)
    assert np.array_equal(_update(device, task), before)
    kept.append(("good morning", 0))
    assert not np.array_equal(_update(device, task), before)
    kept.append(("good night", 2))
    with pytest.raises(ValueError, match="expected labels 0 or 1"):
        _update(device, task)


def _update(device: Device, task: TaskSpec) -> NDArray[np.float32]:
    seeded = task.model_copy(update={"randomness": "seeded"})
    return device._train(seeded, np.zeros(task.model.dimension, np.float32), SeedTree.root(1).stream()).delta


def test_a_device_without_messages_is_well(enrolled: DeviceDirectory) -> None:
    (enrolled.path / "messages.csv").unlink()
    assert enrolled.messages() == []
    open_device(enrolled)


@pytest.mark.parametrize("name", ["identity.key", "store.key", "enrolment.json"])
def test_a_missing_file_is_named_with_advice(enrolled: DeviceDirectory, name: str) -> None:
    (enrolled.path / name).unlink()
    with pytest.raises(DeviceFilesError, match=rf"{name}: .*fl-client init"):
        open_device(enrolled)


@pytest.mark.parametrize("name", ["identity.key", "store.key", "enrolment.json"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 31])
def test_a_damaged_file_is_named(enrolled: DeviceDirectory, name: str, data: bytes) -> None:
    (enrolled.path / name).write_bytes(data)
    with pytest.raises(DeviceFilesError, match=name):
        open_device(enrolled)


@pytest.mark.parametrize(
    "lines", ["text\nhello", "label\n1", "text,label\nhello,2", "text,label\nhello", "text,label\n,1", "a,b\nc,d"]
)
def test_a_line_that_is_no_message_is_named(enrolled: DeviceDirectory, lines: str) -> None:
    (enrolled.path / "messages.csv").write_text(lines)
    with pytest.raises(DeviceFilesError, match=r"messages.csv, line 2: expected columns text and label"):
        open_device(enrolled)


def test_messages_that_are_not_utf8_are_refused(enrolled: DeviceDirectory) -> None:
    (enrolled.path / "messages.csv").write_bytes(b"text,label\n\xff\xfe,1\n")
    with pytest.raises(DeviceFilesError, match="expected CSV in UTF-8"):
        enrolled.messages()


def test_init_makes_every_device(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("alice", "bob")]
    assert CliRunner().invoke(app, ["init", *paths]).exit_code == 0
    assert all(DeviceDirectory(Path(path)).node_key.exists() for path in paths)
    again = CliRunner().invoke(app, ["init", paths[0]])
    assert (again.exit_code, "expected a new path" in again.output) == (2, True)


def test_run_checks_its_files_before_it_connects(tmp_path: Path) -> None:
    options = ["--superlink", "127.0.0.1:1", "--root-certificates", str(tmp_path / "missing.crt")]
    DeviceDirectory.create(tmp_path / "device")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "device"), *options])
    assert (result.exit_code, "root_certificates" in result.output) == (2, True)


def test_run_does_not_go_on_without_its_memory(enrolled: DeviceDirectory, tmp_path: Path) -> None:
    superlink = make_loopback_tls(tmp_path, datetime.now(UTC)).authority
    enrolled.memory.write_bytes(b"\xff" * 64)
    options = ["--superlink", "127.0.0.1:1", "--root-certificates", str(superlink)]
    result = CliRunner().invoke(app, ["run", str(enrolled.path), *options])
    assert (result.exit_code, "memory.bin" in result.output) == (2, True)


def test_help_shows_examples_and_exit_codes() -> None:
    output = CliRunner().invoke(app, ["run", "--help"]).output
    assert "fl-client run --superlink" in output
    assert "Exit codes" in output
