"""Flower's own simulation of task T: plain federated averaging with central Gaussian noise, its clients in a Ray actor.

Every client makes its examples once, trains one epoch of batches of 16, and answers with its parameters as one array;
the server averages the clipped differences and adds noise. Ray has one CPU, so one actor, and no dashboard.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterable
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation
from processes import tree_seconds
from simulation_tasks import SGD, devices_of, task_of
from threadpoolctl import threadpool_limits
from torch import nn

from fl_client.training.models import build, initial_weights, load_flat, to_flat
from simulations.executors.cluster import settle

_ONE_CORE: dict[str, dict[str, Any]] = {
    "client_resources": {"num_cpus": 1, "num_gpus": 0},
    "init_args": {"num_cpus": 1, "_node_ip_address": "127.0.0.1", "log_to_driver": False},
}
_TIMEOUT_S = 900.0
"""Seconds for all nodes to join, and for a round."""
_EXIT_TIMEOUT_S = 30.0
_TASK = task_of("T", SGD)


class FlowerPeer:
    """Rounds of `cohort` of `nodes` nodes, in a process of its own that waits between them."""

    def __init__(self, nodes: int, cohort: int) -> None:
        settle()
        os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_simulate, args=(theirs, nodes, cohort))
        self._process.start()
        theirs.close()

    def __enter__(self) -> FlowerPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._line.close()
        self._process.join(_EXIT_TIMEOUT_S)
        self._process.kill()

    def round(self) -> float:
        """CPU seconds of one more round, of all processes: server, nodes' queue, Ray's own (raylet, GCS), clients.

        Raises:
            RuntimeError: when the simulation has ended.
        """
        try:
            before = self._spent()
            self._line.send(None)
            self._line.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError("Flower's simulation ended; its log says why") from error
        return self._spent() - before

    def _spent(self) -> float:
        return tree_seconds(self._process.pid or 0)


def _simulate(line: Connection, nodes: int, cohort: int) -> None:
    """The life of the peer's process."""
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    client, server = ClientApp(), ServerApp()
    client.train()(_train)
    server.main()(partial(_serve, line, nodes, cohort))
    with threadpool_limits(1):
        run_simulation(server, client, num_supernodes=nodes, backend_config=_ONE_CORE)


def _serve(line: Connection, nodes: int, cohort: int, grid: Grid, context: Context) -> None:  # noqa: ARG001
    """A round whenever the line asks for one, until it is closed."""
    weights = torch.from_numpy(initial_weights(_TASK.model.architecture, _TASK.features, seed=1))
    source, present = np.random.default_rng(1), _joined(grid, nodes)
    while _asked(line):
        chosen, model = source.choice(nodes, cohort, replace=False), _record(weights)
        asked = [Message(model, present[place], "train") for place in chosen]
        replies = grid.send_and_receive(asked, timeout=_TIMEOUT_S)
        weights = weights + _noised_sum(weights, replies, cohort) / cohort
        line.send(None)


def _joined(grid: Grid, nodes: int) -> list[int]:
    """The numbers of all nodes, which join while the simulation starts."""
    deadline = time.monotonic() + _TIMEOUT_S
    while len(present := sorted(grid.get_node_ids())) < nodes:
        if time.monotonic() > deadline:
            raise RuntimeError(f"expected {nodes} nodes, got {len(present)}")
        time.sleep(0.5)
    return present


def _asked(line: Connection) -> bool:
    try:
        line.recv()
    except EOFError:
        return False
    return True


def _noised_sum(weights: torch.Tensor, replies: Iterable[Message], cohort: int) -> torch.Tensor:
    clip, answered = _TASK.mechanism.clip, 0
    total = torch.randn_like(weights) * clip * _TASK.mechanism.noise_multiplier
    for reply in replies:
        if not reply.has_content():
            raise RuntimeError(f"a client failed: {reply.error.reason}")
        delta = _flat(reply) - weights
        total += delta * min(1.0, clip / float(delta.norm()))
        answered += 1
    if answered != cohort:
        raise RuntimeError(f"expected {cohort} answers, got {answered}")
    return total


def _train(message: Message, context: Context) -> Message:
    """One epoch of a client."""
    inputs, labels = _examples(int(context.node_config["num-partitions"]))[int(context.node_config["partition-id"])]
    module = _module()
    load_flat(module, _flat(message))
    optimizer = torch.optim.SGD(module.parameters(), SGD.learning_rate)
    for batch in torch.split(torch.randperm(len(labels)), SGD.batch_size):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(module(inputs[batch]).squeeze(1), labels[batch])
        torch.autograd.backward(loss)
        optimizer.step()
    return Message(_record(to_flat(module)), reply_to=message)


@lru_cache(maxsize=1)
def _examples(nodes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Make every node's examples as tensors, once a process."""
    devices = devices_of("T", 20, 60, nodes)
    return [(torch.from_numpy(device.features.dense()), torch.from_numpy(device.labels)) for device in devices]


@lru_cache(maxsize=1)
def _module() -> nn.Module:
    torch.set_num_threads(1)
    return build(_TASK.model.architecture, _TASK.features)


def _record(flat: torch.Tensor) -> RecordDict:
    return RecordDict({"weights": ArrayRecord({"flat": flat})})


def _flat(message: Message) -> torch.Tensor:
    return message.content.array_records["weights"].to_torch_state_dict()["flat"]
