from __future__ import annotations

import numpy as np
import pytest

from privacy.audit import Audited, Shipped, run_battery
from privacy.audit.battery import adversarial_updates
from privacy.audit.pipeline import Constant
from privacy.task.task import Statistic
from tests.support.audits import FAULTS, SEED, Handmade, audited, by_layer, to_norm

RUNS = 20
CHECKS = 9


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_in_nineteen_runs_of_twenty(name: str) -> None:
    """And by the check that is named for it: others may find it too."""
    fault = FAULTS[name]
    pipeline = fault.broken(fault.round)
    failures = [
        run_battery(fault.round, SEED.child(name, run).stream(), trials=fault.trials, pipeline=pipeline).failed
        for run in range(RUNS)
    ]
    assert sum(fault.check in failed for failed in failures) >= 19


def false_alarms(round_: Audited, runs: int) -> int:
    return sum(not run_battery(round_, SEED.child("right", run).stream(), trials=60).passed for run in range(runs))


def test_the_shipped_mechanism_passes_twenty_runs() -> None:
    assert false_alarms(audited(), RUNS) == 0


@pytest.mark.long
@pytest.mark.parametrize("noise", [0.5, 1.0, 4.0])
def test_at_most_one_false_alarm_in_a_hundred(noise: float) -> None:
    assert false_alarms(audited(noise=noise), 100) <= 1


def test_the_handmade_mechanism_without_a_fault_passes() -> None:
    """So what the faults above are found by is the fault."""
    round_ = audited()
    pipeline = Handmade(round_, to_norm(round_.task.mechanism.clip))
    batteries = [run_battery(round_, SEED.child("handmade", run).stream(), pipeline=pipeline) for run in range(5)]
    assert [battery.failed for battery in batteries] == [()] * 5


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
    battery = run_battery(round_, SEED.child("worst case").stream())
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


def test_sensitivity_of_what_ships_is_what_the_clip_allows() -> None:
    """Within the bound, and near it: the check would see a clip that is a hundredth too wide."""
    round_ = audited()
    run, bound = Shipped.of(round_), round_.mechanism.norm_bound
    updates = adversarial_updates(round_)
    silent = run([round_.silent], 0, Constant(128)).sums
    for update in updates.values():
        moved = run([update], 0, Constant(128)).sums - silent
        assert 0.99 * bound < np.sqrt(float(moved @ moved)) <= bound


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
