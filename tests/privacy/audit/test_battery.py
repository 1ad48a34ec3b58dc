from __future__ import annotations

import numpy as np
import pytest

from privacy.audit import Audited, Shipped, run_battery
from privacy.audit.canaries import contribution, hardest_to_round
from privacy.audit.contributions import Contributions
from privacy.audit.pipeline import round_rotation
from privacy.base.randomness import RandomnessError, SystemRandomness
from privacy.mechanism.mechanism import MechanismError
from privacy.mechanism.rotation import rotate
from privacy.task.task import (
    AdaptiveClip,
    AggregationPolicy,
    Budget,
    DeviceMechanism,
    PoissonParticipation,
    Statistic,
    TaskSpec,
)
from tests.support.audits import FAULTS, SEED, Handmade, audited, by_layer, to_norm
from tests.support.faults import PLANTED
from tests.support.tasks import make_task

CHECKS = 17
TRIALS = 60
STATISTICS = (
    Statistic(name="examples", bound=50.0, sensitivity_fraction=0.2),
    Statistic(name="loss", bound=4.0, sensitivity_fraction=0.1),
)
ONE_OF_EACH_KIND = {fault.kind: name for name, fault in PLANTED.items()}


def real_task(*, adaptive: bool = False) -> TaskSpec:
    """A task of a Poisson cohort, of statistics, of more coordinates than a power of two, and for real devices."""
    return make_task(
        70,
        mechanism=DeviceMechanism(clip=0.5, noise_multiplier=0.9, adaptive=AdaptiveClip() if adaptive else None),
        statistics=STATISTICS,
        participation=PoissonParticipation(population=60, sampling_rate=0.2),
        aggregation=AggregationPolicy(corrupt_fraction=0.05, max_dropouts=1, min_survivors=5, modulus_bits=21),
        budget=Budget(delta=1e-5),
        randomness="system",
    )


def failed(task: TaskSpec, cohort: int = 8) -> tuple[str, ...]:
    """The checks that fail in a run of the battery; that a round cannot be run at all is a finding as well."""
    try:
        return run_battery(Audited(task, cohort), SystemRandomness(), trials=TRIALS).failed
    except (MechanismError, RandomnessError) as error:
        return (str(error),)


def found(name: str) -> tuple[str, ...]:
    with pytest.MonkeyPatch.context() as patch:
        PLANTED[name].plant(patch)
        return failed(real_task(adaptive=PLANTED[name].adaptive))


@pytest.mark.long
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND.values())
def test_a_fault_of_each_kind_is_found_where_it_is_planted(name: str) -> None:
    assert found(name)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(set(PLANTED) - {"clipped at 4 deviations"}))
def test_every_planted_fault_is_found_in_nineteen_runs_of_twenty(name: str) -> None:
    """But noise that is cut where hardly any of so few numbers lie: `fl-privacy audit` draws more."""
    hits = sum(bool(found(name)) for _ in range(20))
    print(f"{name}: {hits} of 20")
    assert hits >= 19


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("adaptive", [False, True])
def test_a_real_task_has_at_most_one_false_alarm_in_a_hundred(adaptive: bool) -> None:
    assert sum(bool(failed(real_task(adaptive=adaptive))) for _ in range(100)) <= 1


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_pipeline_is_found_by_the_check_that_is_named_for_it(name: str) -> None:
    fault = FAULTS[name]
    battery = run_battery(
        fault.round, SEED.child(name).stream(), trials=fault.trials, pipeline=fault.broken(fault.round)
    )
    assert fault.check in battery.failed


def false_alarms(round_: Audited, runs: int) -> int:
    return sum(not run_battery(round_, SEED.child("right", run).stream(), trials=60).passed for run in range(runs))


def test_the_shipped_mechanism_passes() -> None:
    assert false_alarms(audited(), 1) == 0
    assert failed(real_task()) == failed(real_task(adaptive=True)) == ()


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
def test_at_most_one_false_alarm_in_a_hundred(noise: float) -> None:
    assert false_alarms(audited(noise=noise), 100) <= 1


def test_a_predictable_source_is_refused_where_the_systems_is_promised() -> None:
    with pytest.raises(RandomnessError, match="got a source that is seeded"):
        run_battery(Audited(real_task(), 8), SEED.stream(), trials=20)


def test_the_handmade_mechanism_without_a_fault_passes() -> None:
    """So what the faults above are found by is the fault."""
    round_ = audited()
    pipeline = Handmade(round_, to_norm(round_.task.mechanism.clip))
    assert run_battery(round_, SEED.child("handmade").stream(), trials=TRIALS, pipeline=pipeline).failed == ()


@pytest.mark.parametrize(
    "round_",
    [
        audited(10, dropout=0.3),
        audited(10, dropout=0.1, corrupt=0.2),
        audited(3, dropout=0.2),
        audited(statistics=(Statistic(name="examples", bound=50.0, sensitivity_fraction=0.2),)),
    ],
    ids=["drop-outs", "corrupt", "a fraction of a device", "statistics"],
)
def test_it_passes_in_the_worst_case_that_is_accounted(round_: Audited) -> None:
    battery = run_battery(round_, SEED.child("worst case").stream(), trials=TRIALS)
    assert battery.failed == ()
    assert len(battery.checks) == CHECKS


def test_sensitivity_is_exact() -> None:
    """One layer's clip of four: the contribution is twice as long as the bound, and no noise blurs it."""
    round_ = audited()
    pipeline = Handmade(round_, by_layer(round_.task.mechanism.clip))
    battery = run_battery(round_, SEED.stream(), trials=20, pipeline=pipeline)
    line = next(check.line for check in battery.checks if check.name == "sensitivity")
    measured = float(line.split("norm ")[1].split(" ")[0])
    assert measured == pytest.approx(2 * round_.mechanism.norm_bound, rel=1e-2)
    assert "sensitivity" in battery.failed


def test_what_ships_contributes_as_much_as_the_clip_allows() -> None:
    """Within the bound, and near it: the check would see a clip that is a thousandth too wide."""
    round_ = audited()
    seen = Contributions.of(round_, Shipped.of(round_), SEED.stream())
    assert 0.999 * round_.mechanism.norm_bound < seen.norm <= round_.mechanism.norm_bound
    assert seen.astray < 4
    assert not seen.refusals


@pytest.mark.parametrize("dimension", [5, 64, 1000])
def test_updates_that_are_hardest_to_round_are_as_long_as_the_clip_and_half_way_between_integers(
    dimension: int,
) -> None:
    task = make_task(dimension, mechanism=DeviceMechanism(clip=0.5, noise_multiplier=1.0), budget=Budget(delta=1e-5))
    round_ = Audited(task, 10)
    update = hardest_to_round(round_, 3)
    norm = float(np.linalg.norm(update.delta.astype(np.float64)))
    assert norm * round_.mechanism.scale == pytest.approx(0.5 * round_.mechanism.scale, abs=1.0)
    steps = rotate(contribution(round_, update), round_rotation(3)) * round_.mechanism.scale
    assert steps - np.floor(steps) == pytest.approx(0.5, abs=0.01)


def test_a_battery_says_what_failed() -> None:
    fault = FAULTS["half the noise"]
    battery = run_battery(fault.round, SEED.stream(), trials=50, pipeline=fault.broken(fault.round))
    assert not battery.passed
    assert "noise: no canary" in battery.statement
    line = next(check.line for check in battery.checks if check.name == "noise: no canary")
    assert line.endswith("claimed is at least 1.000")
    assert "at most 0.5" in line


@pytest.mark.parametrize("confidence", [0.0, 1.0, 2.0])
def test_a_confidence_is_a_fraction(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence: expected more than 0 and less than 1"):
        run_battery(audited(), SEED.stream(), trials=20, confidence=confidence)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="n >= 20"):
        run_battery(audited(), SEED.stream(), trials=19)


def test_without_noise_there_is_nothing_to_audit() -> None:
    with pytest.raises(ValueError, match="noise_multiplier: expected more than 0"):
        audited(noise=0.0)
