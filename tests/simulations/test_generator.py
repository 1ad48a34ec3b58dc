"""The generated chat has the shape it is documented to have, and can be learnt."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fl_client.features import hash_texts
from privacy.task import FeatureSpec
from simulations.generator import _INSULTS, _MILD, ABUSE, Chat, Kind, _word, generate
from simulations.split import split

USERS = 1_500


def chat_of(seed: int, users: int = USERS) -> Chat:
    return generate(users, np.random.default_rng(seed))


@pytest.fixture(scope="module", params=[1, 2, 3])
def chat(request: pytest.FixtureRequest) -> Chat:
    return chat_of(request.param)


def abusive(chat: Chat) -> np.ndarray:
    return np.isin(chat.kinds, ABUSE)


def test_messages_per_user(chat: Chat) -> None:
    counts = np.bincount(chat.users, minlength=USERS)
    assert np.percentile(counts, [25, 50, 75]).tolist() == [1, 2, 4]
    assert counts.min() == 1
    assert 30 <= counts.max() <= 55


def test_a_fifth_of_messages_is_abuse(chat: Chat) -> None:
    assert abusive(chat).mean() == pytest.approx(1.4 / 7.4, abs=0.03)


def test_toxicity_differs_between_users_as_beta() -> None:
    """Two messages of one user are both abuse with probability E[p^2]; 0.054 for Beta(1.4, 6), 0.036 without spread."""
    chat = chat_of(4, 10_000)
    counts = np.bincount(chat.users)
    toxic = np.bincount(chat.users, abusive(chat))[counts > 1]
    counts = counts[counts > 1]
    both = np.mean(toxic * (toxic - 1) / (counts * (counts - 1)))
    assert both == pytest.approx(1.4 * 2.4 / (7.4 * 8.4), abs=0.006)


def test_messages_are_short(chat: Chat) -> None:
    lengths = [len(text.split()) for text in chat.texts]
    assert np.median(lengths) == 3
    assert min(lengths) >= 1


def test_words_follow_zipf() -> None:
    """Under p(rank) ~ rank^-1.3, log frequency falls with log rank at slope -1.3; read off the 30 commonest."""
    chat = chat_of(4, 10_000)
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
    assert 1 - len(set(chat.texts)) / len(chat.texts) == pytest.approx(1 / 3, abs=0.01)


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


def test_the_seed_decides() -> None:
    one, again, other = chat_of(1, 50).table(), chat_of(1, 50).table(), chat_of(2, 50).table()
    assert (one.texts, one.users, one.fingerprint) == (again.texts, again.users, again.fingerprint)
    assert one.required_labels().tolist() == again.required_labels().tolist()
    assert one.fingerprint != other.fingerprint


def test_the_fingerprint_covers_texts_labels_and_users() -> None:
    chat = chat_of(1, 50)
    prints = {
        chat.table().fingerprint,
        Chat(chat.texts[::-1], chat.kinds, chat.labels, chat.users).table().fingerprint,
        Chat(chat.texts, chat.kinds, 1 - chat.labels, chat.users).table().fingerprint,
        Chat(chat.texts, chat.kinds, chat.labels, chat.users + 1).table().fingerprint,
    }
    assert len(prints) == 4


def test_a_plain_classifier_learns_up_to_the_label_noise(chat: Chat) -> None:
    table = chat.table()
    parts = split(table, np.random.default_rng(1))
    hashed = hash_texts(FeatureSpec(), table.texts)
    rows = csr_matrix((hashed.values, hashed.columns, hashed.starts), shape=(len(hashed), hashed.buckets))
    labels = table.required_labels()
    model = LogisticRegression(C=3, max_iter=300).fit(rows[parts.train], labels[parts.train])
    scores = model.predict_proba(rows[parts.test])[:, 1]
    ceiling = roc_auc_score(labels, abusive(chat))
    assert 0.88 < ceiling < 0.95
    assert roc_auc_score(labels[parts.test], scores) == pytest.approx(0.89, abs=0.05)
