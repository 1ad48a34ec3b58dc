"""One task trained to its end from a directory: what `fl-server` runs, whatever the transport."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError

from fl_server.enrolment.reading import parsed
from fl_server.ledger_store import open_ledger_store
from fl_server.publishing.publish import Publication, publish_model, run_facts
from fl_server.publishing.registry import Registry
from fl_server.training.begun import BegunFile
from fl_server.training.checkpoint import CheckpointFile, RecordLog
from fl_server.training.coordinator import Coordinator, RoundReport
from fl_server.training.round import SecureRounds
from fl_server.training.transport import Transport
from privacy.base.canonical import Frozen
from privacy.base.files import write_atomically
from privacy.base.randomness import SystemRandomness
from privacy.base.signing import Signer
from privacy.ledger.ledger import Ledger
from privacy.release.files import model_digest, unpack_tensors
from privacy.secagg import RoundAuthority
from privacy.secagg.membership.identity import Revocations
from privacy.secagg.server.record import RoundRecord, open_record
from privacy.task.task import ModelSpec, TaskSpec
from strategies.fedavg import FedAvgM, ModelState

_log = logging.getLogger(__name__)
_PACKAGES = ("flwr", "numpy", "cryptography")


class ServiceError(ValueError):
    """A server directory that is incomplete or damaged."""


class Settings(Frozen):
    """How the server runs a task, `settings.json`; nothing that a device's privacy depends on.

    Attributes:
        version: of this file's format; a file of another version is refused.
        stage_timeout: seconds that devices have for each stage.
        devices: how many must be connected before the first round.
        node_wait_timeout: seconds to wait for them.
        ledger: where the ledger is, as `open_ledger_store` takes it; by default a file in the server's directory. A
            password does not belong here, but in PGPASSWORD or ~/.pgpass.
    """

    version: Literal[1] = 1
    stage_timeout: float = Field(gt=0)
    devices: int = Field(ge=2)
    node_wait_timeout: float = Field(gt=0)
    ledger: str = ""


@dataclass(frozen=True)
class ServerDirectory:
    """What the server of one task reads and writes."""

    path: Path

    @property
    def settings(self) -> Path:
        """The operator's `Settings`, in JSON."""
        return self.path / "settings.json"

    @property
    def task(self) -> Path:
        """The one task that this server trains, in canonical JSON."""
        return self.path / "task.json"

    @property
    def initial(self) -> Path:
        """The model before the first round, which the task states the digest of: a release's `model.safetensors`."""
        return self.path / "initial.safetensors"

    @property
    def operator_key(self) -> Path:
        """The seed of the operator's Ed25519 key: 32 secret bytes."""
        return self.path / "operator.key"

    @property
    def authority(self) -> Path:
        """The enrolment authority's Ed25519 public key, in hex."""
        return self.path / "authority.pub"

    @property
    def revocations(self) -> Path:
        """The authority's list of devices that may no longer take part."""
        return self.path / "revocations.bin"

    @property
    def ledger(self) -> Path:
        """The privacy ledger, where the settings name no other."""
        return self.path / "ledger.db"

    @property
    def checkpoint(self) -> Path:
        """The last complete round, from which a restart goes on."""
        return self.path / "checkpoint.safetensors"

    @property
    def begun(self) -> Path:
        """The number of the last round that devices may have heard of."""
        return self.path / "begun.json"

    @property
    def metrics(self) -> Path:
        """The counts of each round, one JSON line a round."""
        return self.path / "metrics.jsonl"

    @property
    def records(self) -> Path:
        """The records that rounds leave for a reviewer, one signed JSON line a round."""
        return self.path / "rounds.jsonl"

    @property
    def release(self) -> Path:
        """The directory of published models."""
        return self.path / "release"

    def read_settings(self) -> Settings:
        """Read how this server runs its task.

        Raises:
            ServiceError: when the settings are missing or not as expected.
        """
        return parsed(self.settings, Settings.model_validate_json, ServiceError)

    def read_task(self) -> TaskSpec:
        """Read the task that this server trains.

        Raises:
            ServiceError: when the task is missing, not as expected, or a simulation's that stands for a fleet or trusts
                an aggregator.
        """
        task = parsed(self.task, TaskSpec.model_validate_json, ServiceError)
        if task.simulation.fleet is not None:
            raise ServiceError(f"{self.task}: expected a task for devices, got one with the noise of a larger fleet")
        if task.simulation.trusted_aggregator:
            raise ServiceError(f"{self.task}: expected a task for devices, got one of a trusted aggregator")
        return task

    def read_initial(self, task: TaskSpec) -> NDArray[np.float32]:
        """Read the model before the first round, float32[d].

        Raises:
            ServiceError: when the file is missing or damaged, or not what the task states.
        """
        weights = parsed(self.initial, lambda data: _unpacked(data, task.model), ServiceError)
        if (digest := model_digest(weights)) != task.initial.digest:
            stated = task.initial.digest[:16]
            raise ServiceError(f"{self.initial}: expected the task's initial model, {stated}, got {digest[:16]}")
        return weights

    def read_operator(self) -> Signer:
        """Read the operator's key.

        Raises:
            ServiceError: when the key is missing or not 32 bytes long.
        """
        return parsed(self.operator_key, Signer.from_seed, ServiceError)

    def read_round_authority(self) -> RoundAuthority:
        """Read all that a round's headers and invitations are signed and checked with.

        Raises:
            ServiceError: when a key or the revocation list is missing or damaged.
        """
        authority = parsed(self.authority, lambda data: bytes.fromhex(data.decode()), ServiceError)
        return RoundAuthority(
            self.read_operator(), authority, parsed(self.revocations, Revocations.decode, ServiceError)
        )

    def lines(self) -> list[dict[str, Any]]:
        """Return the metrics of the rounds so far."""
        text = self.metrics.read_text() if self.metrics.exists() else ""
        return [json.loads(line) for line in text.splitlines()]


def _unpacked(data: bytes, model: ModelSpec) -> NDArray[np.float32]:
    try:
        return unpack_tensors(data, model).astype(np.float32, copy=False)
    except (KeyError, SafetensorError) as error:
        raise ValueError(f"expected the tensors of the task's model, got {error}") from error


def open_ledger(directory: ServerDirectory) -> Ledger:
    """Open the ledger that this server's task is charged to.

    Raises:
        ServiceError: when a file is missing or damaged.
        LedgerStoreError: when the ledger cannot be opened.
        LedgerInvalid: when it is another operator's, population's or budget's, or damaged.
    """
    task, store = directory.read_task(), open_ledger_store(directory.read_settings().ledger or directory.ledger)
    return Ledger(store, directory.read_operator(), task.population, task.budget, _now)


def read_records(directory: ServerDirectory) -> list[RoundRecord]:
    """Read what rounds have left for a reviewer, each record verified to be this operator's.

    Raises:
        ServiceError: when the operator's key is missing or damaged.
        RecordError: when a line is not a record that the operator signed.
        OSError: when there is no log.
    """
    operator = directory.read_operator().public
    return [open_record(line, operator) for line in directory.records.read_bytes().splitlines()]


def train(directory: ServerDirectory, transport: Transport) -> Publication:
    """Run every round that is left, then publish the model.

    Raises:
        ServiceError: when a file is missing or damaged; before anything is asked of a device.
        LedgerStoreError: when the ledger cannot be opened, read or written.
        CoordinatorError: when several rounds in a row end without a release, or one waits for devices for too long.
        LedgerInvalid: when the ledger does not verify.
        NotReleased: when no round released anything; what was published before stays.
        ReportError: when ledger and metrics do not belong together.
        AccountantsDisagree: when no epsilon can be stated.
        ClaimRefuted: when the mechanism's audit refutes it.
    """
    task, settings, operator = directory.read_task(), directory.read_settings(), directory.read_operator()
    initial, ledger = directory.read_initial(task), open_ledger(directory)
    coordinator = Coordinator(
        task=task,
        rounds=SecureRounds(task, directory.read_round_authority, transport, _now, settings.stage_timeout),
        ledger=ledger,
        strategy=FedAvgM.of(task),
        checkpoints=CheckpointFile(directory.checkpoint, task.id),
        begun=BegunFile(directory.begun, task.id),
        records=RecordLog(directory.records, operator),
        randomness_for=lambda _: SystemRandomness(),
        noise_for=lambda _: SystemRandomness(),
        callbacks=_MetricsFile(directory.metrics),
    )
    result = coordinator.run(initial)
    return publish_model(
        Registry(directory.release),
        task=task,
        result=result,
        card={"threshold": 0.5, "threshold_chosen_on": "nothing: the server has no messages"},
        ledger=ledger,
        facts=run_facts(directory.lines(), _PACKAGES),
        operator=operator,
        rng=SystemRandomness(),
    )


class _MetricsFile:
    """The file of metrics: a line a round, without a word about who took part. A round that waits is logged.

    A line of a round that a crash cut off is replaced by what became of it.

    Implements `fl_server.training.coordinator.Callbacks`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def round_waits(self, number: int, reason: str) -> None:
        _log.warning("round %d waits, and is not used up: %s", number, reason)

    def round_ended(self, report: RoundReport, state: ModelState) -> None:  # noqa: ARG002 - nothing to evaluate on
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [line for line in lines if json.loads(line)["round"] < report.round]
        write_atomically(self._path, "".join(f"{line}\n" for line in [*kept, json.dumps(report.line())]).encode())

    def extra_state(self) -> dict[str, NDArray[np.int64]]:
        return {}


def _now() -> int:
    return int(time.time())
