"""Rounds as `fl-sim` has them, each charged to a ledger: secure aggregation for real, or its sum alone."""

from __future__ import annotations

import functools
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fl_client.training.models import start_weights
from fl_server.ledger_store import SqliteLedgerStore
from fl_server.training.round import Rounds, SecureRounds
from privacy.ledger.entries import Charge, Receipt
from privacy.ledger.ledger import Ledger
from simulations.config.config import load_config
from simulations.executors.local import LocalExecutor
from simulations.federation.devices import Authorities, DeviceHost, Records, simulated_time
from simulations.federation.ideal import IdealRounds
from simulations.federation.inprocess import Devices, InProcessTransport
from simulations.federation.partial_sums import Worker
from simulations.population import build
from simulations.runs.run import Prepared, prepare
from strategies.fedavg import ModelState

_build = functools.cache(build)


class Charged:
    """Rounds of one kind on the first model, in this process, with a ledger in a directory of their own."""

    def __init__(self, prepared: Prepared, rounds_of: Callable[[Prepared], Rounds], directory: Path) -> None:
        self.population = prepared.data.population
        self._task, self._rounds = prepared.task, rounds_of(prepared)
        self._state = ModelState.start(start_weights(prepared.task), self._task.mechanism.clip)
        store, operator = SqliteLedgerStore(directory / "ledger"), Authorities(prepared.seeds).operator
        self._ledger = Ledger(store, operator, self._task.population, self._task.budget, simulated_time)
        self._number = 0

    def round(self, cohort: Sequence[int]) -> float:
        """Run one more round, and return its CPU seconds.

        Raises:
            RuntimeError: when a device is not in the sum.
        """
        self._number += 1
        started = time.process_time()
        running = self._rounds.begin(self._number, self._state, cohort, frozenset())
        outcome = running.run(self._pay)
        spent = time.process_time() - started
        if sum(total.survivors for total in outcome.totals) != len(cohort):
            raise RuntimeError(f"a device failed: {outcome.facts.lost}")
        return spent

    def _pay(self, transcript: str) -> Receipt:
        return self._ledger.reserve(Charge.of(self._task, self._number, transcript, self.population.devices))


@contextmanager
def charged(flags: Mapping[str, object], rounds_of: Callable[[Prepared], Rounds]) -> Iterator[Charged]:
    """Rounds of a configuration that differs from the default by `flags`, its ledger gone afterwards."""
    prepared = prepare(load_config(None, flags), _build)
    with tempfile.TemporaryDirectory() as directory:
        yield Charged(prepared, rounds_of, Path(directory))


def secure(prepared: Prepared) -> Rounds:
    """Run the whole protocol, devices and server."""
    records, seeds, task = Records.fresh(prepared.data.population.devices), prepared.seeds, prepared.task
    host = DeviceHost(seeds, task, prepared.data.population.of, prepared.scenario, records)
    round_authority = Authorities(seeds).round_authority(task.population)
    transport = InProcessTransport(Devices(host), records)
    return SecureRounds(task, lambda: round_authority, transport, simulated_time, math.inf)


def ideal(prepared: Prepared) -> Rounds:
    """Run the protocol's sum alone, exact or with a trusted aggregator."""
    population, seeds, task = prepared.data.population, prepared.seeds, prepared.task
    worker = Worker(seeds, task, population.of, prepared.scenario, prepared.engine)
    records, central = Records.fresh(population.devices), prepared.config.server.aggregation == "central"
    return IdealRounds(task, seeds, LocalExecutor(worker), records, prepared.scenario, central=central)
