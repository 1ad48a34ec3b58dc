"""Made-up chat for machines without data, shaped like real chat; its scores say nothing about real abuse.

Words are made of random syllables or plain and mild English. Abuse comes openly, with an insult, or implicitly, in
ordinary words; friendly messages use the same words, mild profanity included, so that few words decide alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from simulations.randomness import SeedTree

_MEDIAN_MESSAGES, _MESSAGES_SPREAD, _MOST_MESSAGES = 2.4, 1.0, 55
"""Messages a user writes, log-normal and rounded down: quartiles 1, 2 and 4, and a tail."""
_MEDIAN_TOKENS, _TOKENS_SPREAD, _MOST_TOKENS = 3.0, 0.7, 40
"""Tokens in a message, log-normal: median 3."""
_TOXICITY = (1.4, 6.0)
"""Beta parameters of the fraction of abuse in one user's messages."""
_IMPLICIT_FRACTION = 1 / 3
_TEASING_FRACTION = 0.12
_RECURRING_FRACTION, _PHRASES = 0.26, 300
"""The fraction of messages that everybody writes, and how many such there are of each kind: with short ones that occur
twice by chance, a third of a thousand users' messages are exact duplicates, and more of a million users'."""
_MISSED, _FALSELY_FLAGGED = 0.15, 0.035
"""Label noise, 5 to 6% of all labels: annotators miss abuse more often than they see it where there is none."""
_WORDS, _ZIPF_EXPONENT = 8_000, 1.3

_SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
_INSULTS = (
    "idiot",
    "loser",
    "clown",
    "trash",
    "moron",
    "garbage",
    "worm",
    "fool",
    "rat",
    "dork",
    "pathetic",
    "useless",
)
_MILD = ("damn", "hell", "crap", "heck", "bloody", "freaking")
_FRIENDLY = ("haha", "mate", "love", "nice", "gg", "lol", "thanks", "yay")
_FRIENDS, _REJECTERS = ("everyone", "we all", "the team"), ("nobody", "no one", "not one of us")
_VERDICTS = ("wants", "misses", "needs", "likes")
_OBJECTS = ("you", "your kind", "people like you", "you here")
_DISMISSALS = ("just leave", "go away", "uninstall", "quit already", "stay gone", "do not come back")


class Kind(IntEnum):
    """The kind that a message truly is of, whatever its label says."""

    PLAIN = 0
    TEASING = 1
    """A friendly message in the words of abuse."""
    EXPLICIT = 2
    IMPLICIT = 3
    """Abuse without any rude word."""


ABUSE = (Kind.EXPLICIT, Kind.IMPLICIT)


@dataclass(frozen=True, eq=False)
class Chat:
    """The generated messages of one or more users.

    Attributes:
        texts: n texts.
        kinds: int64[n], what they truly are: values of `Kind`.
        labels: int8[n] of 0 and 1, as annotators gave them, some wrong.
    """

    texts: list[str] = field(repr=False)
    kinds: NDArray[np.int64] = field(repr=False)
    labels: NDArray[np.int8] = field(repr=False)


@dataclass(frozen=True)
class ChatGenerator:
    """The users of a made-up platform. What user i writes follows from the seed and i alone, however many there are."""

    seed: SeedTree

    def of(self, user: int) -> Chat:
        """Write all messages of a user, one at least."""
        rng = _rng(self.seed.child("user", user))
        drawn = int(rng.lognormal(np.log(_MEDIAN_MESSAGES), _MESSAGES_SPREAD))
        messages = min(max(drawn, 1), _MOST_MESSAGES)
        kinds = _kinds(rng.random(messages) < rng.beta(*_TOXICITY), rng)
        texts = _Writer(rng).write(kinds)
        for place in np.flatnonzero(rng.random(messages) < _RECURRING_FRACTION):
            texts[place] = self._recurring(Kind(kinds[place]), rng)
        abusive = np.isin(kinds, ABUSE)
        mislabelled = rng.random(messages) < np.where(abusive, _MISSED, _FALSELY_FLAGGED)
        return Chat(texts, kinds, (abusive ^ mislabelled).astype(np.int8))

    def _recurring(self, kind: Kind, rng: np.random.Generator) -> str:
        """Choose among what everybody on the platform says, some of it more often."""
        return _phrases(self.seed, kind)[int(_PHRASES * rng.random() ** 2)]


def _rng(seed: SeedTree) -> np.random.Generator:
    return np.random.default_rng(seed.integer())


@lru_cache(maxsize=2 * len(Kind))
def _phrases(seed: SeedTree, kind: Kind) -> list[str]:
    return _Writer(_rng(seed.child("phrases", kind.name))).write(np.full(_PHRASES, kind, np.int64))


def _kinds(abusive: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    abuse = np.where(rng.random(abusive.size) < _IMPLICIT_FRACTION, Kind.IMPLICIT, Kind.EXPLICIT)
    clean = np.where(rng.random(abusive.size) < _TEASING_FRACTION, Kind.TEASING, Kind.PLAIN)
    return np.where(abusive, abuse, clean).astype(np.int64)


class _Writer:
    """A writer of messages from one random stream."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def write(self, kinds: NDArray[np.int64]) -> list[str]:
        lengths = np.rint(self._rng.lognormal(np.log(_MEDIAN_TOKENS), _TOKENS_SPREAD, kinds.size)).astype(np.int64)
        lengths = lengths.clip(1, _MOST_TOKENS)
        words = self._words(int(lengths.sum()))
        ends = np.cumsum(lengths)
        return [
            " ".join(self._shape(Kind(kind), words[end - length : end]))
            for kind, end, length in zip(kinds.tolist(), ends.tolist(), lengths.tolist(), strict=True)
        ]

    def _words(self, count: int) -> list[str]:
        words, cumulative = _vocabulary()
        ranks = np.searchsorted(cumulative, self._rng.random(count), side="right")
        return [words[rank] for rank in ranks.tolist()]

    def _shape(self, kind: Kind, words: list[str]) -> list[str]:
        """Put what makes the kind in place of some of the plain words."""
        match kind:
            case Kind.PLAIN:
                return words
            case Kind.TEASING:
                return [*self._tease(), *words[2:], self._pick(_FRIENDLY)]
            case Kind.EXPLICIT:
                opening = [self._pick(_MILD)] if self._rng.random() < 0.3 else []
                return [*opening, *words[1:], self._pick(_INSULTS)]
            case Kind.IMPLICIT:
                return [*words[3:], *self._hint()]

    def _tease(self) -> list[str]:
        if self._rng.random() < 0.7:
            return [self._pick(_MILD + _INSULTS)]
        return [self._pick(_FRIENDS), self._pick(_VERDICTS), self._pick(_OBJECTS)]

    def _hint(self) -> list[str]:
        if self._rng.random() < 0.5:
            return [self._pick(_DISMISSALS)]
        return [self._pick(_REJECTERS), self._pick(_VERDICTS), self._pick(_OBJECTS)]

    def _pick(self, words: Sequence[str]) -> str:
        return words[int(self._rng.integers(len(words)))]


@cache
def _vocabulary() -> tuple[list[str], NDArray[np.float64]]:
    """Return all words, and the probability of each and those before it."""
    frequencies = np.arange(1, _WORDS + 1) ** -_ZIPF_EXPONENT
    cumulative = np.cumsum(frequencies)
    return [_word(rank) for rank in range(_WORDS)], cumulative / cumulative[-1]


def _word(rank: int) -> str:
    """Make the word of a frequency rank: distinct ranks give distinct words, and frequent ones are short."""
    first, last = divmod(rank, len(_SYLLABLES))
    return (_word(first - 1) if first else "") + _SYLLABLES[last]
