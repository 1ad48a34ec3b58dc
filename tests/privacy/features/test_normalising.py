"""The normal form, held against the Unicode of the Python that runs."""

from __future__ import annotations

import sys
import unicodedata
from typing import Literal, get_args

import pytest
from hypothesis import assume, example, given, strategies as st

from privacy.features.normalising import normalise
from privacy.features.tokenising import tokens
from privacy.features.unicode import Table, table
from tests.support.unicode_oracle import assigned, normal_form, plain_tokens

ANY_TEXT = st.text(st.characters(), max_size=40)
"""All code points, lone surrogates too."""
HARD_TEXT = st.text(
    st.sampled_from(
        "ßẞŉǰΐᾳᾴᾼﬁﬃİIiıΙςſK½①\u0345\u0301\u0323\u030c\u0307ͅÅ가각ᄀ\u1161\u11a8ㄱㅏﾡ\xa0\u2003\x1c _!a"
        "\u200b\u200d\u00ad\ufe0f\u034f\u3099カｶﾞか゛かがक\u093cक़य़\u094d\u0b47\u0b3eโด็่์ย\u05d1\u05bc\u05b0\u0651\u064e😀\u20e3"
    ),
    max_size=12,
)
"""Letters that fold to several, marks that join what they follow, and what does not show."""
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = get_args(Form)
CODES = [
    *range(0x3400),
    *range(0xA000, 0xAC00),
    *range(0xD7B0, 0xD800),
    *range(0xF900, 0x20000),
    *range(0xE0000, 0xE0200),
]
KNOWN = [chr(code) for code in (*CODES, *range(0x3400, sys.maxunicode, 97)) if assigned(chr(code))]
"""All but most ideographs and syllables."""
MOVED = "\u19da\u166d\U00011241"
"""Of other categories in Unicode 17.0 than in the versions of some Pythons."""


def test_every_character_that_this_python_knows_has_the_standards_form() -> None:
    """All at once, between letters that nothing is composed with."""
    assert normalise("q".join(KNOWN)) == normal_form("q".join(KNOWN))


def test_every_character_that_this_python_knows_is_of_the_standards_kind() -> None:
    """But for those that a later version than this Python's has moved to another category."""
    form = normalise("q".join(KNOWN))
    own = sorted(set(form) - set(MOVED) - {" "})
    expected = [token for character in own for token in plain_tokens("a" + character)]
    assert tokens(" ".join("a" + character for character in own)) == expected
    assert [token for character in own for token in tokens("a" + character)] == expected


@given(HARD_TEXT | ANY_TEXT.filter(assigned))
@example("α\u0345\u0301")
@example("i\u0327\u0307")
@example("i\u0301\u0307")
def test_a_text_has_the_standards_form_and_tokens(text: str) -> None:
    assume(assigned(text))
    assert normalise(text) == normal_form(text)
    assert tokens(normalise(text)) == plain_tokens(normal_form(text))


@given(HARD_TEXT | ANY_TEXT)
@example("ß\u0301")
@example("\ud83d\ude00\ud83d")
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_what_a_character_is_decomposed_to_is_decomposed_no_further() -> None:
    """So that the form of a text is its own form."""
    for whole in table().decomposed.values():
        assert table().decompose(whole) == whole.replace("\u0345", "ι")


@given(HARD_TEXT | ANY_TEXT, st.sampled_from(FORMS))
def test_the_composition_of_a_text_does_not_matter(text: str, form: Form) -> None:
    assume(assigned(text))
    assert normalise(unicodedata.normalize(form, text)) == normalise(text)


@given(st.text(st.sampled_from("aBcÄöÑéЖщΔλστԱբİi .,!")))
@example("Straße")
@example("İSTANBUL")
def test_case_does_not_matter(text: str) -> None:
    for variant in (text.upper(), text.lower(), text.title(), text.swapcase()):
        assert normalise(variant) == normalise(text)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), max_size=5), st.data())
def test_amount_and_kind_of_white_space_do_not_matter(words: list[str], data: st.DataObject) -> None:
    space = st.text(st.sampled_from(" \t\n\r\x85\xa0\u2003\u2028\u3000"), min_size=1)
    spaced = "".join(data.draw(space) + word for word in words) + data.draw(space)
    assert normalise(spaced) == normalise(" ".join(words))


@given(st.text(st.characters(), max_size=20), st.text(st.sampled_from("\u200b\u200c\u200d\u2060\u00ad\ufe0f\ufeff")))
def test_what_does_not_show_does_not_matter(text: str, hidden: str) -> None:
    assume(not any("\ud800" <= character <= "\udfff" for character in text))
    assert normalise(text + hidden) == normalise(text)
    assert normalise("fu" + hidden + "ck") == "fuck"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\ud83d\ude00b", "a😀b"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
    ],
)
def test_surrogates_are_read_as_utf_16_is(text: str, expected: str) -> None:
    """As the strings of Java and JavaScript would be sent."""
    assert normalise(text) == expected


@given(HARD_TEXT | ANY_TEXT, st.integers(1, 20))
def test_a_limit_bounds_what_is_read_and_what_comes_back(text: str, limit: int) -> None:
    form = normalise(text, limit)
    assert len(form) <= limit
    assert normalise(text[: 2 * limit], limit) == form


def test_one_character_that_stands_for_many_is_bounded_too() -> None:
    """U+FDFA is a phrase of 18 characters."""
    assert len(normalise("\ufdfa" * 100)) > 1_000
    assert len(normalise("\ufdfa" * 100, 50)) <= 50


@pytest.mark.parametrize("line", ["version 16.0.0", "letter 41 5A"])
def test_a_table_of_another_kind_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="unicode: expected"):
        Table.parse(line)
