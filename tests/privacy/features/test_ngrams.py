from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, strategies as st

from privacy.features.ngrams import hash_texts
from privacy.features.normalising import normalise
from privacy.features.rows import Features
from privacy.task.task import FeatureSpec
from tests.support.unicode_oracle import assigned, kind, normal_form, plain_tokens

ANY_TEXT = st.text(st.characters(), max_size=40)
"""All code points, lone surrogates too."""
HARD_TEXT = st.text(
    st.sampled_from("ßẞﬁİıΙ\u0345\u0301Å가ᄀ\u1161ㅋ\xa0\u2003 _!aB1今天すカーก็่ไे्क😀\U00013001"), max_size=12
)
"""Letters that fold to several, marks that join what they follow, scripts without spaces, and spaces of all kinds."""
SPECS = st.builds(
    FeatureSpec,
    buckets=st.sampled_from([16, 1_000, 16_384]),
    word_ngrams=st.sampled_from([(1, 1), (1, 2), (2, 2), (2, 3)]),
    char_ngrams=st.sampled_from([(1, 2), (3, 3), (3, 5)]),
    compact_ngrams=st.sampled_from([(1, 4), (2, 2), (1, 6)]),
)


# The specification, written a second time: no regular expression, no zlib, no numpy.


def plain_crc32(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


SINGLE = re.compile("[\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff]")
"""Letters of Japanese and Chinese."""
PAIR = re.compile("[\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46]")
"""Letters of Thai."""
COMPACT = re.compile(f"{SINGLE.pattern}|{PAIR.pattern}|[\u1100-\u11ff\uac00-\ud7a3]")
"""These, and Korean."""


def plain_words(tokens: list[str]) -> list[str]:
    """The words of tokens, character by character."""
    words: list[str] = []
    for token in tokens:
        if not SINGLE.search(token) and not PAIR.search(token):
            words.append(token)
            continue
        clusters = []
        for character in token:
            if clusters and kind(character) == "mark":
                clusters[-1] += character
            else:
                clusters.append(character)
        piece: list[str] = []
        before = ""
        for cluster in [*clusters, ""]:
            own = "single" if SINGLE.match(cluster) else "pair" if PAIR.match(cluster) else "other"
            if piece and (own != before or own == "single" or not cluster):
                joined = (
                    ["".join(pair) for pair in pairwise(piece)]
                    if before == "pair" and len(piece) > 1
                    else ["".join(piece)]
                )
                words += joined
                piece = []
            piece.append(cluster)
            before = own
    return words


def plain_grams(spec: FeatureSpec, text: str) -> list[str]:
    tokens = plain_tokens(normal_form(text))
    words = plain_words(tokens)
    grams = []
    for n in range(spec.word_ngrams[0], spec.word_ngrams[1] + 1):
        grams += ["w" + " ".join(words[i : i + n]) for i in range(len(words)) if i + n <= len(words)]
    for marked in [f"_{token}_" for token in tokens]:
        for i in range(len(marked)):
            for n in range(1, len(marked) - i + 1):
                gram = marked[i : i + n]
                low, high = spec.compact_ngrams if COMPACT.search(gram) else spec.char_ngrams
                if low <= n <= high:
                    grams.append("c" + gram)
    return grams


def plain_counts(spec: FeatureSpec, text: str) -> dict[int, int]:
    buckets = [plain_crc32(gram.encode()) % spec.buckets for gram in plain_grams(spec, text)]
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
    assert plain_tokens(normal_form(KNOWN_TEXT)) == ["hello", ",", "hello", "strasse", "!"]
    assert plain_counts(KNOWN_SPEC, KNOWN_TEXT) == KNOWN_COUNTS
    expected = {bucket: KNOWN_VALUES[count] for bucket, count in KNOWN_COUNTS.items()}
    assert row(hash_texts(KNOWN_SPEC, [KNOWN_TEXT])) == pytest.approx(expected, rel=1e-6)


@given(SPECS, HARD_TEXT | st.text(st.characters(max_codepoint=0x52F), max_size=40).filter(assigned))
def test_row_is_what_the_specification_says(spec: FeatureSpec, text: str) -> None:
    assert row(hash_texts(spec, [text])) == pytest.approx(plain_row(plain_counts(spec, text)), rel=1e-6)


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
