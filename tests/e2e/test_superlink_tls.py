"""The real thing: SuperLink over TLS, SuperExec, embedded devices that train with Opacus, and one that dies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from fl_client.device import Device
from fl_client.files import DeviceDirectory
from fl_client.flower import FleetConnection
from fl_client.host import open_device
from fl_client.node import EmbeddedNode
from fl_server.fab import write_app
from fl_server.processes import Processes
from fl_server.provision import Scale, enrol_device, provision_server
from fl_server.registry import STABLE, ModelVersion, open_release
from fl_server.service import ServerDirectory
from fl_server.superlink import LocalSuperLink
from privacy.canonical import sha256
from privacy.ledger import SignedHead
from privacy.ledger_entries import Released
from tests.support.ledgers import kinds, read_ledger, verified_entries
from tests.support.leftovers import leftovers

SCALE = Scale(devices=3, rounds=2, stage_timeout=8.0)


class Mortal:
    """A device that dies in its second round, with its input computed and not sent."""

    def __init__(self, device: Device, *, dies: bool) -> None:
        self.device = device
        self.dies = dies
        self.inputs = 0
        self.node: EmbeddedNode | None = None

    def handle(self, stage: str, request: bytes) -> bytes:
        reply = self.device.handle(stage, request)
        self.inputs += stage == "input"
        if self.dies and self.inputs == 2 and self.node is not None:
            self.node.kill()
        return reply


class Run:
    """Two rounds with three devices in this process, of which the first dies in the second."""

    def __init__(self, path: Path, processes: Processes) -> None:
        self.server = ServerDirectory(path / "server")
        authority = provision_server(self.server, SCALE)
        superlink = LocalSuperLink(path / "superlink", processes, datetime.now(UTC))
        superlink.start()
        self.devices: list[Mortal] = []
        for number in range(SCALE.devices):
            directory = DeviceDirectory.create(path / f"device{number}")
            enrol_device(directory.path, self.server, authority)
            superlink.cli.register(directory.path / "node.key.pub")
            self.devices.append(_started(directory, superlink, dies=number == 0))
        app = write_app(path / "app", "fl_server.flower_app:app", {"directory": str(self.server.path)})
        run = superlink.cli.submit(app, {}, {})
        processes.start("app", superlink.cli.log_command(run), superlink.cli.environment, may_end=True)
        processes.wait_until(lambda: processes.ended("app"), "the end of the run", timeout=150)
        assert superlink.cli.outcome(run) == "completed", processes.tail("app")
        self.log = processes.log("app").read_text()

    @property
    def release(self) -> ModelVersion:
        return open_release(self.server.release / STABLE, self.server.read_operator().public)


def _started(directory: DeviceDirectory, superlink: LocalSuperLink, *, dies: bool) -> Mortal:
    device = Mortal(open_device(directory), dies=dies)
    connection = FleetConnection(superlink.address, superlink.root_certificates, directory.node_key)
    device.node = EmbeddedNode(connection, device, poll_interval=0.2)
    device.node.start()
    return device


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    path = tmp_path_factory.mktemp("federation")
    with Processes(path / "logs") as processes:
        finished = Run(path, processes)
        yield finished
        for device in finished.devices:
            assert device.node is not None
            assert device.node.stop(10)
    assert leftovers(path) == []


def test_the_second_round_goes_on_without_the_device_that_died(run: Run) -> None:
    lines = run.server.lines()
    assert [(line["round"], line["invited"], line["cohort"], line["survivors"]) for line in lines] == [
        (1, 3, 3, 3),
        (2, 3, 3, 2),
    ]
    assert [line["aborted"] for line in lines] == [None, None]
    assert lines[1]["refusals"] == {"input: no reply": 1}


def test_every_device_trained(run: Run) -> None:
    assert [device.inputs for device in run.devices] == [2, 2, 2]
    assert [device.node is not None and device.node.alive for device in run.devices] == [False, True, True]


def test_the_published_model_is_signed_and_has_moved(run: Run) -> None:
    weights = run.release.weights
    assert weights.shape == (run.server.read_task().model.dimension,)
    assert np.isfinite(weights).all()
    assert np.linalg.norm(weights) > 0


def test_ledger_model_and_metrics_agree(run: Run) -> None:
    """Charges, digests and epsilon, each from another file."""
    task, release = run.server.read_task(), run.release
    ledger, entries = read_ledger(run.server), verified_entries(run.server)
    assert kinds(entries) == ["charge", "released"] * task.rounds
    last = entries[-1].body
    assert isinstance(last, Released)
    assert last.model_digest == sha256(release.weights.astype("<f4").tobytes()).hex()
    assert SignedHead.model_validate(release.predicate["ledger"]) == ledger.head()
    assert release.predicate["task"] == task.id
    assert run.server.lines()[-1]["epsilon"] == pytest.approx(ledger.spent().epsilon)
    assert ledger.spent().epsilon <= 8


def test_keys_stay_private(run: Run) -> None:
    for key in (run.server.operator_key, run.server.path.parent / "device0" / "identity.key"):
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_bytes().hex() not in run.log
