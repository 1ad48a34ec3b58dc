"""A whole federation on one machine: SuperLink over TLS, SuperExec, server app, and a host process with devices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fl_server.dev.provision import Scale, enrol_device, provision_server
from fl_server.enrolment.authority import Authority
from fl_server.flower.fab import write_app
from fl_server.flower.processes import ProcessError, Processes
from fl_server.flower.superlink import LocalSuperLink
from fl_server.publishing.registry import STABLE, ModelVersion, RegistryError, open_release
from fl_server.service import ServerDirectory
from privacy.secagg import Stage

Say = Callable[[str], None]

INIT_TIMEOUT_S = 60.0
START_TIMEOUT_S = 180.0
_STAGE_OVERHEAD_S = 5.0
"""What a stage may take beyond its timeout, for Flower's own work."""


@dataclass
class DevFederation:
    """One run of a whole federation below one new directory.

    Attributes:
        path: of the directory, which `run` creates.
        scale: how large the federation is.
        say: called with each sentence that its user may want to read.
    """

    path: Path
    scale: Scale
    say: Say
    _shown: set[int] = field(default_factory=set)

    @property
    def server(self) -> ServerDirectory:
        """The server's directory, with the published model in it."""
        return ServerDirectory(self.path)

    @property
    def devices(self) -> list[Path]:
        """The devices' directories, one a device."""
        return [self.path / "devices" / str(number) for number in range(self.scale.devices)]

    def run(self) -> ModelVersion:
        """Start everything, train the development task to its end and stop everything again.

        Returns:
            The published model, verified, after every process has ended.

        Raises:
            ProcessError: when a part fails; the text ends with its log.
        """
        authority = provision_server(self.server, self.scale)
        with Processes(self.path / "logs") as processes:
            superlink = LocalSuperLink(self.path / "superlink", processes, datetime.now(UTC))
            superlink.start()
            self.say(f"SuperLink at {superlink.address}, TLS and node authentication on")
            self._start_devices(processes, superlink, authority)
            self._train(processes, superlink)
            return self._published(processes)

    def _start_devices(self, processes: Processes, superlink: LocalSuperLink, authority: Authority) -> None:
        environment = superlink.cli.environment
        _make_devices(self.devices, environment)
        for device in self.devices:
            enrol_device(device, self.server, authority)
            superlink.cli.register(device / "node.key.pub")
        command = [
            *_fl_client("run"), "--superlink", superlink.address,
            "--root-certificates", str(superlink.root_certificates), "--poll-interval", "0.2",
            *map(str, self.devices),
        ]  # fmt: skip
        processes.start("devices", command, environment)
        self.say(f"{len(self.devices)} devices in one host process")

    def _train(self, processes: Processes, superlink: LocalSuperLink) -> None:
        directory = {"directory": str(self.server.path)}
        run = superlink.cli.submit(write_app(self.path / "app", "fl_server.flower.app:app", directory), {}, {})
        self.say(f"run {run} submitted")
        processes.start("app", superlink.cli.log_command(run), superlink.cli.environment, may_end=True)

        def ended() -> bool:
            has_ended = processes.ended("app")
            self._show_rounds()
            return has_ended

        longest = START_TIMEOUT_S + self.scale.rounds * len(Stage) * (self.scale.stage_timeout + _STAGE_OVERHEAD_S)
        processes.wait_until(ended, "the end of the run", longest)
        if (outcome := superlink.cli.outcome(run)) != "completed":
            raise ProcessError(f"the run has {outcome or 'not ended'}\n{processes.tail('app')}")

    def _show_rounds(self) -> None:
        """Say of each round that has ended how it ended, once."""
        for line in self.server.lines():
            if line["round"] not in self._shown:
                self._shown.add(line["round"])
                self.say(_sentence(line))

    def _published(self, processes: Processes) -> ModelVersion:
        try:
            return open_release(self.server.release / STABLE, self.server.read_operator().public)
        except RegistryError as error:
            raise ProcessError(f"no published model: {error}\n{processes.tail('app')}") from error


def _sentence(line: Mapping[str, Any]) -> str:
    if line["aborted"]:
        return f"round {line['round']}: no release, nothing revealed: {line['aborted']}"
    return (
        f"round {line['round']}: {line['survivors']} of {line['invited']} devices in the sum, "
        f"epsilon {line['epsilon']:.3f} spent"
    )


def _make_devices(directories: list[Path], environment: Mapping[str, str]) -> None:
    command = [*_fl_client("init"), *map(str, directories)]
    try:
        done = subprocess.run(  # noqa: S603 - built here, no shell
            command, env=environment, capture_output=True, text=True, timeout=INIT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProcessError(f"fl-client init: not done within {INIT_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        raise ProcessError(f"fl-client init: exit code {done.returncode}\n{done.stderr}")


def _fl_client(command: str) -> list[str]:
    """Return a command of `fl-client`, by its module's name alone: server and client never import each other."""
    return [sys.executable, "-m", "fl_client", command]
