"""The order of a round: nothing is unmasked that is not paid for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from fl_server.training.round import Round
from fl_server.training.transport import Reply
from privacy.ledger.entries import Charge, issue_receipt
from privacy.ledger.ledger import Receipt
from privacy.secagg import Request, Stage
from tests.support.federation import Federation

CHARGE = "charge"


@dataclass
class Direct:
    """Devices in this process, and the order of what happened."""

    federation: Federation
    happened: list[str] = field(default_factory=list)

    def nodes(self) -> Sequence[int]:
        return range(self.federation.devices)

    def exchange(self, stage: str, requests: Mapping[int, Request], timeout: float) -> Iterator[Reply]:  # noqa: ARG002
        self.happened.append(stage)
        for node, request in requests.items():
            yield Reply(node, self.federation.step(Stage(stage), node, request.body))


def test_the_charge_comes_before_any_request_to_unmask() -> None:
    direct = Direct(Federation(6))

    def refuse(_: str) -> Receipt:
        direct.happened.append(CHARGE)
        raise RuntimeError("no budget")

    with pytest.raises(RuntimeError, match="no budget"):
        Round(direct.federation.server, direct, stage_timeout=1.0).run(refuse)
    assert direct.happened == [*list(Stage)[:4], CHARGE]
    assert all(client.snapshot() for client in direct.federation.clients)


def test_the_charge_is_for_the_sum_that_is_unmasked_then() -> None:
    direct = Direct(Federation(6))

    def charge(transcript: str) -> Receipt:
        direct.happened.append(CHARGE)
        return issue_receipt(Charge.of(direct.federation.task, 1, transcript, 6), "00" * 32)

    outcome = Round(direct.federation.server, direct, stage_timeout=1.0).run(charge)
    assert direct.happened == [*list(Stage)[:4], CHARGE, Stage.UNMASK]
    [total] = outcome.totals
    assert outcome.receipt.charge.transcript == total.transcript
    np.testing.assert_array_equal(total.sums, direct.federation.expected(range(6)))
