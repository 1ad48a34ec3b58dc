"""The peer of secure aggregation: Flower's own SecAgg+, its device mod and its server workflow, without a network.

Everybody shares with everybody (num_shares=1.0), any majority recovers a secret, the modulus is 2^bits, all devices
weigh the same. Transport, storing state between stages and summing the uploads are left out, in Flower's favour.
Its masks are MT19937 streams under seeds folded to 32 bits: cheaper than AES, and no match for it.
"""

from __future__ import annotations

import logging
import math
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Generic, ParamSpec, TypeVar, cast
from unittest.mock import patch

import flwr.server.workflow.secure_aggregation.secaggplus_workflow as workflow
import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.message_type import MessageType
from flwr.client.mod.secure_aggregation.secaggplus_mod import (
    SecAggPlusState,
    _collect_masked_vectors,
    _setup,
    _share_keys,
    _unmask,
)
from flwr.common import ndarray_to_bytes, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import encrypt
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen, share_keys_plaintext_concat
from flwr.server.compat.legacy_context import LegacyContext
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, Key as WorkflowKey
from flwr.serverapp.grid import Grid
from flwr.supercore.task_identity import TaskIdentity
from measure import cpu

P = ParamSpec("P")
T = TypeVar("T")

_CLIPPING_RANGE = 1.0


def device_seconds(*, clients: int, dimension: int, bits: int) -> float:
    """CPU seconds of one device's round: keys, shares, masked float32 update, share reply; its training excluded.

    Raises:
        ValueError: when 2^bits cannot hold the sum.
    """
    device, peers = SecAggPlusState(nid=0), [_new_device(nid, clients, bits) for nid in range(1, clients)]
    update = ndarrays_to_parameters([np.random.default_rng(0).normal(0, 0.1, dimension).astype(np.float32)])
    setup, _ = cpu(lambda: _setup(device, _setup_configs(clients, bits)))
    roster = ConfigRecord({str(state.nid): [state.pk1, state.pk2] for state in [device, *peers]})
    share, _ = cpu(lambda: _share_keys(device, roster))
    inbox = _shares_from_peers(device)
    collect, _ = cpu(lambda: _collect_masked_vectors(device, inbox, 1, update))
    survivors = ConfigRecord({Key.ACTIVE_NODE_ID_LIST: list(range(clients)), Key.DEAD_NODE_ID_LIST: []})
    unmask, _ = cpu(lambda: _unmask(device, survivors))
    return setup + share + collect + unmask


def upload_bytes(dimension: int) -> int:
    """Bytes of a masked vector as Flower serialises it: the weight and the coordinates, 64 bits each at any modulus."""
    return sum(len(ndarray_to_bytes(np.zeros(size, np.int64))) for size in (1, dimension))


def masks_to_remove(*, clients: int, dropouts: int) -> int:
    """Masks that Flower's server regenerates: a private one per survivor, and per drop-out one with everybody else."""
    return clients - dropouts + dropouts * (clients - 1)


def server_seconds(*, clients: int, dimension: int, bits: int, dropouts: int, masks_measured: int | None) -> float:
    """CPU seconds of the server's unmask stage: recover secrets, remove masks, dequantise.

    With `masks_measured`, an extrapolation: only so many masks are generated and one secret of each kind (a survivor's
    seed, a drop-out's key) recovered; the others count at their median. All other steps run in full. None runs all.

    Raises:
        ValueError: when masks_measured is not positive, too many devices drop out for a majority to remain, or 2^bits
            cannot hold the sum.
    """
    if masks_measured is not None and masks_measured < 1:
        raise ValueError(f"masks_measured: expected at least 1 or None, got {masks_measured}")
    if not 0 <= dropouts <= clients - _threshold(clients):
        raise ValueError(f"dropouts: expected 0 to {clients - _threshold(clients)} of {clients}, got {dropouts}")
    masks = _Sampled(pseudo_rand_gen, masks_measured or math.inf, kind=lambda *_: None)
    secrets = _Sampled(combine_shares, 1 if masks_measured else math.inf, kind=lambda share_list: len(share_list[0]))
    context, replies = _context(), _replies(clients, dropouts)
    state = _before_unmasking(clients, dimension, bits, dropouts)
    grid = cast(Grid, SimpleNamespace(send_and_receive=lambda *_, **__: replies))
    stage = workflow.SecAggPlusWorkflow(1.0, _threshold(clients) / clients).unmask_stage
    with patch.object(workflow, "pseudo_rand_gen", masks), patch.object(workflow, "combine_shares", secrets):
        seconds, finished = cpu(lambda: stage(grid, context, state))
    if not finished:
        raise RuntimeError("Flower's unmask stage gave up; its log says why")
    return seconds + masks.seconds_saved + secrets.seconds_saved


class _Sampled(Generic[P, T]):
    """Runs a function `limit` times for each kind of call; then it repeats the kind's last result and counts."""

    def __init__(self, function: Callable[P, T], limit: float, kind: Callable[P, Hashable]) -> None:
        self._function, self._limit, self._kind = function, limit, kind
        self._seconds: defaultdict[Hashable, list[float]] = defaultdict(list)
        self._last: dict[Hashable, T] = {}
        self._saved: Counter[Hashable] = Counter()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        kind = self._kind(*args, **kwargs)
        if len(self._seconds[kind]) < self._limit:
            seconds, self._last[kind] = cpu(lambda: self._function(*args, **kwargs))
            self._seconds[kind].append(seconds)
        else:
            self._saved[kind] += 1
        return self._last[kind]

    @property
    def seconds_saved(self) -> float:
        return sum(calls * statistics.median(self._seconds[kind]) for kind, calls in self._saved.items())


def _threshold(clients: int) -> int:
    return clients // 2 + 1


def _levels(clients: int, bits: int) -> int:
    """The finest quantisation whose sum over all devices still fits the modulus."""
    levels = ((1 << bits) - 1) // clients
    if levels < 1:
        raise ValueError(f"bits: expected a modulus that holds a sum over {clients} devices, got {bits} bits")
    return levels


def _setup_configs(clients: int, bits: int) -> ConfigRecord:
    return ConfigRecord(
        {
            Key.SAMPLE_NUMBER: clients,
            Key.SHARE_NUMBER: clients,
            Key.THRESHOLD: _threshold(clients),
            Key.CLIPPING_RANGE: _CLIPPING_RANGE,
            Key.TARGET_RANGE: _levels(clients, bits),
            Key.MOD_RANGE: 2**bits,
            Key.MAX_WEIGHT: 1.0,
        }
    )


def _shares_from_peers(device: SecAggPlusState) -> ConfigRecord:
    """What the other devices would send: packets of their true size and keys, holding copies of the device's shares."""
    seed_share, key_share = device.rd_seed_share_dict[device.nid], device.sk1_share_dict[device.nid]
    packets = {
        nid: encrypt(key, share_keys_plaintext_concat(nid, device.nid, seed_share, key_share))
        for nid, key in device.ss2_dict.items()
    }
    return ConfigRecord({Key.SOURCE_LIST: list(packets), Key.CIPHERTEXT_LIST: list(packets.values())})


def _before_unmasking(clients: int, dimension: int, bits: int, dropouts: int) -> workflow.WorkflowState:
    """The server once the uploads are in. The first devices dropped out; the sum is noise, which costs the same."""
    everybody, rng = range(clients), np.random.default_rng(0)
    return workflow.WorkflowState(
        sampled_node_ids=set(everybody),
        active_node_ids=set(everybody[dropouts:]),
        num_shares=clients,
        threshold=_threshold(clients),
        clipping_range=_CLIPPING_RANGE,
        quantization_range=_levels(clients, bits),
        mod_range=2**bits,
        nid_to_neighbours={nid: set(everybody) for nid in everybody},
        nid_to_publickeys={nid: [_new_device(nid, clients, bits).pk1] for nid in everybody},
        aggregate_ndarrays=[rng.integers(1, 2**bits, size) for size in (1, dimension)],
    )


def _new_device(nid: int, clients: int, bits: int) -> SecAggPlusState:
    device = SecAggPlusState(nid=nid)
    _setup(device, _setup_configs(clients, bits))
    return device


def _replies(clients: int, dropouts: int) -> list[Message]:
    """The survivors' shares. All survivors have one seed and all drop-outs one key: recovery costs the same."""
    seeds = create_shares(os.urandom(32), _threshold(clients), clients)
    keys = create_shares(_new_device(0, clients, 32).sk1, _threshold(clients), clients)
    holders = range(dropouts, clients)
    return [_reply(nid, [keys[nid]] * dropouts + [seeds[nid]] * len(holders)) for nid in holders]


def _reply(nid: int, shares: list[bytes]) -> Message:
    request = Message(RecordDict(), dst_node_id=nid, message_type=MessageType.TRAIN)
    content = ConfigRecord({Key.NODE_ID_LIST: list(range(len(shares))), Key.SHARE_LIST: shares})
    return Message(RecordDict({RECORD_KEY_CONFIGS: content}), reply_to=request)


def _context() -> LegacyContext:
    """What the workflow wants around a stage; FedAvg gets no results, so nothing is aggregated twice."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    records = RecordDict({MAIN_CONFIGS_RECORD: ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})})
    return LegacyContext(Context(run_id=0, node_id=0, node_config={}, state=records, run_config={}))
