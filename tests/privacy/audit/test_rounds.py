from __future__ import annotations

import numpy as np
import pytest

from privacy.audit import audit_one_round, audit_rounds
from privacy.audit.canaries import direction, orthogonal_updates
from privacy.task.task import Statistic
from tests.support.audits import SEED, audited, weaker

CANARIES = 8000
DELTA = 1e-6


@pytest.mark.long
def test_twenty_thousand_rounds_certify_93_percent_of_theory() -> None:
    """Of the shipped mechanism at sigma 1, with all noise counted."""
    audit = audit_rounds(audited(2, dimension=4), 20_000, SEED.child("rounds").stream(), delta=DELTA)
    assert audit.epsilon_claimed == pytest.approx(4.8866, abs=1e-4)
    assert 0.93 <= audit.certified_fraction <= 1
    assert audit.passed
    assert audit.epsilon_estimate == pytest.approx(audit.epsilon_claimed, rel=0.05)


@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_one_round_certifies_45_percent_of_theory(noise: float) -> None:
    round_ = audited(CANARIES, noise=noise, dimension=CANARIES)
    audit = audit_one_round(round_, SEED.child("one round").stream())
    assert 0.45 <= audit.certified_fraction <= 1
    assert audit.trials == CANARIES


def test_half_of_the_noise_is_refuted_by_both() -> None:
    many, single = audited(2, dimension=4), audited(2000, dimension=2000)
    rounds = audit_rounds(many, 1000, SEED.child("half").stream(), pipeline=weaker(many, 0.5))
    round_ = audit_one_round(single, SEED.child("half").stream(), pipeline=weaker(single, 0.4))
    for audit in (rounds, round_):
        assert not audit.passed
        assert "REFUTED" in audit.statement


def test_statistics_are_part_of_the_canary() -> None:
    round_ = audited(2, dimension=4, statistics=[Statistic(name="examples", bound=10.0, sensitivity_fraction=0.5)])
    audit = audit_rounds(round_, 2000, SEED.child("statistics").stream())
    assert 0.75 < audit.certified_fraction <= 1


def test_canaries_are_orthogonal_and_as_long_as_the_clip() -> None:
    round_ = audited(8)
    directions = np.array([direction(round_, update) for update in orthogonal_updates(round_, 8)])
    assert directions @ directions.T == pytest.approx(np.eye(8))
    norms = [float(np.linalg.norm(update.delta)) for update in orthogonal_updates(round_, 8)]
    assert norms == pytest.approx([round_.task.mechanism.clip] * 8)


def test_more_canaries_than_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at most 16 canaries, one a coordinate of the model, got 17"):
        audit_one_round(audited(17), SEED.stream())
