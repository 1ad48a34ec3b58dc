"""What people are told is signed with the task, and dates are dates."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from privacy.base.signing import Signer
from privacy.task.task import Notice, TaskSpec, open_task, sign_task
from simulations.config.config import RunConfig
from simulations.runs.plan import plan_task, with_schedule
from tests.support.tasks import make_task

TOLD = Notice(data="Messages", data_from="2025-01-01", data_until="2025-12-31", contact="dpo@example.org")


def test_it_is_part_of_what_the_operator_signs() -> None:
    silent, told = make_task(), make_task(notice=TOLD)
    assert silent.id != told.id
    signer = Signer.from_seed(b"\x07" * 32)
    assert open_task(sign_task(told, signer), signer.public).notice == TOLD
    assert TaskSpec.model_validate_json(told.canonical()) == told


@pytest.mark.parametrize(
    "words",
    [
        {"data_from": "2025-1-1"},
        {"data_from": "20250101"},
        {"data_until": "soon"},
        {"data_from": "2025-02-30"},
        {"data_from": "2025-02-02", "data_until": "2025-02-01"},
        {"contact": "x" * 1001},
        {"phone": "0"},
    ],
)
def test_what_is_no_notice_is_refused(words: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=next(reversed(words))):
        Notice.model_validate(words)


def test_a_simulation_says_what_its_configuration_says_and_whether_messages_are_made_up() -> None:
    made_up = plan_task(with_schedule(RunConfig(), 1_000), 1_000, "ab" * 32)
    assert "nobody wrote them" in made_up.notice.data
    told = RunConfig.model_validate({"notice": {"data": "Messages", "contact": "dpo@example.org"}})
    assert plan_task(with_schedule(told, 1_000), 1_000, "ab" * 32).notice == Notice(
        data="Messages", contact="dpo@example.org"
    )
