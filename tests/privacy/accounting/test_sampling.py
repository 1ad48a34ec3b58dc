from __future__ import annotations

import numpy as np
from scipy import stats

from privacy.accounting.sampling import draw_cohort
from privacy.task.task import BoundedParticipation, PoissonParticipation
from simulations.randomness import SeedTree


def test_poisson_draws_every_device_independently_at_its_rate() -> None:
    participation = PoissonParticipation(population=50, sampling_rate=0.2)
    rng = SeedTree.root(5).stream()
    cohorts = [draw_cohort(participation, range(50), rng) for _ in range(4000)]
    sizes = np.array([len(cohort) for cohort in cohorts])
    expected = stats.binom.pmf(np.arange(3, 18), 50, 0.2)
    observed = np.array([(sizes == size).sum() for size in range(3, 18)])
    rest = np.append(expected, 1 - expected.sum()), np.append(observed, sizes.size - observed.sum())
    assert stats.chisquare(rest[1], rest[0] * sizes.size).pvalue > 1e-4
    drawn = np.bincount(np.concatenate(cohorts), minlength=50)
    assert np.all(np.abs(drawn - 800) < 6 * np.sqrt(4000 * 0.2 * 0.8))


def test_rate_one_draws_everybody() -> None:
    participation = PoissonParticipation(population=7, sampling_rate=1.0)
    assert draw_cohort(participation, range(7), SeedTree.root(1).stream()) == list(range(7))


def test_bounded_draws_a_uniform_set_of_the_size_asked() -> None:
    participation = BoundedParticipation(cohort=5, max_participations=3)
    rng = SeedTree.root(6).stream()
    cohorts = [draw_cohort(participation, range(20), rng) for _ in range(2000)]
    assert all(len(set(cohort)) == 5 and cohort == sorted(cohort) for cohort in cohorts)
    drawn = np.bincount(np.concatenate(cohorts), minlength=20)
    assert stats.chisquare(drawn).pvalue > 1e-4
    assert draw_cohort(participation, [3, 9], rng) == [3, 9]
