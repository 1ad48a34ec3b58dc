"""The page by the rules that screen readers and weak eyes need (WCAG 2.2), by day and by night; and its plain words."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from privacy.report.build import RunFacts, render_html
from privacy.report.model import EpsilonReport
from privacy.task.task import Budget, Notice
from tests.support.reports import BOUNDED, COUNTS, POISSON, report_of, task_with

FAILURES = {5: "too few", 6: "the server ended"}


@cache
def known(name: str) -> EpsilonReport:
    """Reports that are looked at often; those of sampled cohorts take a while."""
    facts = RunFacts(COUNTS, attempted=6, failures=FAILURES) if name == "failed" else None
    return report_of(task_with(POISSON if name == "poisson" else BOUNDED), facts)


TEXT = 4.5
"""The least contrast of text (WCAG 2.2, success criterion 1.4.3)."""
_OPEN = frozenset({"meta", "line", "path", "circle", "br"})


class Page(HTMLParser):
    """A page as a list of elements, each with its attributes, its text and the tags around it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        around = [outer for outer, _ in self._open]
        self.found.append((tag, {name: value or "" for name, value in attrs}, around, text))
        if tag not in _OPEN:
            self._open.append((tag, text))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _OPEN:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for _, text in self._open:
            text.append(data)

    def all(self, *tags: str) -> list[tuple[str, dict[str, str], list[str], str]]:
        return [(tag, attrs, around, "".join(text).strip()) for tag, attrs, around, text in self.found if tag in tags]


@pytest.fixture(params=["poisson", "bounded", "failed"])
def report(request: pytest.FixtureRequest) -> EpsilonReport:
    return known(request.param)


@pytest.fixture
def page(report: EpsilonReport) -> Page:
    return Page(render_html(report))


def test_it_says_its_language_its_title_and_where_its_content_is(page: Page) -> None:
    [(_, attrs, _, _)] = page.all("html")
    assert attrs["lang"] == "en"
    assert [text for *_, text in page.all("title")] == ["Epsilon report: abuse"]
    assert len(page.all("main")) == 1


def test_headings_begin_with_one_and_leave_no_level_out(page: Page) -> None:
    levels = [int(tag[1]) for tag, *_ in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(text for *_, text in page.all("h1", "h2", "h3"))


def test_every_cell_of_a_table_has_a_header_that_says_what_it_heads(page: Page) -> None:
    heads = page.all("th")
    assert heads
    for _, attrs, around, text in heads:
        assert attrs.get("scope") == ("col" if "thead" in around else "row"), text
        assert text
    assert all("tbody" in around or "thead" in around or "table" in around for *_, around, _ in page.all("td"))
    rows = page.all("tr")
    assert len(rows) == len([1 for _, _, around, _ in heads if "thead" not in around]) + len(page.all("thead"))


def test_every_picture_has_words(page: Page) -> None:
    pictures = page.all("svg")
    assert pictures
    for _, attrs, _, _ in pictures:
        assert attrs["role"] == "img"
        assert re.search(r"From [\d.e-]+ to [\d.e-]+\.", attrs["aria-label"])


def test_ids_are_unique_and_nothing_takes_the_focus_out_of_order(page: Page) -> None:
    ids = [attrs["id"] for _, attrs, _, _ in page.found if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert not [attrs for _, attrs, _, _ in page.found if "tabindex" in attrs]


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of a colour as CSS has it."""
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def palettes() -> list[dict[str, str]]:
    css = render_html(known("bounded"))
    return [dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in re.findall(r":root \{([^}]*)\}", css)]


def test_contrast_is_what_the_standard_gives() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.005)


def test_text_stands_out_from_what_is_behind_it_by_day_and_by_night() -> None:
    light, dark = palettes()
    assert light.keys() == dark.keys()
    behind = {
        "ink": "paper",
        "soft": "paper",
        "accent": "paper",
        "warn": "paper",
        "on-warn": "warn",
        "warn-ink": "warn-bg",
    }
    for palette in (light, dark):
        for text, ground in behind.items():
            assert contrast(palette[text], palette[ground]) >= TEXT, (text, palette[text])
    assert luminance(dark["paper"]) < 0.05 < luminance(light["paper"])


# Plain words.


def text_of(report: EpsilonReport) -> str:
    [(*_, text)] = Page(render_html(report)).all("main")
    return re.sub(r"\s+", " ", text)


def test_it_says_whether_the_promise_is_strong_and_what_an_attacker_could_do(report: EpsilonReport) -> None:
    text = text_of(report)
    for attacker in report.claim.attackers:
        assert attacker.strength in text
        assert f"{Decimal(attacker.right_guesses) * 100:f}".rstrip("0").rstrip(".") + "%" in text
    assert "zeros in their place" in text
    assert "presence" not in text


def test_towards_insiders_it_says_how_much_more_they_could_do() -> None:
    outside, inside = known("poisson").claim.attackers
    assert "holders of the round log" in inside.party
    assert float(inside.right_guesses) > float(outside.right_guesses)
    assert float(inside.epsilon) > float(outside.epsilon)


def test_it_says_which_data_and_whom_to_ask() -> None:
    told = Notice(
        data="Messages in family chats", data_from="2025-01-01", data_until="2025-12-31", contact="dpo@example"
    )
    text = text_of(report_of(task_with(BOUNDED, notice=told)))
    for words in ("Messages in family chats", "2025-01-01 to 2025-12-31", "dpo@example", "Nobody verified them"):
        assert words in text
    silent = text_of(known("bounded"))
    assert "nobody is named" in silent
    assert "Which days they are ofnot stated" in silent


def test_it_says_where_epsilon_will_end() -> None:
    under_way = report_of(task_with(BOUNDED, rounds=40))
    planned = under_way.spend.planned
    assert planned.rounds_left == 36
    assert float(planned.epsilon) >= float(under_way.claim.epsilon)
    text = text_of(under_way)
    assert "At the end of the plan, 36 rounds from here" in text
    assert f"ε = {planned.epsilon}. If every round of this task that is left" in text
    assert "refuses whatever would take ε above 8 over these devices’ life" in text
    free = text_of(report_of(task_with(BOUNDED, budget=Budget(delta=1e-5))))
    assert "No budget limits what later tasks may add" in free


def test_it_lists_rounds_that_failed_and_why() -> None:
    text = text_of(known("failed"))
    assert "Attempted6" in text.replace(" ", "")
    assert "too few" in text
    assert "the server ended" in text
    assert "no: nothing was revealed" in text
    unknown = text_of(report_of(task_with(BOUNDED), RunFacts(COUNTS)))
    assert "the ledger does not hear of them" in unknown


def test_it_says_that_no_single_number_of_mu_or_rho_holds_where_cohorts_are_drawn() -> None:
    assert "no single number of that kind" in text_of(known("poisson"))
    assert "no single number of that kind" not in text_of(known("bounded"))


def test_it_says_where_the_curve_begins_and_where_it_is_coarse() -> None:
    report = report_of(task_with(POISSON, budget=Budget(epsilon=8.0, delta=1e-7)))
    curve = report.spend.device.curve
    assert float(curve[0].delta) < 1e-12
    assert "the second curve has a step" in text_of(report)
    cut = report.spend.device.model_copy(update={"curve": (curve[0].model_copy(update={"epsilon": "inf"}), *curve[1:])})
    shorter = report.model_copy(update={"spend": report.spend.model_copy(update={"device": cut})})
    assert "no finite ε is known" in text_of(shorter)
    assert "no finite ε is known" not in text_of(report)


def test_attacks_have_names_that_a_reader_knows() -> None:
    assert "mechanism-one-run" not in text_of(known("bounded"))
