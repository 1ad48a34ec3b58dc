"""Nobody who tests or calibrates also trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from simulations.data.dataset import Table
from simulations.data.errors import DataError
from simulations.population.split import Split, part_sizes, split


def table_of(labels: list[int], users: list[str] | None = None, texts: list[str] | None = None) -> Table:
    texts = texts or [f"text {row}" for row in range(len(labels))]
    return Table(texts, np.array(labels, np.int8), users, np.arange(len(labels)), 0)


def cut(table: Table, seed: int = 1) -> Split:
    return split(table, np.random.default_rng(seed))


def timed(labels: list[int], users: list[str], times: list[float]) -> Table:
    return replace(table_of(labels, users), times=np.array(times))


def parts(result: Split) -> tuple[np.ndarray, ...]:
    return result.train, result.test, result.calibration


TABLES = st.lists(st.tuples(st.integers(0, 1), st.sampled_from("abcdefghijkl")), min_size=1, max_size=60)


@given(TABLES, st.booleans(), st.integers(0, 2**32))
def test_parts_are_disjoint_complete_and_have_both_classes_whenever_that_is_possible(
    rows: list[tuple[int, str]], by_row: bool, seed: int
) -> None:
    labels, users = [label for label, _ in rows], [user for _, user in rows]
    table = table_of(labels, None if by_row else users)
    groups = [{label} for label in labels] if by_row else [{a for a, b in rows if b == user} for user in set(users)]
    mixed, positive, negative = (groups.count(kind) for kind in ({0, 1}, {1}, {0}))
    if mixed + min(positive, negative) < 3:
        with pytest.raises(DataError, match="--data: expected both labels for each of training, test"):
            cut(table, seed)
        return
    result = cut(table, seed)
    assert sorted(np.concatenate(parts(result)).tolist()) == list(range(len(rows)))
    for part in parts(result):
        assert set(table.required_labels()[part].tolist()) == {0, 1}
        assert np.all(np.diff(part) > 0)
    if not by_row:
        seen = [{users[row] for row in part} for part in parts(result)]
        assert sum(map(len, seen)) == len(set(users))


@pytest.mark.parametrize("groups", [20, 100, 2_778, 22_809])
def test_a_fifth_tests_and_a_tenth_calibrates(groups: int) -> None:
    result = cut(table_of([row % 2 for row in range(groups)]))
    assert [part.size for part in parts(result)] == list(part_sizes(groups))
    assert part_sizes(groups)[1] == pytest.approx(0.2 * groups, abs=0.5)
    assert part_sizes(groups)[2] == pytest.approx(0.1 * groups, abs=0.5)


def test_users_are_held_out_at_random_and_the_seed_decides() -> None:
    table = table_of([row % 3 == 0 for row in range(300)], [f"u{row // 3}" for row in range(300)])
    assert np.array_equal(cut(table).test, cut(table).test)
    assert not np.array_equal(cut(table).test, cut(table, seed=2).test)
    chosen = np.bincount(np.concatenate([cut(table, seed).test for seed in range(200)]), minlength=300) / 200
    assert chosen.min() > 0.05
    assert chosen.max() < 0.4
    assert chosen.mean() == pytest.approx(0.2)


def test_novel_marks_test_texts_that_no_training_text_equals_once_normalised() -> None:
    texts = [["  HELLO there", "hello   There", "\uff48ello there"][row % 3] for row in range(30)]
    texts += [f"only once {row}" for row in range(30)]
    table = table_of([row % 2 for row in range(60)], texts=texts)
    result = cut(table)
    assert result.novel.tolist() == [bool(row >= 30) for row in result.test]


def test_a_text_of_calibration_alone_is_novel() -> None:
    labels = [0, 1] * 10
    calibration = set(cut(table_of(labels)).calibration.tolist())
    test = set(cut(table_of(labels)).test.tolist())
    texts = ["shared" if row in calibration | test else f"train {row}" for row in range(20)]
    assert cut(table_of(labels, texts=texts)).novel.all()


def test_the_newest_messages_test_and_only_older_ones_train_and_calibrate() -> None:
    times = np.random.default_rng(1).permutation(3_000).astype(float)
    users = [f"u{row // 30}" for row in range(3_000)]
    result = cut(timed([row % 2 for row in range(3_000)], users, times.tolist()))
    present = np.quantile(times, 0.8)
    assert times[result.test].min() > present
    assert times[result.train].max() <= present
    assert times[result.calibration].max() <= present
    assert result.train.size == pytest.approx(0.8 * 0.7 * 3_000, rel=0.05)
    assert result.test.size == pytest.approx(0.2 * 0.2 * 3_000, rel=0.15)


def test_a_class_that_is_missing_on_one_side_of_the_present_is_an_error() -> None:
    labels = [int(row > 2_000) for row in range(3_000)]
    with pytest.raises(DataError, match="--time-column: expected both labels among the newest fifth of test users"):
        cut(timed(labels, [f"u{row % 100}" for row in range(3_000)], list(range(3_000))))
