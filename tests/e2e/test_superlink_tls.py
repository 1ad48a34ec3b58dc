"""The real thing: SuperLink over TLS, SuperExec, embedded devices that train with Opacus, and one that dies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fl_server.dev.provision import Scale
from fl_server.flower.processes import Processes
from privacy.base.canonical import sha256
from privacy.ledger.entries import Released
from privacy.ledger.ledger import SignedHead
from privacy.secagg import Stage
from tests.support.leaping import GENEROUS_S
from tests.support.ledgers import kinds, read_ledger, verified_entries
from tests.support.leftovers import leftovers
from tests.support.tls import TlsFederation

pytestmark = [pytest.mark.long, pytest.mark.timeout(800)]

SCALE = Scale(devices=3, rounds=2, stage_timeout=GENEROUS_S)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFederation]:
    """Two rounds with three devices in this process, of which the first dies in the second."""
    path = tmp_path_factory.mktemp("federation")
    with Processes(path / "logs") as processes:
        finished = TlsFederation(path, processes, SCALE, {0: (Stage.INPUT, 2)})
        yield finished
        finished.stop()
    assert leftovers(path) == []


def test_the_second_round_goes_on_without_the_device_that_died(run: TlsFederation) -> None:
    lines = run.server.lines()
    assert [(line["round"], line["invited"], line["cohort"], line["survivors"]) for line in lines] == [
        (1, 3, 3, 3),
        (2, 3, 3, 2),
    ]
    assert [line["aborted"] for line in lines] == [None, None]
    assert lines[1]["refusals"] == {"input: no reply": 1}


def test_every_device_trained(run: TlsFederation) -> None:
    assert [device.answered[Stage.INPUT] for device in run.devices] == [2, 2, 2]
    assert [device.alive for device in run.devices] == [False, True, True]


def test_the_published_model_is_signed_and_has_moved(run: TlsFederation) -> None:
    weights = run.release.weights
    assert weights.shape == (run.server.read_task().model.dimension,)
    assert np.isfinite(weights).all()
    assert np.linalg.norm(weights) > 0


def test_ledger_model_and_metrics_agree(run: TlsFederation) -> None:
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


def test_keys_stay_private(run: TlsFederation) -> None:
    for key in (run.server.operator_key, run.server.path.parent / "device0" / "identity.key"):
        assert key.stat().st_mode & 0o777 == 0o600
        assert key.read_bytes().hex() not in run.log
