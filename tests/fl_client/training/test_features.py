from __future__ import annotations

import math
import sys
import unicodedata
from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from fl_client.training.features import Features, hash_texts, normalise
from privacy.task.task import FeatureSpec

ANY_TEXT = st.text(st.characters(), max_size=40)
"""All code points, lone surrogates too."""
HARD_TEXT = st.text(st.sampled_from("ßẞŉǰΐᾳﬁﬃİıΣςſK½①\u0345\u0301\u0323\u030c\u0307ͅÅ가ᄀ\u1161\xa0\u2003\x1c _!a"))
"""Letters that fold to several, marks that join what they follow, and spaces of all kinds."""
Form = Literal["NFC", "NFD", "NFKC", "NFKD"]
FORMS: tuple[Form, ...] = get_args(Form)
SPECS = st.builds(
    FeatureSpec,
    buckets=st.sampled_from([16, 1_000, 16_384]),
    word_ngrams=st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 3)]),
    char_ngrams=st.sampled_from([(1, 2), (3, 3), (3, 5)]),
)


# The specification, written a second time: no regular expression, no zlib, no numpy.


def plain_crc32(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def plain_kind(character: str) -> str:
    if character.isspace():
        return "space"
    return "word" if character == "_" or unicodedata.category(character)[0] in "LN" else "other"


def plain_tokens(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    tokens, before = list[str](), "space"
    for character in folded:
        kind = plain_kind(character)
        if kind == before != "space":
            tokens[-1] += character
        elif kind != "space":
            tokens.append(character)
        before = kind
    return tokens


def plain_grams(spec: FeatureSpec, text: str) -> list[str]:
    tokens = plain_tokens(text)
    grams = []
    for n in range(spec.word_ngrams[0], spec.word_ngrams[1] + 1):
        grams += ["w" + " ".join(tokens[i : i + n]) for i in range(len(tokens)) if i + n <= len(tokens)]
    for marked in [f"_{token}_" for token in tokens]:
        for n in range(spec.char_ngrams[0], spec.char_ngrams[1] + 1):
            grams += ["c" + marked[i : i + n] for i in range(len(marked)) if i + n <= len(marked)]
    return grams


def plain_counts(spec: FeatureSpec, text: str) -> dict[int, int]:
    buckets = [plain_crc32(gram.encode("utf-8", "surrogatepass")) % spec.buckets for gram in plain_grams(spec, text)]
    return {bucket: buckets.count(bucket) for bucket in sorted(set(buckets))}


def plain_row(counts: dict[int, int]) -> dict[int, float]:
    damped = {bucket: 1 + math.log(count) for bucket, count in counts.items()}
    norm = math.sqrt(sum(value**2 for value in damped.values()))
    return {bucket: value / norm for bucket, value in damped.items()}


def row(features: Features, index: int = 0) -> dict[int, float]:
    part = slice(features.starts[index], features.starts[index + 1])
    return dict(zip(features.columns[part].tolist(), features.values[part].tolist(), strict=True))


KNOWN_TEXT = "Ｈello, HELLO  Straße!"
KNOWN_SPEC = FeatureSpec(buckets=64, word_ngrams=(1, 2), char_ngrams=(3, 3))
KNOWN_ONCE = {7, 8, 10, 16, 21, 32, 35, 37, 44, 45, 47, 55, 58, 63}
KNOWN_COUNTS = dict.fromkeys(KNOWN_ONCE, 1) | {1: 2, 4: 2, 23: 2, 26: 2, 34: 2, 56: 4}
KNOWN_VALUES = {1: 0.1714277, 2: 0.2902523, 4: 0.4090769}
"""By count."""


def test_the_check_value_of_crc32() -> None:
    """The catalogue's check value of CRC-32/ISO-HDLC."""
    assert plain_crc32(b"123456789") == 0xCBF43926


def test_known_answer() -> None:
    """For whoever writes the features in another language: bucket and count of every n-gram of one text."""
    assert plain_tokens(KNOWN_TEXT) == ["hello", ",", "hello", "strasse", "!"]
    assert plain_counts(KNOWN_SPEC, KNOWN_TEXT) == KNOWN_COUNTS
    expected = {bucket: KNOWN_VALUES[count] for bucket, count in KNOWN_COUNTS.items()}
    assert row(hash_texts(KNOWN_SPEC, [KNOWN_TEXT])) == pytest.approx(expected, rel=1e-6)


@given(SPECS, st.one_of(ANY_TEXT, HARD_TEXT))
@example(FeatureSpec(), "a\ud800b")
def test_row_is_what_the_specification_says(spec: FeatureSpec, text: str) -> None:
    assert row(hash_texts(spec, [text])) == pytest.approx(plain_row(plain_counts(spec, text)), rel=1e-6)


def test_word_characters_are_the_letters_and_numbers_of_unicode() -> None:
    """What lets a language without Python's `\\w` cut the same tokens."""
    for character in map(chr, range(sys.maxunicode + 1)):
        assert character.isalnum() == (unicodedata.category(character)[0] in "LN"), hex(ord(character))


DTYPES = ["int64", "int32", "float32"]


@given(SPECS, st.lists(st.one_of(ANY_TEXT, HARD_TEXT), max_size=6))
def test_packed_rows(spec: FeatureSpec, texts: list[str]) -> None:
    """L2 norm 1 or empty, columns ascending and within the buckets, dtypes as promised."""
    features = hash_texts(spec, texts)
    assert len(features) == len(texts)
    assert [part.dtype.name for part in (features.starts, features.columns, features.values)] == DTYPES
    assert features.starts[0] == 0
    assert features.starts[-1] == features.columns.size == features.values.size
    for index, text in enumerate(texts):
        part = slice(features.starts[index], features.starts[index + 1])
        columns = features.columns[part]
        assert np.all(np.diff(columns) > 0)
        assert np.all((columns >= 0) & (columns < spec.buckets))
        assert (columns.size == 0) == (not normalise(text))
        if columns.size:
            assert np.linalg.norm(features.values[part].astype(np.float64)) == pytest.approx(1, abs=1e-6)


@given(st.one_of(ANY_TEXT, HARD_TEXT))
@example("ß\u0301")
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.one_of(ANY_TEXT, HARD_TEXT), st.sampled_from(FORMS))
def test_the_composition_of_a_text_does_not_matter(text: str, form: Form) -> None:
    assert normalise(unicodedata.normalize(form, text)) == normalise(text)


@given(st.text(st.sampled_from("aBcÄöÑéЖщΔλστԱբ .,!")))
@example("Straße")
def test_case_does_not_matter(text: str) -> None:
    for variant in (text.upper(), text.lower(), text.title(), text.swapcase()):
        assert normalise(variant) == normalise(text)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1), max_size=5), st.data())
def test_amount_and_kind_of_white_space_do_not_matter(words: list[str], data: st.DataObject) -> None:
    space = st.text(st.sampled_from(" \t\n\r\xa0\u2003\u3000"), min_size=1)
    spaced = "".join(data.draw(space) + word for word in words) + data.draw(space)
    assert normalise(spaced) == normalise(" ".join(words))


@given(SPECS, st.lists(st.one_of(ANY_TEXT, HARD_TEXT), min_size=1, max_size=6), st.data())
def test_rows_picks_and_dense_unpacks(spec: FeatureSpec, texts: list[str], data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=8))
    picked = hash_texts(spec, texts).rows(np.array(indices, np.int64))
    expected = np.zeros((len(indices), spec.buckets))
    for place, index in enumerate(indices):
        for bucket, value in row(hash_texts(spec, [texts[index]])).items():
            expected[place, bucket] = value
    assert len(picked) == len(indices)
    assert picked.dense().dtype == np.float32
    np.testing.assert_array_equal(picked.dense(), expected)


def test_no_texts_give_no_rows() -> None:
    nothing = hash_texts(FeatureSpec(buckets=16), [])
    assert len(nothing) == 0
    assert nothing.dense().shape == (0, 16)
    assert len(nothing.rows(np.empty(0, np.int64))) == 0


def test_repr_shows_no_feature() -> None:
    """Buckets can be guessed back to words."""
    assert repr(hash_texts(FeatureSpec(), ["a private message"])) == "Features(buckets=16384)"
