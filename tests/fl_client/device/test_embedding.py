"""The host application of docs/embedding.md, as it stands there."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fl_client.connection.node import EmbeddedNode
from fl_client.device.files import DeviceFilesError
from fl_server.dev.provision import Scale, enrol_device, provision_server
from fl_server.enrolment.pki import make_loopback_tls
from fl_server.service import ServerDirectory
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "embedding.md"
NOBODY = "127.0.0.1:1"


def test_the_pages_application_starts_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    run(first)
    make_loopback_tls(tmp_path, datetime.now(UTC))
    application = second.replace("fl.example.org:8000", NOBODY)
    with pytest.raises(DeviceFilesError, match=r"enrolment\.json"):
        run(application)
    server = ServerDirectory(tmp_path / "server")
    enrol_device(tmp_path / "device", server, provision_server(server, Scale(3, 2, 30.0)))
    node = run(application)["node"]
    assert isinstance(node, EmbeddedNode)
    assert (node.alive, node.error) == (False, None)


def run(source: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), known)  # noqa: S102 - our own file
    return known
