"""The generated chat has the shape it is documented to have, and can be learnt."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from privacy.features.ngrams import hash_texts
from privacy.task.task import FeatureSpec
from simulations.population.generator import _INSULTS, _MILD, ABUSE, Chat, ChatGenerator, Kind, _word
from simulations.randomness import SeedTree

USERS = 1_500


@cache
def chats_of(seed: int, users: int = USERS) -> list[Chat]:
    generator = ChatGenerator(SeedTree.root(seed))
    return [generator.of(user) for user in range(users)]


def joined(chats: list[Chat]) -> Chat:
    kinds, labels = (np.concatenate([getattr(chat, name) for chat in chats]) for name in ("kinds", "labels"))
    return Chat([text for chat in chats for text in chat.texts], kinds, labels)


@pytest.fixture(scope="module", params=[1, 2, 3])
def chats(request: pytest.FixtureRequest) -> list[Chat]:
    return chats_of(request.param)


@pytest.fixture
def chat(chats: list[Chat]) -> Chat:
    return joined(chats)


def abusive(chat: Chat) -> np.ndarray:
    return np.isin(chat.kinds, ABUSE)


def test_messages_per_user() -> None:
    counts = np.array([len(chat.texts) for chat in chats_of(4, 10_000)])
    assert np.percentile(counts, [25, 50, 75]).tolist() == [1, 2, 4]
    assert counts.min() == 1
    assert counts.max() == 55


def test_a_fifth_of_messages_is_abuse(chat: Chat) -> None:
    assert abusive(chat).mean() == pytest.approx(1.4 / 7.4, abs=0.03)


def test_toxicity_differs_between_users_as_beta() -> None:
    """Two messages of one user are both abuse with probability E[p^2]; 0.054 for Beta(1.4, 6), 0.036 without spread."""
    chats = [chat for chat in chats_of(4, 10_000) if len(chat.texts) > 1]
    counts = np.array([len(chat.texts) for chat in chats])
    toxic = np.array([abusive(chat).sum() for chat in chats])
    both = np.mean(toxic * (toxic - 1) / (counts * (counts - 1)))
    assert both == pytest.approx(1.4 * 2.4 / (7.4 * 8.4), abs=0.006)


def test_messages_are_short(chat: Chat) -> None:
    lengths = [len(text.split()) for text in chat.texts]
    assert np.median(lengths) == 3
    assert min(lengths) >= 1


def test_words_follow_zipf() -> None:
    """Under p(rank) ~ rank^-1.3, log frequency falls with log rank at slope -1.3; read off the 30 commonest."""
    chat = joined(chats_of(4, 10_000))
    words = [
        word for text, kind in zip(chat.texts, chat.kinds, strict=True) if kind == Kind.PLAIN for word in text.split()
    ]
    ranks = np.arange(1, 31)
    counts = [words.count(_word(rank - 1)) for rank in ranks]
    slope = np.polyfit(np.log(ranks), np.log(counts), 1)[0]
    assert slope == pytest.approx(-1.3, abs=0.15)


def test_words_are_distinct() -> None:
    assert len({_word(rank) for rank in range(8_000)}) == 8_000


def test_a_third_are_exact_duplicates(chat: Chat) -> None:
    assert 1 - len(set(chat.texts)) / len(chat.texts) == pytest.approx(1 / 3, abs=0.02)


def test_a_third_of_abuse_is_implicit_and_has_no_rude_word(chat: Chat) -> None:
    assert np.mean(chat.kinds[abusive(chat)] == Kind.IMPLICIT) == pytest.approx(1 / 3, abs=0.05)
    implicit = " ".join(text for text, kind in zip(chat.texts, chat.kinds, strict=True) if kind == Kind.IMPLICIT)
    assert not set(implicit.split()) & {*_INSULTS, *_MILD}


def test_friendly_messages_use_the_words_of_abuse(chat: Chat) -> None:
    friendly = [text.split() for text, kind in zip(chat.texts, chat.kinds, strict=True) if kind == Kind.TEASING]
    assert len(friendly) > 0.05 * len(chat.texts)
    assert np.mean([bool({*_INSULTS, *_MILD} & set(words)) for words in friendly]) > 0.5


def test_five_to_ten_percent_of_labels_are_wrong(chat: Chat) -> None:
    assert 0.05 <= np.mean(abusive(chat) != chat.labels) <= 0.10


def test_a_user_follows_from_the_seed_and_their_number_alone() -> None:
    """In any order, in any process, among any number of others."""
    some, again = chats_of(1, 5), ChatGenerator(SeedTree.root(1))
    other = ChatGenerator(SeedTree.root(2)).of(3)
    assert again.of(3).texts == some[3].texts
    assert again.of(3).labels.tolist() == some[3].labels.tolist()
    assert other.texts != some[3].texts


def test_a_plain_classifier_learns_up_to_the_label_noise(chats: list[Chat]) -> None:
    train, test = joined(chats[:1_050]), joined(chats[1_050:])
    rows, others = (features_of(part.texts) for part in (train, test))
    scores = LogisticRegression(C=3, max_iter=300).fit(rows, train.labels).predict_proba(others)[:, 1]
    ceiling = roc_auc_score(train.labels, abusive(train))
    assert 0.88 < ceiling < 0.95
    assert roc_auc_score(test.labels, scores) == pytest.approx(0.89, abs=0.05)


def features_of(texts: list[str]) -> csr_matrix:
    hashed = hash_texts(FeatureSpec(), texts)
    return csr_matrix((hashed.values, hashed.columns, hashed.starts), shape=(len(hashed), hashed.buckets))
