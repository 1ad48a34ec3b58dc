"""`fl-client run`, whose log is all that somebody who runs a device by hand sees of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from fl_client.device.files import DeviceDirectory
from fl_server.dev.provision import Scale, enrol_device, provision_server
from fl_server.enrolment.pki import make_loopback_tls
from fl_server.service import ServerDirectory


def test_a_server_out_of_reach_is_said_until_ctrl_c(tmp_path: Path) -> None:
    server = ServerDirectory(tmp_path / "server")
    authority = provision_server(server, Scale(3, 2, 30.0))
    device = DeviceDirectory.create(tmp_path / "device")
    enrol_device(device.path, server, authority)
    certificates = make_loopback_tls(tmp_path, datetime.now(UTC)).authority
    command = ["fl_client", "run", "--superlink", "127.0.0.1:1", "--root-certificates", str(certificates)]
    with subprocess.Popen(
        [sys.executable, "-m", *command, str(device.path)], stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert f" {device.path} server not reached, trying again" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
