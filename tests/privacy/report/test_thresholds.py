"""A report says how many colluders its task's shards withstand, and with which noise."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from privacy.mechanism.mechanism import Mechanism
from privacy.report.html import render_html
from privacy.report.thresholds import thresholds_part
from privacy.task.correlation import BinaryTree
from privacy.task.task import AggregationPolicy, BoundedParticipation, DeviceMechanism, PoissonParticipation, TaskSpec
from tests.support.reports import report_of, task_with


def task_of(cohort: int, dropouts: int, **changes: object) -> TaskSpec:
    policy = AggregationPolicy(max_dropouts=dropouts, min_survivors=max(2 * dropouts, cohort // 2), modulus_bits=32)
    return task_with(BoundedParticipation(cohort=cohort, max_participations=3), aggregation=policy, **changes)


@pytest.mark.parametrize(("cohort", "dropouts"), [(20, 2), (64, 6), (100, 10), (400, 40)])
def test_what_is_stated_keeps_the_inequalities_of_a_split_view(cohort: int, dropouts: int) -> None:
    task = task_of(cohort, dropouts)
    part = thresholds_part(task)
    assert part is not None
    assert [shard.devices for shard in part.shards] == sorted({task.aggregation.min_survivors + dropouts, cohort})
    assert part.security_bits == (40 if cohort > 64 else None)
    for shard in part.shards:
        colluders, fraction = shard.colluders_withstood, task.aggregation.corrupt_fraction
        assert 2 * shard.quorum > shard.devices + colluders
        assert shard.threshold <= shard.quorum <= shard.survivors_required == shard.devices - dropouts
        assert shard.threshold <= shard.holders <= shard.devices
        if shard.holders == shard.devices:  # Of drawn holders few are corrupt, as their draw has it.
            assert colluders < shard.threshold
        assert binom.sf(shard.corrupt, shard.devices, fraction) <= 2.0**-shard.draw_bits
        assert colluders >= shard.corrupt


def test_the_noise_that_is_charged_lies_between_that_of_the_tail_and_that_of_everybody() -> None:
    task = task_of(100, 10)
    part = thresholds_part(task)
    assert part is not None
    for shard in part.shards:
        least, most = shard.noise_multiplier_least, shard.noise_multiplier_most
        charged = Mechanism.for_cohort(task, shard.devices).noise_multiplier
        assert least is not None
        assert most is not None
        assert float(least) < charged < float(most)
        assert float(most) / float(least) == pytest.approx(
            (shard.devices / (shard.survivors_required - shard.corrupt)) ** 0.5
        )


def test_noise_of_the_server_does_not_depend_on_who_is_corrupt() -> None:
    part = thresholds_part(
        task_of(20, 2, mechanism=DeviceMechanism(clip=1.0, noise_multiplier=4.0, correlation=BinaryTree()))
    )
    assert part is not None
    assert {shard.noise_multiplier_least for shard in part.shards} == {None}


def test_a_size_that_would_not_be_summed_is_left_out() -> None:
    """The expected cohort of a secret draw may be smaller than any that is summed."""
    policy = AggregationPolicy(max_dropouts=4, min_survivors=30, modulus_bits=32)
    part = thresholds_part(task_with(PoissonParticipation(population=1_000, sampling_rate=0.02), aggregation=policy))
    assert part is not None
    assert [shard.devices for shard in part.shards] == [34]


def test_report_and_page_have_it() -> None:
    task = task_of(20, 2)
    report = report_of(task)
    assert report.thresholds == thresholds_part(task)
    page = render_html(report)
    assert "In a shard of 20 devices" in page
    assert "no single update together with the server" in page
