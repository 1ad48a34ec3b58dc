"""The federation of `simulations.flower` on a grid in this process; `tests/e2e` runs it on Ray."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict

from fl_client.connection.flower import NodeContext
from fl_server.flower.grid_transport import GridTransport
from fl_server.service import ServerDirectory
from simulations.config.config import ConfigError
from simulations.flower import SimulatedDevice, client, run_server
from tests.support.grids import Device, FakeGrid

DEVICES = 24
CONFIG = f"""\
seed = 6
[data]
devices = {DEVICES}
[privacy]
noise_multiplier = 0.0
participation = "bounded"
max_participations = 1
[training]
buckets = 1024
[server]
rounds = 2
cohort = {DEVICES // 2}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "federation.toml"
    path.write_text(CONFIG)
    return str(path)


def grid(config: str, nodes: int) -> FakeGrid:
    """Devices that forget everything between messages but what Flower keeps for them."""
    devices: dict[int, Device] = {}
    for number in range(nodes):
        place = {"partition-id": number, "num-partitions": nodes}
        context = Context(1, 100 + number, place, RecordDict(), {"config": config})
        devices[100 + number] = partial(_answer, context)
    return FakeGrid(devices)


def _answer(context: Context, message: Message) -> list[Message]:
    return [client(message, context)]


def test_devices_remember_keys_and_participations_between_messages(config: str, tmp_path: Path) -> None:
    """Each takes part at most once, so that some refuse the second round; those that do not complete it."""
    run_server(GridTransport(grid(config, DEVICES), 0.01), {"config": config, "out": str(tmp_path / "run")})
    first, second = ServerDirectory(tmp_path / "run").lines()
    assert (first["aborted"], first["survivors"], first["refusals"]) == (None, DEVICES // 2, {})
    assert {reason.split(":")[0] for reason in second["refusals"]} == {"advertise"}
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["auroc_untrained"] == pytest.approx(0.5)
    assert summary["auroc"] != pytest.approx(0.5)
    assert summary["device_epsilon"] is None or summary["device_epsilon"] > 0


def test_another_number_of_nodes_is_refused_by_server_and_device(config: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"num-supernodes: expected 24, .*got 25"):
        run_server(GridTransport(grid(config, DEVICES + 1), 0.01), {"config": config, "out": str(tmp_path / "run")})
    with pytest.raises(ConfigError, match=r"num-supernodes: expected 24, .*got 25"):
        SimulatedDevice(NodeContext(0, DEVICES + 1, {"config": config}, None))
    assert not (tmp_path / "run").exists()


def test_a_run_needs_a_directory(config: str) -> None:
    with pytest.raises(ConfigError, match="out: expected a path"):
        run_server(GridTransport(FakeGrid({})), {"config": config, "out": ""})
