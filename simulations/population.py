"""A federation's data: a population of devices to train on, and what is held out from them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.inputs import encode_texts
from fl_client.training import Examples
from privacy.task import InputSpec
from simulations import partition
from simulations.config import DataConfig
from simulations.dataset import Table, load
from simulations.generator import generate
from simulations.randomness import SeedTree
from simulations.readers import DataError
from simulations.split import split, users_for


@dataclass(frozen=True, eq=False)
class Population:
    """All devices' examples, packed and hashed once, in the order of devices.

    Attributes:
        starts: int64[N + 1]; device i holds rows starts[i] to starts[i + 1].
    """

    examples: Examples = field(repr=False)
    starts: NDArray[np.int64] = field(repr=False)

    @property
    def devices(self) -> int:
        """N, devices without examples included."""
        return self.starts.size - 1

    @property
    def empty_devices(self) -> int:
        return int(np.count_nonzero(np.diff(self.starts) == 0))

    def of(self, device: int) -> Examples:
        """What one device, numbered from 0, holds."""
        first, last = int(self.starts[device]), int(self.starts[device + 1])
        return Examples(self.examples.features.between(first, last), self.examples.labels[first:last])


@dataclass(frozen=True, eq=False)
class FederationData:
    """Training devices and held-out users.

    Attributes:
        calibration: chooses the decision threshold and nothing else.
        test: from users whom training never saw.
        novel: bool per test example; True where training has no such text.
        skipped: rows of the file without text.
        fingerprint: hex SHA-256 of the data that all of this came from.
    """

    population: Population
    calibration: Examples
    test: Examples
    novel: NDArray[np.bool_] = field(repr=False)
    skipped: int
    fingerprint: str

    def counts(self) -> dict[str, int]:
        """Devices and messages, for logs and summaries."""
        return {
            "devices": self.population.devices,
            "empty_devices": self.population.empty_devices,
            "training_messages": len(self.population.examples),
            "calibration_messages": len(self.calibration),
            "test_messages": len(self.test),
            "novel_messages": int(np.count_nonzero(self.novel)),
            "skipped_rows": self.skipped,
        }


def build(data: DataConfig, features: InputSpec, seed: SeedTree) -> FederationData:
    """Read or generate the examples, hold out test and calibration users, and give the rest to devices.

    Raises:
        DataError: when the configuration contradicts itself, or the data cannot be used.
    """
    _check(data)
    table = _read(data, seed)
    parts = split(table, _generator(seed, "split"))
    devices = _devices(table, parts.train, data, _generator(seed, "partition"))
    rows = np.concatenate(devices)
    starts = np.concatenate([[0], np.cumsum([own.size for own in devices])]).astype(np.int64)
    return FederationData(
        population=Population(_examples(table, rows, features), starts),
        calibration=_examples(table, parts.calibration, features),
        test=_examples(table, parts.test, features),
        novel=parts.novel,
        skipped=table.skipped,
        fingerprint=table.fingerprint,
    )


def _check(data: DataConfig) -> None:
    """Every row has one owner by exactly one rule: its user, or the partition."""
    if data.path is None and (data.user_column or data.partition):
        given = "--user-column" if data.user_column else "--partition"
        raise DataError(f"{given}: generated messages have users of their own; give --data, or leave {given} out")
    if data.path is not None and data.user_column is None and data.partition is None:
        raise DataError("--user-column: expected it or --partition, got neither; without users try dirichlet:0.3")
    if data.user_column is not None and data.partition is not None:
        raise DataError("--partition: expected it or --user-column, got both; with users leave --partition out")
    if data.partition is not None:
        partition.parse_alpha(data.partition)


def _read(data: DataConfig, seed: SeedTree) -> Table:
    if data.path is None:
        return generate(users_for(data.devices), _generator(seed, "chat")).table()
    return load(data.path, data.text_column, data.label_column, data.user_column)


def _devices(table: Table, train: NDArray[np.int64], data: DataConfig, rng: np.random.Generator) -> partition.Devices:
    if data.partition is None:
        own = partition.by_user([table.users[row] for row in train] if table.users else [])
    else:
        labels = table.required_labels()[train]
        own = partition.dirichlet(labels, data.devices, partition.parse_alpha(data.partition), rng)
    return [train[places] for places in own]


def _examples(table: Table, rows: NDArray[np.int64], features: InputSpec) -> Examples:
    labels = table.required_labels()[rows].astype(np.float32)
    return Examples(encode_texts(features, [table.texts[row] for row in rows]), labels)


def _generator(seed: SeedTree, purpose: str) -> np.random.Generator:
    return np.random.default_rng(seed.child("data", purpose).integer())
