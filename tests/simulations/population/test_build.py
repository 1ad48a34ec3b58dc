"""From a configuration to devices with examples."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from privacy.features.ngrams import hash_texts
from privacy.features.rows import Features
from privacy.task.task import FeatureSpec
from simulations.config.data import DataConfig
from simulations.config.sections import PoisonConfig
from simulations.data.dataset import load
from simulations.data.errors import DataError
from simulations.population import FederationData, build
from simulations.population.poison import Poison
from simulations.randomness import SeedTree

SPEC = FeatureSpec(buckets=1_024)
USERS, MESSAGES, ROUNDS = 40, 5, 10


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """40 users, each with 5 messages that nobody else wrote, and one blank row."""
    rows = [f"word{user}x{n} and more,{n % 2},user{user}" for n in range(MESSAGES) for user in range(USERS)]
    path = tmp_path / "chat.csv"
    path.write_text("\n".join(["text,label,user", *rows, ",1,user0"]), encoding="utf-8")
    return path


def build_from(data: DataConfig, seed: int = 1, poison: PoisonConfig | None = None) -> FederationData:
    seeds = SeedTree.root(seed)
    return build(data, SPEC, seeds, Poison(seeds, poison or PoisonConfig()), rounds=ROUNDS)


def rows_of(features: Features) -> list[tuple[bytes, bytes]]:
    ends = list(zip(features.starts[:-1], features.starts[1:], strict=True))
    return [(features.columns[a:b].tobytes(), features.values[a:b].tobytes()) for a, b in ends]


def test_every_training_user_is_a_device_with_their_own_messages(chat: Path) -> None:
    population = build_from(DataConfig(path=chat, user_column="user")).population
    table = load(DataConfig(path=chat, user_column="user")).table
    writer = dict(zip(rows_of(hash_texts(SPEC, table.texts)), table.users or [], strict=True))
    assert population.devices == 28
    owners = []
    for device in range(population.devices):
        examples = population.of(device, 1)
        users = {writer[row] for row in rows_of(examples.features)}
        assert len(examples) == MESSAGES
        assert len(users) == 1
        assert sorted(examples.labels.tolist()) == [0, 0, 0, 1, 1]
        owners.append(users.pop())
    assert len(set(owners)) == population.devices


def test_examples_and_labels_stay_together(chat: Path) -> None:
    data = build_from(DataConfig(path=chat, partition="dirichlet:0.5", devices=10))
    table = load(DataConfig(path=chat)).table
    label = dict(zip(rows_of(hash_texts(SPEC, table.texts)), table.required_labels().tolist(), strict=True))
    held = [data.population.of(device, 1) for device in range(data.population.devices)]
    sets = [data.calibration, data.test, *held]
    pairs = [(row, value) for part in sets for row, value in zip(rows_of(part.features), part.labels, strict=True)]
    assert all(label[row] == value for row, value in pairs)
    assert len(pairs) == len({row for row, _ in pairs}) == USERS * MESSAGES
    assert all(part.labels.dtype == np.float32 for part in sets)


def test_counts(chat: Path) -> None:
    data = build_from(DataConfig(path=chat, user_column="user"))
    counts = data.counts()
    assert counts.pop("test_positives") == np.count_nonzero(data.test.labels) > 0
    assert 0 < (counts.pop("test_users_with_positives") or 0) <= 8
    assert counts == {
        "devices": 28,
        "empty_devices": 0,
        "training_messages": 28 * MESSAGES,
        "calibration_messages": 4 * MESSAGES,
        "test_messages": 8 * MESSAGES,
        "test_users": 8,
        "novel_messages": 8 * MESSAGES,
        "skipped_rows": 1,
    }
    assert data.fingerprint == load(DataConfig(path=chat)).fingerprint
    assert data.novel.size == len(data.test)


def test_devices_without_examples_are_devices(chat: Path) -> None:
    data = build_from(DataConfig(path=chat, partition="dirichlet:0.05", devices=200))
    population = data.population
    empty = [device for device in range(population.devices) if not len(population.of(device, 1))]
    assert population.devices == 200
    assert len(empty) == population.empty_devices == data.counts()["empty_devices"] > 100
    assert population.of(empty[0], 1).features.dense().shape == (0, SPEC.buckets)


@pytest.mark.parametrize("devices", [16, 100, 333])
def test_generated_devices_are_as_many_as_asked(devices: int) -> None:
    data = build_from(DataConfig(devices=devices))
    assert data.population.devices == devices
    assert data.population.empty_devices == 0
    assert set(data.test.labels.tolist()) == set(data.calibration.labels.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("generated", [True, False])
def test_a_copy_in_another_process_holds_the_same(chat: Path, generated: bool) -> None:
    data = DataConfig(devices=50) if generated else DataConfig(path=chat, partition="dirichlet:1", devices=50)
    population = build_from(data).population
    copy = pickle.loads(pickle.dumps(population))  # noqa: S301 - what spawning a worker does
    assert copy.devices == population.devices
    for device in range(population.devices):
        assert rows_of(copy.of(device, 1).features) == rows_of(population.of(device, 1).features)
        assert copy.of(device, 1).labels.tolist() == population.of(device, 1).labels.tolist()


def test_the_seed_decides() -> None:
    first, again, other = (build_from(DataConfig(devices=50), seed) for seed in (1, 1, 2))
    assert rows_of(first.population.of(7, 1).features) == rows_of(again.population.of(7, 1).features)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_another_seed_holds_out_others(chat: Path) -> None:
    data = DataConfig(path=chat, user_column="user")
    assert rows_of(build_from(data).test.features) != rows_of(build_from(data, 2).test.features)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"user_column": "user"}, "--user-column: generated messages have users of their own"),
        ({"partition": "dirichlet:1"}, "--partition: generated messages have users of their own"),
        ({"path": Path("a.csv")}, "--user-column: expected it or --partition, got neither"),
        ({"path": Path("a.csv"), "user_column": "u", "partition": "dirichlet:1"}, "--partition: .* got both"),
        ({"path": Path("a.csv"), "partition": "dirichlet:0"}, "--partition: expected time, or dirichlet:ALPHA"),
        ({"path": Path("gone.csv"), "user_column": "u"}, "--data: no file"),
    ],
)
def test_contradictions_are_refused_before_anything_is_read(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        build_from(DataConfig.model_validate(settings))
