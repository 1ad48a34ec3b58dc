"""What encoding has to be told; the task's own records fit, and so does whatever has these fields."""

from __future__ import annotations

from typing import Literal, Protocol


class NgramSpec(Protocol):
    """Texts to hashed n-grams; ranges are the shortest and the longest."""

    @property
    def kind(self) -> Literal["ngrams"]:
        """Tells it from a sequence."""

    @property
    def buckets(self) -> int:
        """Number of columns."""

    @property
    def word_ngrams(self) -> tuple[int, int]:
        """Words in an n-gram."""

    @property
    def char_ngrams(self) -> tuple[int, int]:
        """Characters in an n-gram that has none of a compact script."""

    @property
    def compact_ngrams(self) -> tuple[int, int]:
        """Characters in an n-gram with one or more of a compact script."""

    @property
    def max_characters(self) -> int:
        """Code points read of a text."""


class SequenceSpec(Protocol):
    """Texts to the numbers of their words or characters in order."""

    @property
    def kind(self) -> Literal["sequence"]:
        """Tells it from n-grams."""

    @property
    def unit(self) -> Literal["words", "characters"]:
        """What is numbered."""

    @property
    def vocabulary(self) -> int:
        """Numbers run from 1 to this less one."""

    @property
    def length(self) -> int:
        """Words or characters read of a text."""

    @property
    def max_characters(self) -> int:
        """Code points read of a text."""


Spec = NgramSpec | SequenceSpec
