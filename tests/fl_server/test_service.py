"""A server's directory, and its task trained over devices in this process."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from typer.testing import CliRunner

from fl_client.device.device import Device
from fl_client.device.files import DeviceDirectory
from fl_client.device.host import open_device
from fl_server.cli import app
from fl_server.dev.provision import Scale, enrol_device, provision_server
from fl_server.enrolment.pki import make_loopback_tls
from fl_server.flower.fab import write_app
from fl_server.publishing import publish
from fl_server.publishing.publish import NotReleased, Publication
from fl_server.publishing.registry import STABLE, open_release
from fl_server.service import ServerDirectory, ServiceError, train
from fl_server.training.checkpoint import CheckpointFile
from fl_server.training.coordinator import INTERRUPTED
from fl_server.training.transport import NodeId, Reply
from privacy.audit import audit_release
from privacy.base.randomness import Randomness
from privacy.cli.app import app as privacy_app
from privacy.release.files import model_digest
from privacy.report.model import AuditPart
from privacy.secagg import Request, Stage
from privacy.secagg.server.record import open_record
from privacy.task.task import SimulationOnly, TaskSpec
from tests.support.tasks import make_extrapolated_task, make_task


class LocalTransport:
    """Devices in this process."""

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices

    def nodes(self) -> list[NodeId]:
        return list(range(len(self.devices)))

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        for node, request in requests.items():
            yield Reply(node, self.devices[node].handle(stage, request.body))


@pytest.fixture(scope="module", autouse=True)
def _each_task_is_audited_once() -> Iterator[None]:
    """The audit of a release costs more than all the rest."""
    audits: dict[str, tuple[AuditPart, ...]] = {}

    def audited(task: TaskSpec, rng: Randomness) -> tuple[AuditPart, ...]:
        if task.id not in audits:
            audits[task.id] = audit_release(task, rng)
        return audits[task.id]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "audit_release", audited)
        yield


def provisioned(path: Path) -> tuple[ServerDirectory, LocalTransport]:
    server = ServerDirectory(path / "server")
    authority = provision_server(server, Scale(3, 2, 30.0))
    devices = []
    for number in range(3):
        directory = DeviceDirectory.create(path / f"device{number}")
        enrol_device(directory.path, server, authority)
        devices.append(open_device(directory))
    return server, LocalTransport(devices)


@pytest.fixture
def federation(tmp_path: Path) -> tuple[ServerDirectory, LocalTransport]:
    return provisioned(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServerDirectory, Publication]:
    """A task after its end; only to be read."""
    server, transport = provisioned(tmp_path_factory.mktemp("trained"))
    return server, train(server, transport)


@pytest.fixture
def finished(trained: tuple[ServerDirectory, Publication], tmp_path: Path) -> ServerDirectory:
    """A copy of its directory."""
    return ServerDirectory(shutil.copytree(trained[0].path, tmp_path / "server", symlinks=True))


def test_a_task_is_trained_published_and_told_round_by_round(trained: tuple[ServerDirectory, Publication]) -> None:
    server, publication = trained
    assert [(line["round"], line["survivors"]) for line in server.lines()] == [(1, 3), (2, 3)]
    assert [line["epsilon"] for line in server.lines()] == sorted(line["epsilon"] for line in server.lines())
    assert all(line["noise_multiplier"] >= server.read_task().mechanism.noise_multiplier for line in server.lines())
    records = [open_record(line, server.read_operator().public) for line in server.records.read_bytes().splitlines()]
    assert [(record.round, len(record.shards[0].survivors)) for record in records] == [(1, 3), (2, 3)]
    opened = open_release(server.release / STABLE, server.read_operator().public)
    assert opened.name == publication.version.name
    np.testing.assert_array_equal(opened.weights, publication.version.weights)


def test_started_again_after_its_end_it_asks_nobody_and_publishes_the_same(
    trained: tuple[ServerDirectory, Publication], finished: ServerDirectory
) -> None:
    again = train(finished, LocalTransport([]))
    np.testing.assert_array_equal(again.version.weights, trained[1].version.weights)
    assert len(finished.lines()) == len(finished.records.read_bytes().splitlines()) == 2


class SilentTransport(LocalTransport):
    """Devices that never answer."""

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        return iter(())


def test_a_task_whose_rounds_released_nothing_publishes_nothing(
    federation: tuple[ServerDirectory, LocalTransport],
) -> None:
    server, transport = federation
    with pytest.raises(NotReleased, match=r"no round released anything in 2 rounds \(the run's end: complete\)"):
        train(server, SilentTransport(transport.devices))
    assert [bool(line["aborted"]) for line in server.lines()] == [True, True]
    assert not server.release.exists()


def test_only_the_very_model_that_was_paid_for_is_published(finished: ServerDirectory) -> None:
    """What was published before stays."""
    stable = (server := finished).release.joinpath(STABLE).readlink()
    checkpoints = CheckpointFile(server.checkpoint, server.read_task().id)
    last = checkpoints.load()
    assert last is not None
    weights = last.state.weights.copy()
    weights[7] = np.nextafter(weights[7], np.float32(1))
    checkpoints.save(replace(last, state=replace(last.state, weights=weights), transcript=""))
    with pytest.raises(
        NotReleased, match=f"model {model_digest(weights)[:16]} is none that a charge of this task paid"
    ):
        train(server, LocalTransport([]))
    assert server.release.joinpath(STABLE).readlink() == stable


def test_the_card_counts_the_rounds_that_released_something(finished: ServerDirectory) -> None:
    card = open_release(finished.release / STABLE).card
    assert (card["rounds"], card["rounds_released"], card["ended"]) == (2, 2, "complete")


@pytest.mark.parametrize("name", ["settings.json", "task.json", "operator.key", "authority.pub", "revocations.bin"])
def test_a_missing_or_damaged_file_is_named(federation: tuple[ServerDirectory, LocalTransport], name: str) -> None:
    server, transport = federation
    (server.path / name).write_bytes(b"\xffdamaged")
    with pytest.raises(ServiceError, match=name):
        train(server, transport)
    (server.path / name).unlink()
    with pytest.raises(ServiceError, match=name):
        train(server, transport)


def test_settings_of_another_version_are_refused_by_name(federation: tuple[ServerDirectory, LocalTransport]) -> None:
    server, transport = federation
    server.settings.write_text(json.dumps({**json.loads(server.settings.read_text()), "version": 2}))
    with pytest.raises(ServiceError, match=r"settings\.json.*version"):
        train(server, transport)


class Died(BaseException):
    """Stands for the death of the server's process."""


class DyingTransport(LocalTransport):
    """The server dies when it has asked for inputs."""

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:
        yield from super().exchange(stage, requests, timeout)
        if stage == Stage.INPUT:
            raise Died


def test_a_server_that_died_in_a_round_loses_that_round_alone(
    federation: tuple[ServerDirectory, LocalTransport],
) -> None:
    server, transport = federation
    with pytest.raises(Died):
        train(server, DyingTransport(transport.devices))
    publication = train(server, transport)
    assert publication.rounds_released == 1
    assert [(line["round"], line["aborted"]) for line in server.lines()] == [(1, INTERRUPTED), (2, None)]
    participation = publication.report.participation
    assert (participation.rounds_attempted, participation.rounds_charged) == (2, 1)
    assert [(one.reason, one.rounds) for one in participation.failed_before_charge or ()] == [(INTERRUPTED, 1)]


def gate(server: ServerDirectory, *more: str) -> Result:
    key, checkpoint = server.path / "witness.key", server.path / "seen.json"
    own = ["--ledger", str(server.ledger), "--operator", server.read_operator().public.hex()]
    for command in (["keys", "new", str(key)], ["witness", *own, "--key", str(key), "--checkpoint", str(checkpoint)]):
        if not (command[0] == "keys" and key.exists()):
            assert CliRunner().invoke(privacy_app, command).exit_code == 0
    rest = {
        "--release": server.release / STABLE,
        "--log": server.records,
        "--authority": server.authority,
        "--checkpoint": checkpoint,
        "--witness": server.path / "witness.key.pub",
    }
    given = [str(part) for pair in rest.items() for part in pair]
    return CliRunner().invoke(privacy_app, ["verify", *own, *given, "--strict", "--json", *more])


def test_a_strict_gate_passes_a_real_run_with_all_its_files_and_no_other(finished: ServerDirectory) -> None:
    """What is left is somebody's word in any case: versions, attacks, who was invited, the threshold."""
    assert gate(finished).exit_code == 0, gate(finished).stdout
    lines = finished.records.read_bytes().splitlines(keepends=True)
    finished.records.write_bytes(b"".join(lines[:-1]))
    assert gate(finished).exit_code == 1


def test_settings_have_the_keys_that_operators_files_have(federation: tuple[ServerDirectory, LocalTransport]) -> None:
    server, _ = federation
    written = json.loads(server.settings.read_text())
    assert set(written) == {"version", "stage_timeout", "devices", "node_wait_timeout", "ledger"}
    assert written["node_wait_timeout"] == server.read_settings().node_wait_timeout == 120.0


def test_a_task_of_a_trusted_aggregator_is_refused(federation: tuple[ServerDirectory, LocalTransport]) -> None:
    server, transport = federation
    server.task.write_bytes(make_task(simulation=SimulationOnly(trusted_aggregator=True)).canonical())
    with pytest.raises(ServiceError, match=r"task\.json: expected a task for devices, got one of a trusted aggregator"):
        train(server, transport)


def test_a_task_with_the_noise_of_a_larger_fleet_is_refused_before_any_device_is_asked(
    federation: tuple[ServerDirectory, LocalTransport],
) -> None:
    server, transport = federation
    server.task.write_bytes(make_extrapolated_task().canonical())
    with pytest.raises(ServiceError, match=r"task\.json: expected a task for devices, got one with the noise"):
        train(server, transport)
    assert not server.ledger.exists()


def test_loopback_certificates_verify_for_loopback_alone(tmp_path: Path) -> None:
    files = make_loopback_tls(tmp_path, datetime.now(UTC))
    authority = x509.load_pem_x509_certificate(files.authority.read_bytes())
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    policy = PolicyBuilder().store(Store([authority])).time(datetime.now(UTC))
    policy.build_server_verifier(x509.DNSName("localhost")).verify(certificate, [])
    with pytest.raises(x509.verification.VerificationError):
        policy.build_server_verifier(x509.DNSName("example.org")).verify(certificate, [])
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_the_apps_values_are_toml_whatever_they_hold(tmp_path: Path) -> None:
    values = {"directory": 'a "quoted" \\ path', "devices": 3, "rate": 0.5, "on": True}
    app = write_app(tmp_path / "app", "module:app", values)
    written = tomllib.loads((app / "pyproject.toml").read_text())
    assert written["tool"]["flwr"]["app"]["config"] == values
    assert written["tool"]["flwr"]["app"]["components"]["serverapp"] == "module:app"


def declare(server: ServerDirectory, purpose: str = "tuning") -> Result:
    arguments = ["--purpose", purpose, "--what", "12 runs on public data", "--why", "no device took part"]
    return CliRunner().invoke(app, ["declare-uncharged", str(server.path), *arguments])


def test_uses_that_are_not_charged_are_named_in_every_later_report(finished: ServerDirectory) -> None:
    assert [declare(finished).exit_code for _ in range(2)] == [0, 0]
    [use] = train(finished, LocalTransport([])).report.composition.uncharged
    assert (use.purpose, use.what, use.why) == ("tuning", "12 runs on public data", "no device took part")
    assert declare(finished, "fun").exit_code == 2
    assert declare(ServerDirectory(finished.path / "nowhere")).exit_code == 2
