"""A whole federation over a real SuperLink: devices in this process, each of which can be made to die at a stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from fl_client.connection.flower import FleetConnection
from fl_client.connection.node import EmbeddedNode
from fl_client.device.device import Device
from fl_client.device.files import DeviceDirectory
from fl_client.device.host import open_device
from fl_server.dev.provision import Scale, enrol_device, provision_server
from fl_server.flower.fab import write_app
from fl_server.flower.processes import Processes
from fl_server.flower.superlink import LocalSuperLink
from fl_server.publishing.registry import STABLE, ModelVersion, open_release
from fl_server.service import ServerDirectory
from privacy.secagg import Stage
from tests.support.leaping import Death, run_config


class Mortal:
    """A device that may die with its answer computed and not sent."""

    def __init__(self, device: Device, death: Death | None) -> None:
        self.device = device
        self.death = death
        self.answered: Counter[Stage] = Counter()
        self.node: EmbeddedNode | None = None

    def handle(self, stage: str, request: bytes) -> bytes:
        reply = self.device.handle(stage, request)
        self.answered[Stage(stage)] += 1
        if self.death == (stage, self.answered[Stage(stage)]) and self.node is not None:
            self.node.kill()
        return reply

    @property
    def alive(self) -> bool:
        return self.node is not None and self.node.alive


class TlsFederation:
    """Runs from its making to the end of its last round."""

    def __init__(self, path: Path, processes: Processes, scale: Scale, deaths: Mapping[int, Death]) -> None:
        self.server = ServerDirectory(path / "server")
        authority = provision_server(self.server, scale)
        superlink = LocalSuperLink(path / "superlink", processes, datetime.now(UTC))
        superlink.start()
        self.devices: list[Mortal] = []
        for number in range(scale.devices):
            directory = DeviceDirectory.create(path / f"device{number}")
            enrol_device(directory.path, self.server, authority)
            superlink.cli.register(directory.path / "node.key.pub")
            self.devices.append(_started(directory, superlink, deaths.get(number)))
        config = {"directory": str(self.server.path), **run_config(deaths.values())}
        app = write_app(path / "app", "tests.support.mortal_app:app", config)
        run = superlink.cli.submit(app, {}, {})
        processes.start("app", superlink.cli.log_command(run), superlink.cli.environment, may_end=True)
        processes.wait_until(lambda: processes.ended("app"), "the end of the run", timeout=600)
        assert superlink.cli.outcome(run) == "completed", processes.tail("app")
        self.log = processes.log("app").read_text()

    @property
    def release(self) -> ModelVersion:
        return open_release(self.server.release / STABLE, self.server.read_operator().public)

    def stop(self) -> None:
        for device in self.devices:
            assert device.node is not None
            assert device.node.stop(30)


def _started(directory: DeviceDirectory, superlink: LocalSuperLink, death: Death | None) -> Mortal:
    device = Mortal(open_device(directory), death)
    connection = FleetConnection(superlink.address, superlink.root_certificates, directory.node_key)
    device.node = EmbeddedNode(connection, device, poll_interval=0.2)
    device.node.start()
    return device
