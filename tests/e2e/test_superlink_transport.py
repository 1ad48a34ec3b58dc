"""Embedded nodes and `GridTransport` on a real SuperLink: TLS, node authentication, SuperExec, a server app.

This also is the contract test of the private flwr API that `fl_client.connection.flower` rests on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fl_client.connection.flower import FleetConnection
from fl_client.connection.node import EmbeddedNode, NodeError, NotAdmitted
from fl_client.device.files import DeviceDirectory
from fl_server.enrolment.pki import make_loopback_tls
from fl_server.flower.fab import write_app
from fl_server.flower.processes import ProcessError, Processes
from fl_server.flower.superlink import LocalSuperLink
from privacy.secagg import Refused, Stage
from tests.support.echo_app import SIZES
from tests.support.eventually import eventually
from tests.support.leaping import GENEROUS_S, run_config

pytestmark = pytest.mark.timeout(400)

DEVICES = 3


class Echo:
    """Sends back what it gets, after the stage's name; refuses `no`; falls silent at `kill` if it is the victim."""

    def __init__(self, *, victim: bool) -> None:
        self.victim = victim
        self.node: EmbeddedNode | None = None
        self.stages: list[str] = []

    def handle(self, stage: str, request: bytes) -> bytes:
        self.stages.append(stage)
        if request == b"no":
            raise Refused("as asked")
        if request == b"kill" and self.victim and self.node is not None:
            self.node.kill()
        return stage.encode() + request


class Federation:
    """Three embedded nodes in this process, and what the server app reports."""

    def __init__(self, directory: Path, processes: Processes) -> None:
        self.superlink = LocalSuperLink(directory / "superlink", processes, datetime.now(UTC))
        self.superlink.start()
        self.keys = [directory / f"device{device}" / "node.key" for device in range(DEVICES)]
        self.handlers = [Echo(victim=device == 0) for device in range(DEVICES)]
        self.nodes = [self._node(key, handler) for key, handler in zip(self.keys, self.handlers, strict=True)]
        out = directory / "report.json"
        config = {"devices": DEVICES, "out": str(out), **run_config([(Stage.UNMASK, 1)])}
        app = write_app(directory / "app", "tests.support.echo_app:app", config)
        run = self.superlink.cli.submit(app, {}, {})
        processes.start("app", self.superlink.cli.log_command(run), self.superlink.cli.environment, may_end=True)
        processes.wait_until(lambda: processes.ended("app"), "a server app that ends", timeout=200)
        assert self.superlink.cli.outcome(run) == "completed", processes.tail("app")
        self.report: dict[str, Any] = json.loads(out.read_text())

    def connect(self, key: Path) -> FleetConnection:
        return FleetConnection(self.superlink.address, self.superlink.root_certificates, key)

    def _node(self, key: Path, handler: Echo) -> EmbeddedNode:
        DeviceDirectory.create(key.parent)
        self.superlink.cli.register(key.with_name("node.key.pub"))
        handler.node = EmbeddedNode(self.connect(key), handler, poll_interval=0.2)
        handler.node.start()
        return handler.node


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Iterator[Federation]:
    running = Federation(tmp_path_factory.mktemp("federation"), processes)
    yield running
    assert all(node.stop(30) for node in running.nodes)


@pytest.mark.long
def test_bodies_of_every_size_come_back_from_every_device(federation: Federation) -> None:
    nodes = sorted(federation.report["nodes"])
    assert len(nodes) == DEVICES
    assert [sorted(echoed) for echoed in federation.report["echoed"]] == [nodes] * len(SIZES)


def test_a_refusal_arrives_in_its_own_words(federation: Federation) -> None:
    assert federation.report["refused"] == {str(node): "as asked" for node in federation.report["nodes"]}


def test_a_device_that_the_superlink_does_not_know_is_reported_at_once(federation: Federation) -> None:
    assert federation.report["unknown"] == [[12345, None, "unknown to the SuperLink"]]


def test_a_killed_device_costs_the_stage_its_timeout_and_nobody_else_their_reply(federation: Federation) -> None:
    killed = federation.report["killed"]
    assert len(killed["replies"]) == DEVICES - 1
    assert GENEROUS_S <= killed["seconds"] < GENEROUS_S + 30


def test_one_handler_served_the_whole_run(federation: Federation) -> None:
    assert [handler.stages for handler in federation.handlers] == [
        ["input"] * len(SIZES) + ["echo", "unmask"]
    ] * DEVICES


def test_the_killed_node_is_gone_and_the_others_are_well(federation: Federation) -> None:
    assert [node.alive for node in federation.nodes] == [False, True, True]
    assert [node.error for node in federation.nodes] == [None] * DEVICES


def test_a_successor_is_let_in_once_the_predecessor_signed_off(federation: Federation) -> None:
    assert federation.nodes[2].stop(30)
    connection = federation.connect(federation.keys[2])
    successor = EmbeddedNode(connection, Echo(victim=False), poll_interval=0.2)
    successor.start()
    eventually(lambda: bool(connection._node.node_id) or not successor.alive)
    assert (successor.alive, successor.error) == (True, None)
    assert successor.stop(30)


def test_an_unregistered_key_is_not_let_in(federation: Federation, tmp_path: Path) -> None:
    stranger = federation.connect(DeviceDirectory.create(tmp_path / "stranger").node_key)
    with pytest.raises(NotAdmitted, match="not registered"):
        stranger.activate()
    stranger.close()


def test_a_server_under_another_authority_is_not_trusted(federation: Federation, tmp_path: Path) -> None:
    authority = make_loopback_tls(tmp_path, datetime.now(UTC)).authority
    connection = FleetConnection(federation.superlink.address, authority, federation.keys[1])
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        connection.activate()
    connection.close()


def test_a_key_may_not_speak_for_another_node(federation: Federation, tmp_path: Path) -> None:
    impostor = federation.connect(DeviceDirectory.create(tmp_path / "impostor").node_key)
    impostor._node.node_id = federation.report["nodes"][0]
    with pytest.raises(NodeError, match="401"):
        impostor.receive()
    impostor.close()


def test_flwrs_refusals_are_errors(federation: Federation, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"flwr run: Failed to load"):
        federation.superlink.cli.submit(tmp_path, {}, {})


@pytest.mark.long
def test_a_killed_nodes_successor_is_let_in_once_it_counts_as_offline(federation: Federation) -> None:
    """Up to 60 s after its last heartbeat the predecessor counts as online."""
    connection = federation.connect(federation.keys[0])
    successor = EmbeddedNode(connection, Echo(victim=False), poll_interval=0.2)
    successor.start()
    eventually(lambda: bool(connection._node.node_id) or not successor.alive, timeout=90)
    assert connection._node.node_id in federation.report["nodes"]
    assert (successor.alive, successor.error) == (True, None)
    assert successor.stop(30)
