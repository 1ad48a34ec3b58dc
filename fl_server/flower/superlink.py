"""A SuperLink and its SuperExec as a production installation runs them, on loopback and under one directory.

TLS, node authentication, `--isolation process` and a file database. flwr's Control API has no authentication of its
own, so nothing here listens anywhere but on 127.0.0.1.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import urllib.request
from datetime import datetime
from pathlib import Path

from fl_server.enrolment.pki import make_loopback_tls
from fl_server.flower.flwr_cli import FlwrCli, script
from fl_server.flower.processes import Processes
from privacy.base.files import write_secret

START_TIMEOUT_S = 60.0
"""How long a SuperLink has until it answers."""


class LocalSuperLink:
    """A SuperLink that runs from `start` until the end of the `Processes` that it was given."""

    def __init__(self, directory: Path, processes: Processes, now: datetime) -> None:
        """Write keys, certificates and flwr's configuration; nothing is started yet.

        Args:
            directory: where they and the SuperLink's database are; created.
            processes: what the SuperLink and its SuperExec are started in.
            now: an aware time, from which the certificates are valid.
        """
        directory.mkdir(parents=True)
        self._directory = directory
        self._processes = processes
        self._tls = make_loopback_tls(directory, now)
        self._secret = directory / "superexec.secret"
        write_secret(self._secret, secrets.token_bytes(32))
        self._port = free_port()
        self.cli = FlwrCli(directory / "flwr-home", self.address, self._tls.authority)

    @property
    def address(self) -> str:
        """The address that devices connect to, host:port."""
        return f"127.0.0.1:{self._port}"

    @property
    def root_certificates(self) -> Path:
        """The PEM file of the authority behind the SuperLink's certificate."""
        return self._tls.authority

    def start(self) -> None:
        """Start SuperLink and SuperExec; returns once the SuperLink answers.

        Raises:
            ProcessError: when it does not.
        """
        tls = self._tls
        secret = ["--superexec-auth-secret-file", str(self._secret)]
        superlink = [
            script("flower-superlink"), "--host", "127.0.0.1", "--port", str(self._port),
            "--ssl-certfile", str(tls.certificate), "--ssl-keyfile", str(tls.key),
            "--ssl-ca-certfile", str(tls.authority), "--enable-supernode-auth", "--isolation", "process",
            "--database", str(self._directory / "superlink.db"), *secret,
        ]  # fmt: skip
        superexec = [
            script("flower-superexec"), "--runtime-api-address", self.address,
            "--root-certificates", str(tls.authority), *secret,
        ]  # fmt: skip
        self._processes.start("superlink", superlink, self.cli.environment)
        self._processes.wait_until(self._answers, "a SuperLink that answers", START_TIMEOUT_S)
        self._processes.start("superexec", superexec, self.cli.environment)

    def _answers(self) -> bool:
        trusted = ssl.create_default_context(cafile=str(self._tls.authority))
        try:
            with urllib.request.urlopen(f"https://{self.address}/health", context=trusted, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False


def free_port() -> int:
    """Find a TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
