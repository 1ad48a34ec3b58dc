"""From a device's directory to a device that can train."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fl_client.device.device import Device, Train
from fl_client.device.files import DeviceDirectory
from fl_client.device.store import FileStore
from fl_client.training.training import Examples, LocalTrainer
from privacy.base.randomness import Randomness, SystemRandomness
from privacy.features.encoding import encode_texts
from privacy.task.states import Update
from privacy.task.task import InputSpec, TaskSpec

Messages = Sequence[tuple[str, int]]
"""Text and label, 0 or 1, of every message on a device."""


def open_device(directory: DeviceDirectory, messages_of: Callable[[], Messages] | None = None) -> Device:
    """Open a device that is ready to answer.

    Args:
        directory: the device's keys, enrolment and memory.
        messages_of: asked for the device's messages in every round that it trains in, in the thread that handles the
            request. By default they are those of `messages.csv`, read now.

    Raises:
        DeviceFilesError: when a file is missing or damaged.
        StoreError: when the device's memory is missing, damaged, sealed under another key or written by a newer
            version.
    """
    enrolment = directory.enrolment()
    return Device(
        keys=directory.keys(),
        certificate=enrolment.issued,
        trust=enrolment.trust,
        store=FileStore(directory.memory, directory.store_key()),
        train=_local_training(messages_of or _always(directory.messages())),
        randomness_for=_system_randomness,
        clock=lambda: int(time.time()),
    )


def _always(messages: Messages) -> Callable[[], Messages]:
    return lambda: messages


def _local_training(messages_of: Callable[[], Messages]) -> Train:
    """Return training on these messages, with a trainer of its own: the devices of one host run in threads."""
    trainer, examples = lru_cache(maxsize=1)(LocalTrainer), lru_cache(maxsize=1)(_examples)

    def train(task: TaskSpec, weights: NDArray[np.float32], rng: Randomness) -> Update:
        return trainer(task).train(weights, examples(task.features, tuple(messages_of())), rng)

    return train


def _examples(features: InputSpec, messages: tuple[tuple[str, int], ...]) -> Examples:
    labels = np.array([label for _, label in messages], np.float32)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("messages_of: expected labels 0 or 1")  # without the label: this text may reach a log
    return Examples(encode_texts(features, [text for text, _ in messages]), labels)


def _system_randomness(stage: str, request: bytes) -> Randomness:  # noqa: ARG001 - fresh for every request
    return SystemRandomness()
