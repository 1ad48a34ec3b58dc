"""A run, from a configuration to a run directory with a published model in it: started, resumed, supervised."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl_client.training.models import start_weights
from fl_server.ledger_store import LedgerStoreError, SqliteLedgerStore
from fl_server.publishing.publish import ClaimRefuted, NotReleased
from fl_server.training.checkpoint import CheckpointError, CheckpointFile, RecordLog
from fl_server.training.coordinator import Coordinator, CoordinatorError, Ended
from fl_server.training.round import Rounds, SecureRounds
from privacy.accounting.accountant import AccountantsDisagree
from privacy.ledger.ledger import Ledger, LedgerError
from privacy.report.build import ReportError
from privacy.schedule import default_rounds
from privacy.task.task import InputSpec, TaskSpec
from simulations import executors
from simulations.config.architectures import input_spec
from simulations.config.config import LOCAL_RAY, MAX_SEED, PlannedRun, RunConfig
from simulations.config.data import DataConfig
from simulations.data.files import digests
from simulations.evaluation.metrics import Scorer
from simulations.executors import cluster
from simulations.executors.cluster import ClusterError
from simulations.federation.devices import Authorities, DeviceHost, Records, simulated_time
from simulations.federation.ideal import IdealRounds
from simulations.federation.inprocess import Devices, InProcessTransport, WorkerPool
from simulations.federation.lossy_rounds import LossyRounds
from simulations.federation.partial_sums import Worker
from simulations.population import FederationData, build
from simulations.population.poison import Poison
from simulations.processes.workers import WorkerDied, cores
from simulations.randomness import SeedTree
from simulations.runs.artifacts import Outputs
from simulations.runs.callbacks import RunCallbacks, RunContext
from simulations.runs.plan import choices, plan_task, warnings_about, with_schedule
from simulations.runs.rundir import RunDirectory
from simulations.scenario import Scenario
from simulations.terminal.console import Progress, RunProgress, StopAfterRound
from simulations.training.engines import Choice, choose
from strategies.fedavg import FedAvgM

_FAILURES = (
    AccountantsDisagree,
    CheckpointError,
    ClaimRefuted,
    ClusterError,
    CoordinatorError,
    LedgerError,
    LedgerStoreError,
    ReportError,
    WorkerDied,
)


class RunError(RuntimeError):
    """A run failed on its way; its last complete round is kept and can be resumed."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        directory: its files.
        summary: as in `summary.json`; None when the run was stopped before its end.
    """

    directory: RunDirectory
    summary: dict[str, Any] | None


DataSource = Callable[[DataConfig, InputSpec, SeedTree, Poison, int], FederationData]
"""A way to build a population, as `simulations.population.build` does."""


@dataclass(frozen=True)
class Prepared:
    """Everything of a run that is checked and computed before work starts.

    Attributes:
        config: what the run is told to do, with every number of its schedule.
        seeds: the root of its randomness.
        data: its population, its test users and its calibration users.
        scenario: what goes wrong with the devices.
        task: what the devices are asked to do.
        engine: what trains them, and why it was chosen.
    """

    config: PlannedRun
    seeds: SeedTree
    data: FederationData
    scenario: Scenario
    task: TaskSpec
    engine: Choice


def start(config: RunConfig, out: Path, *, force: bool, workers: int | None) -> Outcome:
    """Do a new run in a new directory.

    Args:
        config: what to do; without a seed, one is drawn.
        out: the directory.
        force: whether an earlier run in it is replaced.
        workers: as in `Supervision`.

    Raises:
        ConfigError, DataError, OutputDirectoryError: when the input is bad, before anything is written.
        RunError: when the run fails on its way.
    """
    RunDirectory.check(out, force=force, inputs=config.inputs)
    _check_cluster(config)
    seeded = config if config.seed is not None else config.model_copy(update={"seed": secrets.randbelow(MAX_SEED)})
    prepared = prepare(seeded)
    directory = RunDirectory.create(out, prepared.config, force=force, sources=prepared.data.sources)
    return _watched(prepared, directory, workers)


def resume(path: Path, *, workers: int | None, overrides: Mapping[str, Any] | None = None) -> Outcome:
    """Go on with a run after its last complete round; a run that is complete is only summed up again.

    Args:
        path: the run's directory.
        workers: as in `Supervision`.
        overrides: what does not change the outcome, by dotted key: `ray_address`, and where the data lie now. Another
            place of the data is remembered.

    Raises:
        ConfigError, DataError, OutputDirectoryError: when there is no run, its data have changed, or no cluster
            answers.
        RunError: when the run fails on its way.
    """
    directory, config = RunDirectory.reopen(path, overrides or {})
    _check_cluster(config)
    directory.refuse_changed(digests(config.data))
    prepared = prepare(config)
    if config.data != RunDirectory.reopen(path, {})[1].data:
        directory.remember(config)
    return _watched(prepared, directory, workers)


def prepare(config: RunConfig, data_of: DataSource = build) -> Prepared:
    """Read the data and calibrate the noise.

    Args:
        config: what the run is told to do.
        data_of: builds the population; `build`, or what remembers its results.

    Raises:
        ConfigError, DataError, EngineError: when this cannot be run.
    """
    seeds = SeedTree.root(config.seed or 0)
    scenario = Scenario.of(config, seeds)
    rounds = config.server.rounds or default_rounds(config.privacy.participation)
    data = data_of(config.data, input_spec(config.training), seeds, scenario.poison, rounds)
    scheduled = with_schedule(config, data.population.devices)
    task = plan_task(scheduled, data.population.devices, data.fingerprint)
    engine = choose(task, "auto" if config.engine == "ray" else config.engine, config.device)
    return Prepared(scheduled, seeds, data, scenario, task, engine)


@dataclass(frozen=True)
class Supervision:
    """How a run is worked on, and who is told of it.

    Attributes:
        workers: how many processes, 1 being this one alone; None for one a core, or as many as a Ray cluster has CPUs.
        progress: is told of each round.
        stop_requested: is asked between rounds whether to stop.
    """

    workers: int | None
    progress: Progress
    stop_requested: Callable[[], bool]


def execute(prepared: Prepared, directory: RunDirectory, by: Supervision) -> Outcome:
    """Do every round that is left, then write the outputs.

    Args:
        prepared: the run.
        directory: its files, which may hold complete rounds already.
        by: how it is worked on.

    Raises:
        OutputDirectoryError: when another process is in the directory.
        RunError: when the run fails on its way.
    """
    with directory.locked(), _log_to(directory.log) as log:
        try:
            return _run(prepared, directory, by, log)
        except NotReleased as error:
            log.exception("nothing is published")
            raise RunError(f"{error}; what was charged is in {directory.ledger}, and why in {directory.log}") from error
        except (*_FAILURES, OSError) as error:
            log.exception("the run failed")
            raise RunError(
                f"{error}; the last complete round is kept: `fl-sim run --resume {directory.path}`"
            ) from error


def _check_cluster(config: RunConfig) -> None:
    """Refuse a run, before it begins, whose Ray cluster does not answer."""
    if config.ray_address != LOCAL_RAY:
        cluster.check(config.ray_address)


def _watched(prepared: Prepared, directory: RunDirectory, workers: int | None) -> Outcome:
    """Do a run with a bar on the terminal, until Ctrl-C."""
    with RunProgress(prepared.task.rounds) as progress, StopAfterRound(progress.note) as stop:
        return execute(prepared, directory, Supervision(workers, progress, stop.requested))


def _run(prepared: Prepared, directory: RunDirectory, by: Supervision, log: logging.Logger) -> Outcome:
    last = CheckpointFile(directory.checkpoint, prepared.task.id).load()
    directory.keep_metrics_to(last.round if last else 0)
    devices = prepared.data.population.devices
    records = Records.of(devices, last.extra) if last else Records.fresh(devices)
    ledger = _ledger(prepared, directory)
    scorer = Scorer(prepared.task)

    def tell(text: str) -> None:
        log.info("%s", text)
        by.progress.note(text)

    if last is None:
        _show_data(prepared.data, tell, by.progress.note)
    tell(_held_out(prepared.data))
    for choice in choices(prepared.config, prepared.data.population.devices, prepared.task):
        tell(f"{choice.name:>13} {choice.value:>7}  {choice.why}")
    for warning in warnings_about(prepared.config, prepared.data.population.devices, prepared.task):
        tell(f"warning: {warning}")
    by.progress.resumed_at(last.round if last else 0)
    context = RunContext(prepared.task, prepared.data, scorer, records, directory, by.progress, log)
    with _rounds(prepared, records, by.workers, tell) as rounds:
        coordinator = _coordinator(prepared, rounds, ledger, directory, RunCallbacks(context))
        result = coordinator.run(start_weights(prepared.task), by.stop_requested)
    log.info("%s after round %d", result.ended, result.round)
    if result.ended is Ended.STOPPED:
        return Outcome(directory, None)
    keys = Authorities(prepared.seeds)
    outputs = Outputs(prepared.config, prepared.task, prepared.data, prepared.engine.make, directory)
    directory.write("operator.pub", f"{keys.operator.public.hex()}\n")
    directory.write("authority.pub", f"{keys.authority.public.hex()}\n")
    return Outcome(directory, outputs.write(result, ledger, keys.operator, scorer))


def _show_data(data: FederationData, tell: Callable[[str], None], note: Callable[[str], None]) -> None:
    """Show what was understood of the files; people's words go to the terminal alone, not into the log."""
    if data.overview is None:
        return
    for line in data.overview.lines:
        tell(line)
    for sample in data.overview.samples:
        note(sample)
    if data.withheld:
        tell(f"{data.withheld:,} messages are on no device: their users are in the official test set")
    for sentence in data.overview.notes:
        tell(f"note: {sentence}")


def _held_out(data: FederationData) -> str:
    counts = data.counts()
    return (
        f"test: {counts['test_positives']:,} of {counts['test_messages']:,} messages are abuse, of "
        f"{counts['test_users_with_positives']:,} of {counts['test_users']:,} users"
    )


def _coordinator(
    prepared: Prepared,
    rounds: Rounds,
    ledger: Ledger,
    directory: RunDirectory,
    callbacks: RunCallbacks,
) -> Coordinator:
    keys, task = Authorities(prepared.seeds), prepared.task
    return Coordinator(
        task=task,
        rounds=rounds,
        ledger=ledger,
        strategy=FedAvgM.of(task),
        checkpoints=CheckpointFile(directory.checkpoint, task.id),
        begun=None,  # what simulated devices remember is in the checkpoint
        records=RecordLog(directory.rounds, keys.operator),
        randomness_for=lambda number: prepared.seeds.child("cohort", number).stream(),
        noise_for=lambda number: prepared.seeds.child("server-noise", number).stream(),
        callbacks=callbacks,
    )


def _ledger(prepared: Prepared, directory: RunDirectory) -> Ledger:
    operator = Authorities(prepared.seeds).operator
    path = prepared.config.privacy.ledger or directory.ledger
    return Ledger(SqliteLedgerStore(path), operator, prepared.task.population, prepared.task.budget, simulated_time)


@contextmanager
def _rounds(prepared: Prepared, records: Records, workers: int | None, tell: Callable[[str], None]) -> Iterator[Rounds]:
    """Yield the run's rounds: of the protocol, or of its sum; their workers end with the context."""
    config, task, seeds, scenario = prepared.config, prepared.task, prepared.seeds, prepared.scenario
    examples_of = prepared.data.population.of
    if config.server.aggregation == "secure":
        host = DeviceHost(seeds, task, examples_of, scenario, records)
        count = workers or cores()
        with WorkerPool(host, count) if count > 1 else nullcontext(Devices(host)) as pool:
            transport = InProcessTransport(pool, records)
            round_authority = Authorities(seeds).round_authority(task.population)
            yield LossyRounds(
                SecureRounds(task, lambda: round_authority, transport, simulated_time, math.inf), scenario
            )
        return
    where = "ray, in each worker " if config.engine == "ray" else ""
    tell(f"engine: {where}{prepared.engine.name} ({prepared.engine.reason})")
    worker = Worker(seeds, task, examples_of, scenario, prepared.engine)
    with executors.executor(config, worker, workers, tell) as executor:
        yield IdealRounds(task, seeds, executor, records, scenario, central=config.server.aggregation == "central")


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
