"""The ledger's gate, its charges and its verification, against dp-accounting and against the disk.

    python benchmarks/accounting.py            # a table; about four minutes
    python benchmarks/accounting.py --json     # one object

The gate is the question whether one more round fits the budget, asked at round 10,000: cold in a new process's caches,
warm as a server asks it round after round. A charge is wall time, for it waits for the disk; its floor is the same
bytes in a bare SQLite transaction of the same durability. Verification's floor is parsing and hashing the same bytes.
`ratio` is ours over the peer's: below 1 is better.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from measure import Row, compare, cpu, run

from fl_server.ledger_store import SqliteLedgerStore
from privacy.accounting import composition
from privacy.accounting.accountant import spend, within
from privacy.accounting.events import BoundedGaussian, Event, PoissonGaussian
from privacy.base.signing import Signer
from privacy.ledger.ledger import Charge, Ledger, verify
from privacy.task.task import Budget

_ROUNDS = 10_000
_ENTRIES = 100_000
_CHARGES = 200
_DELTA = 1e-6
_POISSON = PoissonGaussian(sampling_rate=0.01, noise_multiplier=1.0, pivotal_probability=1e-24, shards=1)
_AWAY = [
    _POISSON.model_copy(update={"pivotal_probability": float(f"{1e-3 * 0.95**number:.2e}")}) for number in range(250)
]
"""Rounds whose devices come and go, so that each fortieth is of another kind."""
_BOUNDED = BoundedGaussian(task="ab" * 32, noise_multiplier=7.0, max_participations=_ROUNDS)
_SIGNER = Signer.from_seed(b"\x01" * 32)


def measure(runs: int) -> list[Row]:
    """All rows."""
    return [*_gates(runs), _attempts(runs), _tightness(), _charge(runs), _verification(runs)]


def _gates(runs: int) -> Iterator[Row]:
    for name, event in (("sampled cohorts", _POISSON), ("bounded participation", _BOUNDED)):
        spent, epsilon = Counter({event: _ROUNDS - 1}), spend([event] * _ROUNDS, _DELTA).epsilon
        peers, cold, warm = [], [], []
        for _ in range(max(runs, 3)):
            peers.append(cpu(lambda: _dp_accounting(event, _ROUNDS))[0])  # noqa: B023
            _forget()
            cold.append(cpu(lambda: within(spent + Counter({event: 1}), _DELTA, epsilon + 0.1))[0])  # noqa: B023
            before = Counter({event: _ROUNDS - 2})
            _forget()
            within(before, _DELTA, epsilon + 0.1)
            warm.append(cpu(lambda: within(spent, _DELTA, epsilon + 0.1))[0])  # noqa: B023
        yield compare(f"gate at round 10,000, {name}, cold", cold, peers, against="dp-accounting's PLD accountant")
        yield compare(f"gate at round 10,000, {name}, warm", warm, peers, against="dp-accounting's PLD accountant")


def _attempts(runs: int) -> Row:
    """Epsilon of 10,000 attempted rounds with devices away, over that of as many that all are alike and ideal."""
    ours, ideal = [], []
    for _ in range(max(runs, 3)):
        _forget()
        ideal.append(cpu(lambda: spend(Counter({_POISSON: _ROUNDS}), _DELTA))[0])
        _forget()
        ours.append(cpu(lambda: spend(Counter({event: _ROUNDS // len(_AWAY) for event in _AWAY}), _DELTA))[0])
    return compare("10,000 attempted rounds, devices away", ours, ideal, against="as many ideal ones")


def _dp_accounting(event: Event, rounds: int) -> float:
    gaussian = dp_event.GaussianDpEvent(event.noise_multiplier)
    once = dp_event.PoissonSampledDpEvent(event.sampling_rate, gaussian) if event is _POISSON else gaussian
    accountant = PLDAccountant()
    accountant.compose(dp_event.SelfComposedDpEvent(once, rounds))
    return float(accountant.get_epsilon(_DELTA))


def _forget() -> None:
    """Empty every function's memory in `privacy`, as in a new process."""
    for name, module in list(sys.modules.items()):
        if name.startswith("privacy."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def _tightness() -> Row:
    """Epsilon of 1,000 sampled rounds as reported, over that on a grid ten times finer."""
    ours = spend([_POISSON] * 1000, _DELTA)
    fine = PLDAccountant(value_discretization_interval=composition.GRID / 10)
    gaussian = dp_event.GaussianDpEvent(_POISSON.noise_multiplier)
    fine.compose(dp_event.PoissonSampledDpEvent(_POISSON.sampling_rate, gaussian), 1000)
    peer = float(fine.get_epsilon(_DELTA - ours.lots_delta))
    return compare(
        "epsilon of 1,000 rounds, reported", [ours.epsilon], [peer], against="a PLD ten times finer", unit="ε"
    )


def _charge(runs: int) -> Row:
    ours, floor = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=".") as directory:
            store = SqliteLedgerStore(Path(directory) / "ledger.db")
            ledger = Ledger(store, _SIGNER, "bench", Budget(epsilon=100.0, delta=_DELTA), lambda: int(time.time()))
            ours.append(_median_ms(lambda number: ledger.reserve(_charge_of(number))))  # noqa: B023
            entries = ledger.entries()
            with closing(sqlite3.connect(Path(directory) / "floor.db", isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("CREATE TABLE entries (seq INTEGER PRIMARY KEY, entry BLOB)")
                floor.append(_median_ms(lambda number: _insert(connection, number, entries[number])))  # noqa: B023
    return compare("charge, wall time", ours, floor, against="a bare SQLite transaction", unit="ms")


def _insert(connection: sqlite3.Connection, number: int, entry: bytes) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO entries VALUES (?, ?)", (number, entry))
    connection.execute("COMMIT")


def _median_ms(step: Callable[[int], object]) -> float:
    times = []
    for number in range(1, _CHARGES + 1):
        started = time.perf_counter()
        step(number)
        times.append(1000 * (time.perf_counter() - started))
    return sorted(times)[_CHARGES // 2]


def _charge_of(number: int, event: Event = _BOUNDED) -> Charge:
    return Charge(
        task="ab" * 32,
        population="bench",
        round=number,
        purpose="training",
        event=event,
        transcript=hashlib.sha256(str(number).encode()).hexdigest(),
    )


class _Memory:
    def __init__(self) -> None:
        self.rows: list[tuple[bytes, bytes]] = []

    @contextmanager
    def transaction(self) -> Iterator[_Memory]:
        yield self

    def entries(self, start: int) -> Sequence[bytes]:
        return [entry for entry, _ in self.rows[start:]]

    def head(self) -> bytes | None:
        return self.rows[-1][1] if self.rows else None

    def append(self, seq: int, entry: bytes, head: bytes) -> None:
        del seq
        self.rows.append((entry, head))


def _verification(runs: int) -> Row:
    ledger = Ledger(_Memory(), _SIGNER, "bench", Budget(epsilon=1000.0, delta=_DELTA), lambda: 0)
    for number in range(1, _ENTRIES // 2 + 1):
        receipt = ledger.reserve(_charge_of(number))
        ledger.released(receipt, hashlib.sha256(b"model %d" % number).hexdigest())
    entries, head = ledger.entries(), ledger.head()
    ours, floor = [], []
    for _ in range(runs):
        gc.collect()
        ours.append(cpu(lambda: verify(entries, head, _SIGNER.public))[0])
        floor.append(cpu(lambda: [hashlib.sha256(entry).digest() for entry in entries if json.loads(entry)])[0])
    return compare("100,000 entries verified", ours, floor, against="parsing and hashing them")


if __name__ == "__main__":
    run(__doc__ or "", measure)
