"""From a device's directory to a device that can train."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fl_client.device import Device, Train
from fl_client.files import DeviceDirectory
from fl_client.inputs import encode_texts
from fl_client.store import FileStore
from fl_client.training import Examples, LocalTrainer
from privacy.randomness import Randomness, SystemRandomness
from privacy.states import Update
from privacy.task import InputSpec, TaskSpec


def open_device(directory: DeviceDirectory) -> Device:
    """The device, ready to answer. It reads its messages now, and trains on these until it is opened again.

    Raises:
        DeviceFilesError: when a file is missing or damaged.
        StoreError: when the device's memory is damaged or sealed under another key.
    """
    enrolment = directory.enrolment()
    return Device(
        keys=directory.keys(),
        certificate=enrolment.issued,
        trust=enrolment.trust,
        store=FileStore(directory.memory, directory.store_key()),
        train=_local_training(directory.messages()),
        randomness_for=_system_randomness,
        clock=lambda: int(time.time()),
    )


def _local_training(messages: list[tuple[str, int]]) -> Train:
    """Training on these messages; with a trainer of its own, for the devices of one host run in threads."""
    labels = np.array([label for _, label in messages], np.float32)
    trainer = lru_cache(maxsize=1)(LocalTrainer)

    @lru_cache(maxsize=1)
    def examples(features: InputSpec) -> Examples:
        return Examples(encode_texts(features, [text for text, _ in messages]), labels)

    def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:
        return trainer(task).train(weights, examples(task.features), rng)

    return train


def _system_randomness(stage: str, request: bytes) -> Randomness:  # noqa: ARG001 - fresh for every request
    return SystemRandomness()
