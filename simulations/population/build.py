"""From a configuration to devices with examples, and what is held out from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fl_client.training.training import Examples
from privacy.base.canonical import sha256
from privacy.features.encoding import encode_texts
from privacy.features.normalising import normalise
from privacy.task.task import InputSpec
from simulations.config.data import DataConfig
from simulations.data.dataset import Dataset, Table, load
from simulations.data.errors import DataError
from simulations.data.files import Source
from simulations.data.overview import Overview
from simulations.population import partition
from simulations.population.base import Population
from simulations.population.coverage import compact_letters
from simulations.population.generated import GeneratedPopulation
from simulations.population.generator import ChatGenerator
from simulations.population.packed import Holding, PackedPopulation
from simulations.population.poison import Poison
from simulations.population.split import owners, split, split_beside
from simulations.population.timeline import arrivals
from simulations.randomness import SeedTree

_COMPARED = 5_000
"""How many generated devices' texts a test text is compared with to be novel; to make all would take minutes."""
_TEST_USERS, _CALIBRATION_USERS = (200, 2_000), (100, 1_000)
"""The fewest and the most generated users that are held out for each."""

Texts = tuple[list[str], NDArray[np.int8]]
"""n texts and their labels, int8[n] of 0 and 1."""


@dataclass(frozen=True, eq=False)
class FederationData:
    """Training devices and held-out users.

    Attributes:
        population: the devices.
        calibration: the examples that choose the decision threshold and nothing else.
        test: the examples of users whom training never saw.
        novel: bool[test examples]; True where training has no such text.
        test_users: int64[test examples]; who wrote each, by number.
        calibration_users: int64[calibration examples], likewise.
        compact: the fraction of letters of the test users' texts that are of scripts without spaces, or of syllables.
        attacked: the abuse of the test users as an attacker would send it, all labelled 1; None without poisoners.
        skipped: how many rows of the file had no text.
        fingerprint: hex SHA-256 of the data that all of this came from.
        overview: what was understood of the files; None of generated messages.
        sources: the files.
        withheld: how many messages are on no device, since their users are in an official test set.
    """

    population: Population
    calibration: Examples
    test: Examples
    novel: NDArray[np.bool_] = field(repr=False)
    test_users: NDArray[np.int64] = field(repr=False)
    calibration_users: NDArray[np.int64] = field(repr=False)
    compact: float
    attacked: Examples | None
    skipped: int
    fingerprint: str
    overview: Overview | None = None
    sources: tuple[Source, ...] = ()
    withheld: int = 0

    def counts(self) -> dict[str, int | None]:
        """Return the numbers of devices and messages, for logs and summaries; None where nobody counted."""
        return {
            "devices": self.population.devices,
            "empty_devices": self.population.empty_devices,
            "training_messages": self.population.messages,
            "calibration_messages": len(self.calibration),
            "test_messages": len(self.test),
            "test_users": int(np.unique(self.test_users).size),
            "test_positives": int(np.count_nonzero(self.test.labels)),
            "test_users_with_positives": int(np.unique(self.test_users[self.test.labels == 1]).size),
            "novel_messages": int(np.count_nonzero(self.novel)),
            "skipped_rows": self.skipped,
        }


def build(data: DataConfig, features: InputSpec, seed: SeedTree, poison: Poison, rounds: int) -> FederationData:
    """Read or generate the examples, hold out test and calibration users, and give the rest to devices.

    Args:
        data: where the examples come from.
        features: how texts become what the model reads.
        seed: the run's seed.
        poison: who poisons, and how.
        rounds: how many rounds messages come in, where they have times.

    Raises:
        DataError: when the configuration contradicts itself, or the data cannot be used.
    """
    _check(data)
    builder = _Builder(features, seed.child("data"), poison)
    if data.path is None:
        return builder.generated(data.devices)
    return builder.from_files(load(data), data, rounds)


def _check(data: DataConfig) -> None:
    """Check that every row has one owner by exactly one rule: its user, or the partition."""
    if data.path is None:
        given = {"--user-column": data.user_column, "--partition": data.partition, "--time-column": data.time_column}
        for flag in [flag for flag, value in given.items() if value is not None]:
            raise DataError(f"{flag}: generated messages have users of their own; give --data, or leave {flag} out")
        return
    if data.user_column is None and data.partition is None:
        raise DataError("--user-column: expected it or --partition, got neither; without users try dirichlet:0.3")
    if data.user_column is not None and data.partition is not None:
        raise DataError("--partition: expected it or --user-column, got both; with users leave --partition out")
    if data.partition == partition.TIME and data.time_column is None:
        raise DataError("--time-column: expected it with --partition time; name the column of the messages' time")
    if data.partition not in (None, partition.TIME):
        partition.parse_alpha(str(data.partition))


@dataclass(frozen=True)
class _Builder:
    """A builder of populations with the same features and poisoners."""

    features: InputSpec
    seed: SeedTree
    poison: Poison

    def generated(self, devices: int) -> FederationData:
        generator = ChatGenerator(self.seed.child("chat"))
        # Held-out users write on the same platform, but are nobody's device.
        tests, calibrations = _within(2 * devices // 7, *_TEST_USERS), _within(devices // 7, *_CALIBRATION_USERS)
        test, test_users = _written(generator, range(devices, devices + tests))
        ends = devices + tests, devices + tests + calibrations
        calibration, calibration_users = _written(generator, range(*ends))
        known = {normalise(text) for text in _written(generator, range(min(devices, _COMPARED)))[0][0]}
        return FederationData(
            population=GeneratedPopulation(devices, generator, self.features, self.poison),
            calibration=self._examples(*calibration),
            test=self._examples(*test),
            novel=np.array([normalise(text) not in known for text in test[0]], np.bool_),
            test_users=test_users,
            calibration_users=calibration_users,
            compact=compact_letters(test[0]),
            attacked=self._attacked(test),
            skipped=0,
            fingerprint=sha256(b"havenfl/chat/2", generator.seed.key(), str(devices).encode()).hex(),
        )

    def from_files(self, dataset: Dataset, data: DataConfig, rounds: int) -> FederationData:
        table, official, rng = dataset.table, dataset.official, self._rng("split")
        parts = split(table, rng) if official is None else split_beside(table, official, rng)
        devices = _devices(data, table, parts.train, self._rng("partition"))
        arrival = np.zeros(len(table), np.int64)
        if table.times is not None:
            arrival[parts.train] = arrivals(table.times[parts.train], rounds, data.history)
        test = _chosen(table if official is None else official, parts.test)
        return FederationData(
            population=PackedPopulation.pack(self._holdings(table, devices, arrival), self.features),
            calibration=self._examples(*_chosen(table, parts.calibration)),
            test=self._examples(*test),
            novel=parts.novel,
            test_users=owners(table if official is None else official)[parts.test],
            calibration_users=owners(table)[parts.calibration],
            compact=compact_letters(test[0]),
            attacked=self._attacked(test),
            skipped=table.skipped,
            fingerprint=dataset.fingerprint,
            overview=Overview.of(dataset, data),
            sources=dataset.sources,
            withheld=parts.withheld,
        )

    def _holdings(self, table: Table, devices: partition.Devices, arrival: NDArray[np.int64]) -> Iterable[Holding]:
        for device, rows in enumerate(devices):
            ordered = rows[np.argsort(arrival[rows], kind="stable")]
            texts, labels = _chosen(table, ordered)
            yield Holding(*self.poison.applied(device, texts, labels.tolist()), arrival[ordered])

    def _attacked(self, test: Texts) -> Examples | None:
        if not self.poison.config.fraction:
            return None
        abuse = [text for text, label in zip(*test, strict=True) if label == 1]
        sent = self.poison.triggered(abuse) if self.poison.config.attack == "backdoor" else abuse
        return self._examples(sent, np.ones(len(sent), np.int8))

    def _examples(self, texts: Sequence[str], labels: NDArray[np.int8]) -> Examples:
        return Examples(encode_texts(self.features, texts), labels.astype(np.float32))

    def _rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(self.seed.child(purpose).integer())


def _devices(data: DataConfig, table: Table, train: NDArray[np.int64], rng: np.random.Generator) -> partition.Devices:
    if data.partition is None:
        own = partition.by_user([table.users[row] for row in train] if table.users else [])
    elif data.partition == partition.TIME:
        own = partition.by_time(table.required_times()[train], data.devices)
    else:
        labels = table.required_labels()[train]
        own = partition.dirichlet(labels, data.devices, partition.parse_alpha(data.partition), rng)
    return [train[places] for places in own]


def _chosen(table: Table, rows: NDArray[np.int64]) -> Texts:
    return [table.texts[row] for row in rows], table.required_labels()[rows]


def _written(generator: ChatGenerator, users: Sequence[int]) -> tuple[Texts, NDArray[np.int64]]:
    """Return the messages of generated users, and who wrote each: int64[n]."""
    chats = [generator.of(user) for user in users]
    texts = [text for chat in chats for text in chat.texts], np.concatenate([chat.labels for chat in chats])
    return texts, np.repeat(np.array(users, np.int64), [len(chat.texts) for chat in chats])


def _within(number: int, least: int, most: int) -> int:
    return max(least, min(most, number))
