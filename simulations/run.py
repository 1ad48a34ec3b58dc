"""One run: from a configuration to a run directory with a published model in it."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_client.models import initial_weights
from fl_server.checkpoint import CheckpointError, CheckpointFile
from fl_server.coordinator import Coordinator, CoordinatorError, Ended, Result
from fl_server.ledger_store import LedgerStoreError, SqliteLedgerStore
from privacy.ledger import Ledger, LedgerError
from privacy.task import TaskSpec
from simulations.config import MAX_SEED, RunConfig
from simulations.console import RunProgress
from simulations.host import Authorities, DeviceHost, Records
from simulations.inprocess import Devices, InProcessTransport, WorkerDied, WorkerPool, Workers
from simulations.interrupt import StopAfterRound
from simulations.observer import RunObserver
from simulations.outputs import Outputs
from simulations.plan import ARCHITECTURE, feature_spec, plan_task, warnings_about
from simulations.population import FederationData, build
from simulations.randomness import SeedTree
from simulations.rundir import RunDirectory
from simulations.scorer import Scorer
from strategies.fedavg import FedAvgM

SIMULATED_TIME = "1970-01-01T00:00:00Z"
"""The ledger's clock stands still in a simulation, so that the same run writes the same ledger."""


class RunError(RuntimeError):
    """A run that failed on its way; its last complete round is kept and can be resumed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run; `summary` is None when it was stopped before its end."""

    directory: RunDirectory
    summary: dict[str, Any] | None


@dataclass(frozen=True)
class Prepared:
    """Everything that is checked and computed before work starts."""

    config: RunConfig
    seeds: SeedTree
    data: FederationData
    task: TaskSpec


def start(config: RunConfig, out: Path, *, force: bool, workers: int | None) -> Outcome:
    """A new run in a new directory.

    Raises:
        ConfigError, DataError, RunDirectoryError: bad input, before anything is written.
        RunError: when the run fails on its way.
    """
    RunDirectory.check(out, force=force)
    seeded = config if config.seed is not None else config.model_copy(update={"seed": secrets.randbelow(MAX_SEED)})
    prepared = prepare(seeded)
    directory = RunDirectory.create(out, seeded, force=force)
    return _run(prepared, directory, workers)


def resume(path: Path, *, workers: int | None) -> Outcome:
    """Go on with a run after its last complete round; a run that is complete is only summed up again.

    Raises:
        DataError, RunDirectoryError: when there is no run, or its data have changed.
        RunError: when the run fails on its way.
    """
    directory, config = RunDirectory.reopen(path)
    return _run(prepare(config), directory, workers)


def prepare(config: RunConfig) -> Prepared:
    """Read the data and calibrate the noise."""
    seeds = SeedTree.root(config.seed or 0)
    data = build(config.data, feature_spec(config), seeds)
    return Prepared(config, seeds, data, plan_task(config, data.population.devices, data.fingerprint))


def _run(prepared: Prepared, directory: RunDirectory, workers: int | None) -> Outcome:
    with directory.locked(), _log_to(directory.log) as log:
        try:
            return _run_locked(prepared, directory, workers or len(os.sched_getaffinity(0)), log)
        except (CheckpointError, CoordinatorError, LedgerError, LedgerStoreError, WorkerDied, OSError) as error:
            log.exception("the run failed")
            raise RunError(
                f"{error}; the last complete round is kept: `fl-sim run --resume {directory.path}`"
            ) from error


def _run_locked(prepared: Prepared, directory: RunDirectory, workers: int, log: logging.Logger) -> Outcome:
    config, task = prepared.config, prepared.task
    checkpoints = CheckpointFile(directory.checkpoint, task.id)
    last = checkpoints.load()
    directory.keep_metrics_to(last.round if last else 0)
    records = Records.of(last.extra) if last else Records.fresh(prepared.data.population.devices)
    operator = Authorities(prepared.seeds).operator
    ledger = Ledger(SqliteLedgerStore(directory.ledger), operator, task.budget, lambda: SIMULATED_TIME)
    scorer = Scorer(task)
    with RunProgress(task.rounds) as progress:
        for warning in warnings_about(config, prepared.data.population.devices):
            log.warning("%s", warning)
            progress.note(f"warning: {warning}")
        progress.resumed_at(last.round if last else 0)
        observer = RunObserver(
            data=prepared.data,
            scorer=scorer,
            records=records,
            directory=directory,
            progress=progress,
            log=log,
            budget=task.budget.epsilon,
        )
        with _workers(prepared, records, workers) as pool, StopAfterRound(progress.note) as stop:
            coordinator = Coordinator(
                task=task,
                operator=operator,
                authority_public=Authorities(prepared.seeds).authority.public,
                transport=InProcessTransport(pool, records),
                ledger=ledger,
                strategy=FedAvgM(
                    config.server.learning_rate, config.server.momentum, task.participation.expected_cohort
                ),
                checkpoints=checkpoints,
                randomness_for=lambda number: prepared.seeds.child("cohort", number).stream(),
                observer=observer,
                stage_timeout=0.0,
            )
            start = initial_weights(ARCHITECTURE, task.features, prepared.seeds.child("model").integer())
            result = coordinator.run(start, stop.requested)
    return _finish(prepared, directory, ledger, scorer, result, log)


def _finish(
    prepared: Prepared,
    directory: RunDirectory,
    ledger: Ledger,
    scorer: Scorer,
    result: Result,
    log: logging.Logger,
) -> Outcome:
    if result.ended is Ended.STOPPED:
        log.info("stopped after round %d", result.round)
        return Outcome(directory, None)
    log.info("%s after round %d", result.ended, result.round)
    operator = Authorities(prepared.seeds).operator
    outputs = Outputs(prepared.config, prepared.task, prepared.data, directory)
    return Outcome(directory, outputs.write(result, ledger, operator, scorer))


def _workers(prepared: Prepared, records: Records, workers: int) -> AbstractContextManager[Workers]:
    host = DeviceHost(prepared.seeds, prepared.task.population, prepared.data.population.of, records)
    return WorkerPool(host, workers) if workers > 1 else nullcontext(Devices(host))


@contextmanager
def _log_to(path: Path) -> Iterator[logging.Logger]:
    log = logging.getLogger(f"havenfl.run.{path}")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield log
    finally:
        log.removeHandler(handler)
        handler.close()
