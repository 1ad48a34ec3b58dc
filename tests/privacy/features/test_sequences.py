"""Texts to token numbers."""

from __future__ import annotations

from zlib import crc32

import numpy as np
from hypothesis import given, strategies as st

from privacy.features.encoding import number_texts
from privacy.features.normalising import normalise
from privacy.task.task import SequenceSpec

SPECS = st.builds(
    SequenceSpec,
    unit=st.sampled_from(["words", "characters"]),
    vocabulary=st.integers(16, 300),
    length=st.integers(1, 12),
)
TEXTS = st.lists(st.text(max_size=20), max_size=6)


def test_numbers_are_what_the_specification_says() -> None:
    words = number_texts(SequenceSpec(unit="words", vocabulary=100, length=8), ["Hi there!!", "", "hi"])
    expected = [1 + crc32(f"w{word}".encode()) % 99 for word in ("hi", "there", "!!")]
    assert words.dense().tolist() == [[*expected, 0, 0, 0, 0, 0], [0] * 8, [expected[0], *[0] * 7]]
    characters = number_texts(SequenceSpec(unit="characters", vocabulary=50, length=3), ["a ßb"])
    assert characters.numbers.tolist() == [1 + crc32(f"c{character}".encode()) % 49 for character in "a s"]


@given(SPECS, TEXTS)
def test_sequences_stay_within_vocabulary_and_length(spec: SequenceSpec, texts: list[str]) -> None:
    sequences = number_texts(spec, texts)
    dense = sequences.dense()
    assert dense.shape == (len(texts), spec.length)
    assert dense.dtype == np.int64
    assert sequences.numbers.size == 0 or 1 <= sequences.numbers.min() <= sequences.numbers.max() < spec.vocabulary
    if spec.unit == "characters":
        assert np.diff(sequences.starts).tolist() == [min(len(normalise(text)), spec.length) for text in texts]


@given(SPECS, TEXTS, st.data())
def test_rows_picks_and_between_slices(spec: SequenceSpec, texts: list[str], data: st.DataObject) -> None:
    sequences = number_texts(spec, texts)
    if texts:
        chosen = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=5)), np.int64)
        assert sequences.rows(chosen).dense().tolist() == sequences.dense()[chosen].tolist()
    last = data.draw(st.integers(0, len(texts)))
    first = data.draw(st.integers(0, last))
    assert sequences.between(first, last).dense().tolist() == sequences.dense()[first:last].tolist()


def test_no_text_shows_in_a_repr() -> None:
    assert repr(number_texts(SequenceSpec(unit="words", vocabulary=16, length=2), ["private"])) == "Sequences(length=2)"
