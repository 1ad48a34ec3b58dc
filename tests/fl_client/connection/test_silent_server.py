"""A SuperLink that takes connections and never answers: the node says so within seconds, and can be stopped."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from fl_client.connection import flower
from fl_client.connection.flower import FleetConnection
from fl_client.connection.node import EmbeddedNode, Unreachable
from fl_client.device.files import DeviceDirectory
from fl_server.enrolment.pki import make_loopback_tls
from tests.support.eventually import eventually
from tests.support.silent import silent_server


class Nobody:
    def handle(self, stage: str, request: bytes) -> bytes:
        raise AssertionError((stage, request))


def test_a_silent_superlink_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert max(flower._TIMEOUT.as_dict().values()) <= 10
    monkeypatch.setattr(flower, "_TIMEOUT", httpx.Timeout(0.5))
    device, tls = DeviceDirectory.create(tmp_path / "device"), make_loopback_tls(tmp_path, datetime.now(UTC))
    with silent_server() as address:
        connection = FleetConnection(address, tls.authority, device.path / "node.key")
        since = time.monotonic()
        with pytest.raises(Unreachable):
            connection.activate()
        assert time.monotonic() - since < 5
        node = EmbeddedNode(connection, Nobody())
        node.start()
        eventually(lambda: "server not reached, trying again: " in caplog.text)
        levels = [record.levelname for record in caplog.records if "not reached" in record.message]
        assert levels[0] == "WARNING"
        assert node.stop()
