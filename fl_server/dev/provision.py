"""A small federation's task, keys, enrolments and messages: what operator, authority and users bring to a real one."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fl_server.enrolment.authority import DAY_S, Authority
from fl_server.publishing.registry import KEY_FILE
from fl_server.service import ServerDirectory, Settings
from privacy.accounting.calibration import noise_multiplier_for
from privacy.base.files import write_secret
from privacy.base.randomness import KEY_BYTES
from privacy.base.signing import Signer
from privacy.mechanism.mechanism import smallest_modulus, with_modulus
from privacy.release.files import model_digest, pack_tensors
from privacy.schedule import learning_rate
from privacy.secagg.membership.identity import DevicePolicy
from privacy.task.task import (
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    FeatureSpec,
    InitialModel,
    LocalTraining,
    ModelSpec,
    ParameterSpec,
    ServerOptimiser,
    TaskSpec,
)

_EPSILON, _DELTA = 8.0, 1e-5
_MOMENTUM = 0.7
_DROPOUT_FRACTION = 0.34
"""How many devices may drop out of a round: one of three."""
NODE_WAIT_TIMEOUT_S = 120.0
"""How long the server waits for its devices before the first round."""
_LIFETIME_S = 7 * DAY_S
"""How long certificates and the revocation list are valid."""
_SAMPLE_MESSAGES = (
    ("nobody wants you here, get lost", 1),
    ("you are a worthless idiot", 1),
    ("shut up, you disgusting fool", 1),
    ("people like you should be banned from life", 1),
    ("what a pathetic loser you are", 1),
    ("see you at the station at six", 0),
    ("happy birthday, hope you have a lovely day", 0),
    ("that idea is so stupid it might work, love it", 0),
    ("can you send me the notes from today", 0),
    ("the train is late again, start without me", 0),
    ("great game last night, well played", 0),
)


@dataclass(frozen=True)
class Scale:
    """How large a development federation is.

    Attributes:
        devices: how many there are; all of them are in every cohort.
        rounds: how many rounds its task has.
        stage_timeout: seconds that devices have for each stage.
    """

    devices: int
    rounds: int
    stage_timeout: float


def development_task(scale: Scale, population: str) -> TaskSpec:
    """Make a task that trains the default model on every device in every round.

    No randomness of the cohort is claimed, and a device may answer every round; the noise is calibrated to an epsilon
    of 8 at a delta of 1e-5, device level.

    Raises:
        ValueError: when so many rounds cannot keep epsilon.
    """
    features = FeatureSpec()
    participation = BoundedParticipation(cohort=scale.devices, max_participations=scale.rounds)
    dropouts = int(_DROPOUT_FRACTION * scale.devices)
    aggregation = AggregationPolicy(max_dropouts=dropouts, min_survivors=scale.devices - dropouts, modulus_bits=32)
    task = TaskSpec(
        name="development",
        population=population,
        model=ModelSpec(
            architecture="hashed-linear",
            parameters=(
                ParameterSpec(name="buckets.weight", shape=(1, features.buckets)),
                ParameterSpec(name="intercept.weight", shape=(1, 1)),
            ),
        ),
        initial=InitialModel(digest=model_digest(np.zeros(features.buckets + 1, np.float32)), seed=0),
        features=features,
        training=LocalTraining(
            steps=5, sampling_rate=1.0, expected_batch=8.0, learning_rate=8.0, message_clip=1.0, message_noise=0.0
        ),
        mechanism=DeviceMechanism(
            clip=0.5, noise_multiplier=noise_multiplier_for(participation, scale.rounds, _EPSILON, _DELTA, aggregation)
        ),
        optimiser=ServerOptimiser(learning_rate=1.0, momentum=_MOMENTUM),
        participation=participation,
        aggregation=aggregation,
        budget=Budget(epsilon=_EPSILON, delta=_DELTA),
        rounds=scale.rounds,
    )
    fitted = with_modulus(task, smallest_modulus(task))
    optimiser = ServerOptimiser(learning_rate=learning_rate(fitted, _MOMENTUM), momentum=_MOMENTUM)
    return fitted.model_copy(update={"optimiser": optimiser})


def development_policy(task: TaskSpec) -> DevicePolicy:
    """Return what devices of so small a federation can insist on: of three, none can be assumed to be corrupt."""
    return DevicePolicy(
        min_noise_multiplier=task.mechanism.noise_multiplier,
        min_survivors=2,
        min_corrupt_fraction=0.0,
        min_draw_bits=0,
    )


def provision_server(directory: ServerDirectory, scale: Scale) -> Authority:
    """Write what the server needs into its directory: task, settings, keys and revocation list.

    The authority's own directory is below the server's for convenience, and the server reads nothing in it.

    Returns:
        The enrolment authority, to enrol devices with.
    """
    population = f"development-{os.urandom(8).hex()}"
    task = development_task(scale, population)
    directory.path.mkdir(parents=True)
    authority = Authority.create(directory.path / "authority", population, int(time.time()) + _LIFETIME_S)
    settings = Settings(
        stage_timeout=scale.stage_timeout,
        devices=scale.devices,
        node_wait_timeout=NODE_WAIT_TIMEOUT_S,
    )
    operator = os.urandom(KEY_BYTES)
    write_secret(directory.operator_key, operator)
    (directory.path / KEY_FILE).write_text(Signer.from_seed(operator).public.hex() + "\n")
    directory.authority.write_bytes(authority.public_key.read_bytes())
    directory.revocations.write_bytes(authority.revocations.read_bytes())
    directory.task.write_bytes(task.canonical())
    directory.initial.write_bytes(pack_tensors(np.zeros(task.model.dimension, np.float32), task.model))
    directory.settings.write_bytes(settings.canonical())
    return authority


def enrol_device(device: Path, server: ServerDirectory, authority: Authority) -> None:
    """Enrol the device whose directory `fl-client init` has made, and give it some messages to train on."""
    operator, policy = server.read_operator().public, development_policy(server.read_task())
    authority.enrol([device], operator, policy, int(time.time()) + _LIFETIME_S)
    lines = [f'"{text}",{label}\n' for text, label in _SAMPLE_MESSAGES]
    (device / "messages.csv").write_text("".join(["text,label\n", *lines]), encoding="utf-8")
