"""Every shipped architecture begins as its task states, and learns, over the server's own path to Flower's devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message
from numpy.typing import NDArray

from fl_client.device.device import Device
from fl_client.device.files import DeviceDirectory
from fl_client.device.host import open_device
from fl_client.training.models import initial_model, initial_weights, model_spec, start_weights
from fl_client.training.training import Examples, LocalTrainer
from fl_server.dev.provision import Scale, development_policy, enrol_device, provision_server
from fl_server.flower.grid_transport import GridTransport
from fl_server.publishing import publish
from fl_server.publishing.registry import STABLE
from fl_server.service import ServerDirectory, ServiceError, train
from privacy.base.randomness import Randomness
from privacy.mechanism.mechanism import smallest_modulus, with_modulus
from privacy.release.files import model_digest, pack_tensors
from privacy.secagg import Refused
from privacy.task.states import Update
from privacy.task.task import FeatureSpec, InputSpec, LocalSgd, SequenceSpec, TaskSpec
from simulations.config.config import load_config
from simulations.runs.run import prepare
from tests.support.grids import FakeGrid, body_of, common_of, reply
from tests.support.runs import small_config

SHIPPED: dict[str, InputSpec] = {
    "hashed-linear": FeatureSpec(buckets=256),
    "word-embedding": SequenceSpec(unit="words", vocabulary=64, length=8),
    "character-cnn": SequenceSpec(unit="characters", vocabulary=64, length=16),
}
SEED = 3


def provisioned(path: Path, architecture: str) -> tuple[ServerDirectory, list[Device]]:
    """A server with three devices, for one round of an architecture."""
    server, features = ServerDirectory(path / "server"), SHIPPED[architecture]
    authority = provision_server(server, Scale(3, 1, 30.0))
    changes = {
        "features": features,
        "model": model_spec(architecture, features),
        "initial": initial_model(architecture, features, SEED),
        "training": LocalSgd(epochs=1, batch_size=4, learning_rate=0.5),
    }
    task = TaskSpec.model_validate({**dict(server.read_task()), **changes})
    task = with_modulus(task, smallest_modulus(task))
    server.task.write_bytes(task.canonical())
    server.initial.write_bytes(pack_tensors(initial_weights(architecture, features, SEED), task.model))
    devices = []
    for number in range(3):
        directory = DeviceDirectory.create(path / f"device{number}")
        enrol_device(directory.path, server, authority)
        devices.append(open_device(directory))
    assert development_policy(task).min_noise_multiplier == task.mechanism.noise_multiplier
    return server, devices


def flower(devices: list[Device]) -> GridTransport:
    def node(device: Device):  # type: ignore[no-untyped-def]
        def answer(message: Message) -> list[Message]:
            stage = message.metadata.message_type.removeprefix("train.")
            try:
                return [reply(message, device.handle(stage, body_of(message) + common_of(message)))]
            except Refused as error:
                return [Message(Error(2, str(error)), reply_to=message)]

        return answer

    return GridTransport(FakeGrid({number: node(device) for number, device in enumerate(devices)}), poll_interval=0.01)


@pytest.mark.parametrize("architecture", SHIPPED)
def test_it_begins_as_stated_and_every_parameter_moves(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, devices = provisioned(tmp_path, architecture)
    seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    whole = LocalTrainer.train

    def watched(self: LocalTrainer, weights: NDArray[np.float32], examples: Examples, rng: Randomness) -> Update:
        update = whole(self, weights, examples, rng)
        seen.append((weights.copy(), update.delta))
        return update

    monkeypatch.setattr(LocalTrainer, "train", watched)
    monkeypatch.setattr(publish, "audit_release", lambda task, rng: ())  # noqa: ARG005 - takes longer than all the rest
    publication = train(server, flower(devices))
    task, start = server.read_task(), initial_weights(architecture, SHIPPED[architecture], SEED)
    assert len(seen) == 3
    ends = np.cumsum([parameter.size for parameter in task.model.parameters])[:-1]
    for weights, delta in seen:
        assert weights.tobytes() == start.tobytes()
        assert all(part.any() for part in np.split(delta, ends)), "a parameter that does not learn"
    assert publication.rounds_released == 1
    assert (server.release / STABLE).exists()


def test_devices_refuse_a_first_round_that_begins_with_another_model(tmp_path: Path) -> None:
    server, devices = provisioned(tmp_path, "hashed-linear")
    task = server.read_task()
    other = np.ones(task.model.dimension, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServerDirectory, "read_initial", lambda self, task: other)  # noqa: ARG005
        with pytest.raises(publish.NotReleased):
            train(server, flower(devices))
    (line,) = server.lines()
    assert line["aborted"]
    assert "another model than the task's" in str(line["refusals"])


@pytest.mark.parametrize("change", ["another", "damaged", "missing", "of another layout"])
def test_a_server_begins_with_nothing_but_the_model_of_its_task(change: str, tmp_path: Path) -> None:
    server, devices = provisioned(tmp_path, "hashed-linear")
    task = server.read_task()
    if change == "another":
        server.initial.write_bytes(pack_tensors(np.ones(task.model.dimension, np.float32), task.model))
    elif change == "damaged":
        server.initial.write_bytes(server.initial.read_bytes()[:-4])
    elif change == "missing":
        server.initial.unlink()
    else:
        words = model_spec("word-embedding", SHIPPED["word-embedding"])
        server.initial.write_bytes(pack_tensors(np.zeros(words.dimension, np.float32), words))
    with pytest.raises(ServiceError, match=r"initial\.safetensors: "):
        train(server, flower(devices))
    assert not server.ledger.exists()


@pytest.mark.parametrize("architecture", SHIPPED)
def test_the_first_bytes_are_the_same_in_a_simulation_and_on_a_server(architecture: str, tmp_path: Path) -> None:
    changes = {"training.architecture": architecture}
    prepared = prepare(load_config(small_config(tmp_path), changes))
    start, server = start_weights(prepared.task), ServerDirectory(tmp_path)
    assert model_digest(start) == prepared.task.initial.digest
    server.initial.write_bytes(pack_tensors(start, prepared.task.model))
    assert server.read_initial(prepared.task).tobytes() == start.tobytes()
    assert start.any() == (architecture != "hashed-linear")
