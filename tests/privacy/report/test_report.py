from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import jsonschema
import pytest

from privacy.accounting.accountant import known_cohorts_epsilon, message_level_epsilon, spend
from privacy.accounting.events import round_event
from privacy.base.canonical import sha256
from privacy.ledger.ledger import Charge, Ledger, LedgerInvalid
from privacy.report import words
from privacy.report.build import (
    EpsilonReport,
    ReportError,
    RunFacts,
    build_report,
    json_schema,
    render_html,
)
from privacy.task.task import AggregationPolicy, Budget, DeviceMechanism, Participation
from tests.support.reports import BOUNDED, COUNTS, POISSON, ROUNDS, SIGNER, ledger_of, report_of, task_with
from tests.support.stores import MemoryStore


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("participation", [POISSON, BOUNDED])
def test_every_figure_is_recomputed_from_the_ledger(participation: Participation, shards: int) -> None:
    task = task_with(
        participation, aggregation=AggregationPolicy(max_dropouts=2, min_survivors=5, modulus_bits=16, shards=shards)
    )
    report = report_of(task)
    expected = spend([round_event(task, 1)] * ROUNDS, 1e-5)
    device = report.spend.device
    assert float(device.epsilon) == float(report.claim.epsilon) == expected.epsilon
    assert float(device.lots_delta) == expected.lots_delta
    assert len(device.by_charge) == ROUNDS
    assert device.by_charge[-1] == device.epsilon
    assert [point.delta for point in device.at_deltas] == ["1e-07", "1e-06", "1e-05", "0.0001"]
    for point in device.at_deltas:
        assert float(point.epsilon) == spend([round_event(task, 1)] * ROUNDS, float(point.delta)).epsilon
    assert report.composition.events[0].times == ROUNDS


def test_what_became_of_each_charge_is_counted() -> None:
    report = report_of(task_with())
    taking_part = report.participation
    assert (taking_part.rounds_charged, taking_part.rounds_released, taking_part.rounds_abandoned) == (4, 3, 1)
    assert report.provenance.model_digest == sha256(b"model", bytes([ROUNDS - 1])).hex()
    assert report.provenance.ledger_head.size == 2 * ROUNDS + 1
    assert report.provenance.last_entry.startswith("1970-01-01T00:00:1")


def test_charges_of_other_tasks_cost_the_device_but_are_not_this_tasks_rounds() -> None:
    first, second = task_with(BOUNDED), task_with(BOUNDED, name="another")
    ledger = ledger_of(first)
    report = build_report(second, ledger.entries(), ledger.head(), SIGNER.public, RunFacts())
    assert report.participation.rounds_charged == 0
    assert report.provenance.model_digest is None
    assert float(report.claim.epsilon) == ledger.spent().epsilon > 0


def test_the_message_guarantee_stands_apart() -> None:
    task = task_with(BOUNDED)
    message = report_of(task).spend.message
    assert float(message.one_participation) == message_level_epsilon(task.training, 1, 1e-5)
    assert message.participations == 3
    assert float(message.all_participations) == message_level_epsilon(task.training, 3, 1e-5)
    silent = task.training.model_copy(update={"message_noise": 0.0})
    assert report_of(task_with(BOUNDED, training=silent)).spend.message.one_participation == "inf"


def test_a_poisson_claim_names_its_adversary_and_keeps_cohort_sizes_back() -> None:
    report = report_of(task_with(POISSON))
    known = known_cohorts_epsilon([round_event(task_with(POISSON), 1)] * ROUNDS, 1e-5)
    assert report.claim.known_cohorts_epsilon == str(known)
    for who in ("the server that draws", "every device of a cohort", "whoever holds the round log"):
        assert who in report.claim.holds_against
    assert f"Towards them ε is {words.known_cohorts(known or 0)}," in report.claim.holds_against
    page = render_html(report)
    assert f"<i>ε</i> = {known}</span>" in page
    assert report.participation.realised is None
    assert report.participation.withheld
    assert b"7001" not in report.canonical()
    assert b"6001" not in report.canonical()


def test_a_bounded_claim_lists_its_cohorts() -> None:
    report = report_of(task_with(BOUNDED))
    assert report.claim.known_cohorts_epsilon is None
    assert "the server itself" in report.claim.holds_against
    assert report.participation.realised == COUNTS
    assert report.participation.withheld is None


def test_seeded_randomness_makes_the_claim_hypothetical() -> None:
    real, seeded = report_of(task_with()), report_of(task_with(randomness="seeded"))
    assert (real.hypothetical, seeded.hypothetical) == (False, True)
    assert any("Hypothetical" in warning for warning in seeded.claim.warnings)
    assert not real.claim.warnings
    assert "hypothetical" in render_html(seeded)
    assert "ypothetical" not in render_html(real)


def test_a_large_delta_is_warned_of() -> None:
    report = report_of(task_with(budget=Budget(epsilon=8.0, delta=1e-3)))
    assert any("delta 0.001 is not smaller than one in 1000" in warning for warning in report.claim.warnings)


def test_no_noise_is_reported_as_no_claim() -> None:
    quiet = DeviceMechanism(clip=0.5, noise_multiplier=0.0)
    report = report_of(task_with(mechanism=quiet, budget=Budget(delta=1e-5)), RunFacts())
    assert report.claim.epsilon == "inf"
    assert "infinite" in report.claim.statement
    page = render_html(report)
    assert "∞" in page
    assert "<svg" not in page


def test_a_ledger_that_does_not_verify_gives_no_report() -> None:
    task = task_with()
    ledger = ledger_of(task)
    with pytest.raises(LedgerInvalid):
        build_report(task, ledger.entries()[:-1], ledger.head(), SIGNER.public, RunFacts())


def test_facts_that_contradict_the_task_give_no_report() -> None:
    task = task_with()
    with pytest.raises(ReportError, match=r"least_noise_multiplier: expected at least the charged 1\.2, got 1\.19"):
        report_of(task, RunFacts(COUNTS, 1.19))
    louder = round_event(task, 1).model_copy(update={"noise_multiplier": 5.0})
    ledger = Ledger(MemoryStore(), SIGNER, task.population, task.budget, lambda: 0)
    ledger.reserve(Charge.of(task, 1, "ab" * 32, 1_000).model_copy(update={"event": louder}))
    with pytest.raises(ReportError, match="charged as the task says"):
        build_report(task, ledger.entries(), ledger.head(), SIGNER.public, RunFacts())


@pytest.mark.parametrize("participation", [POISSON, BOUNDED])
def test_the_json_follows_the_shipped_schema(participation: Participation) -> None:
    shipped = json.loads((files("privacy.report") / "epsilon-report.schema.json").read_text())
    assert shipped == json_schema()
    document = json.loads(report_of(task_with(participation)).canonical())
    jsonschema.Draft202012Validator(shipped).validate(document)
    assert document["schema_id"] == "havenfl/epsilon-report/4"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "claim": {**document["claim"], "epsilon": "about 2"}}, shipped)


def test_a_report_survives_its_json() -> None:
    report = report_of(task_with(BOUNDED))
    again = EpsilonReport.model_validate_json(report.canonical())
    assert again == report
    assert render_html(again) == render_html(report)


class _Page(HTMLParser):
    """Checks nesting and collects what a browser would fetch, run or show."""

    VOID = frozenset({"meta", "line", "path", "circle"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [name for name, _ in attrs if name in {"src", "href"} or name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.VOID or self.open.pop() == tag


@pytest.mark.parametrize("participation", [POISSON, BOUNDED])
def test_the_page_stands_alone(participation: Participation) -> None:
    report = report_of(task_with(participation))
    rendered = render_html(report)
    page = _Page(rendered)
    assert not page.open
    assert page.fetched == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.tags.count("svg") == 2
    assert not re.search(r"url\(|@import|https?://", rendered)
    shown = (report.claim.epsilon, report.spend.message.one_participation, report.provenance.ledger_head.root)
    assert all(text in rendered for text in shown)


def test_names_are_escaped() -> None:
    rendered = render_html(report_of(task_with(name="<script>alert(1)</script>")))
    assert "<script>" not in rendered
    assert "&lt;script&gt;" in rendered
