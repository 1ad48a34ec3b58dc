"""A simulated federation in Flower's own runtime: Ray workers play the devices, one message at a time.

Every message may find its device in another process, so all that a device remembers travels in Flower's context. For
speed there is `fl-sim`; this is for who has Flower's tools already.
"""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path

from fl_client.connection.flower import NodeContext, client_app
from fl_client.training.models import start_weights
from fl_server.flower.grid_transport import GridTransport, RunConfig, server_app
from fl_server.publishing.publish import Publication
from fl_server.service import ServerDirectory, Settings, train
from privacy.base.files import write_atomically
from privacy.release.files import pack_tensors
from privacy.report.figures import finite
from simulations.config.config import ConfigError, load_config
from simulations.evaluation.metrics import Scorer, evaluate
from simulations.federation.devices import Authorities, DeviceHost, Records
from simulations.runs.run import Prepared, prepare

NODE_WAIT_TIMEOUT_S = 120.0
"""Seconds until as many nodes as devices have to be there."""
_STAGE_TIMEOUT_S = 600.0
_MEMORY = struct.Struct("<qq")
"""Layout of a device's last round and number of participations, which come before its state of the round."""


class SimulatedDevice:
    """A device of the population, number `partition_id`, as its last message left it."""

    def __init__(self, context: NodeContext) -> None:
        prepared = _prepared(str(context.run_config["config"]))
        population = prepared.data.population
        _check_size(population.devices, context.num_partitions)
        self._index = context.partition_id
        self._records = Records.fresh(population.devices)
        host = DeviceHost(prepared.seeds, prepared.task, population.of, prepared.scenario, self._records)
        self._device = host.device(self._index)
        if context.state is not None:
            self._restore(context.state)

    def handle(self, stage: str, request: bytes) -> bytes:
        """Answer a request of a stage."""
        return self._device.handle(stage, request)

    def snapshot(self) -> bytes:
        """Return what the device remembers, then its state of the round; the secrets of a simulation, in the clear."""
        records = self._records
        memory = _MEMORY.pack(records.last_round[self._index], records.participations[self._index])
        return memory + self._device.snapshot()

    def _restore(self, state: bytes) -> None:
        last_round, participations = _MEMORY.unpack_from(state)
        self._records.last_round[self._index] = last_round
        self._records.participations[self._index] = participations
        self._device.resume(state[_MEMORY.size :])


def run_server(transport: GridTransport, config: RunConfig) -> None:
    """Train the configuration `config` on all nodes; leave ledger, model and summary in the directory `out`.

    Raises:
        ConfigError: when the configuration cannot be run, or is for another number of devices.
    """
    prepared = _prepared(str(config["config"]))
    if prepared.task.simulation.fleet is not None:
        raise ConfigError("fleet: a server refuses tasks that extrapolate to one; use `fl-sim run`")
    if prepared.task.simulation.trusted_aggregator:
        raise ConfigError("server.aggregation: a server is trusted with no update; use `fl-sim run` for central")
    if not config["out"]:
        raise ConfigError("out: expected a path in --run-config, got none")
    devices = prepared.data.population.devices
    transport.wait_for_nodes(devices, NODE_WAIT_TIMEOUT_S)
    _check_size(devices, len(transport.nodes()))
    directory = ServerDirectory(Path(str(config["out"])))
    _provision(directory, prepared)
    publication = train(directory, transport)
    summary = _summary(prepared, publication)
    write_atomically(directory.path / "summary.json", json.dumps(summary, indent=2).encode())
    print(f"published {publication.version.name}: AUROC {summary['auroc']:.3f}")


def _check_size(devices: int, nodes: int) -> None:
    if nodes != devices:
        raise ConfigError(f"num-supernodes: expected {devices}, the configuration's number of devices, got {nodes}")


@lru_cache(maxsize=1)
def _prepared(config: str) -> Prepared:
    """Prepare a run, once a process: reading and hashing the data costs more than a round."""
    return prepare(load_config(Path(config) if config else None, {}))


def _provision(directory: ServerDirectory, prepared: Prepared) -> None:
    keys = Authorities(prepared.seeds)
    settings = Settings(
        stage_timeout=_STAGE_TIMEOUT_S,
        devices=prepared.data.population.devices,
        node_wait_timeout=NODE_WAIT_TIMEOUT_S,
    )
    directory.path.mkdir(parents=True)
    directory.operator_key.write_bytes(prepared.seeds.child("operator").key())
    directory.authority.write_text(keys.authority.public.hex())
    directory.revocations.write_bytes(keys.round_authority(prepared.task.population).revocations.encode())
    directory.task.write_bytes(prepared.task.canonical())
    directory.initial.write_bytes(pack_tensors(start_weights(prepared.task), prepared.task.model))
    directory.settings.write_bytes(settings.canonical())


def _summary(prepared: Prepared, publication: Publication) -> dict[str, float | str | None]:
    test, weights = prepared.data.test, publication.version.weights
    scorer = Scorer(prepared.task)
    untrained = evaluate(test.labels, scorer.scores(start_weights(prepared.task), test.features), 0.5)
    trained = evaluate(test.labels, scorer.scores(weights, test.features), 0.5)
    return {
        "auroc_untrained": untrained.auroc,
        "auroc": trained.auroc,
        "device_epsilon": finite(publication.report.claim.epsilon),
        "release": publication.version.name,
    }


server = server_app(run_server)
client = client_app(SimulatedDevice)
