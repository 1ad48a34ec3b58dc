"""One device dies at each of the five stages of one round, over a real SuperLink with TLS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fl_server.dev.provision import Scale
from fl_server.flower.processes import Processes
from privacy.secagg import Stage
from privacy.secagg.server.record import open_record
from tests.support.leaping import GENEROUS_S
from tests.support.leftovers import leftovers
from tests.support.tls import TlsFederation

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

SCALE = Scale(devices=12, rounds=2, stage_timeout=GENEROUS_S)
DEATHS = {number: (stage, 2) for number, stage in enumerate(Stage)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFederation]:
    path = tmp_path_factory.mktemp("deaths")
    with Processes(path / "logs") as processes:
        finished = TlsFederation(path, processes, SCALE, DEATHS)
        yield finished
        finished.stop()
    assert leftovers(path) == []


def test_the_round_goes_on_with_whoever_is_left(run: TlsFederation) -> None:
    """Lost at advertise: not in the cohort. At share or input: not in the sum. At consistency or unmask: in the sum."""
    first, second = run.server.lines()
    assert (first["cohort"], first["survivors"], first["refusals"]) == (12, 12, {})
    assert (second["cohort"], second["survivors"]) == (11, 9)
    assert second["refusals"] == {f"{stage}: no reply": 1 for stage in Stage}
    assert [device.alive for device in run.devices] == [number >= len(Stage) for number in range(SCALE.devices)]


def test_the_record_names_the_survivors_that_signed(run: TlsFederation) -> None:
    lines = run.server.records.read_bytes().splitlines()
    record = open_record(lines[1], run.server.read_operator().public)
    assert record.lost == {f"{stage}: no reply": 1 for stage in Stage}
    assert len(record.shards[0].survivors) == 9
    assert len(record.shards[0].consistency_checks) == record.shards[0].quorum == 6
