"""Make golden files: what this version of havenfl writes, for every later one to read.

    python -m tests.golden.make tests/golden/v0.2

When: before a release whose formats differ from those of the last directory here. Run it from the root of the checkout
whose formats they are to be, and commit the new directory beside the old ones. Old ones are never changed or removed:
files like them are on the disks of reviewers, devices and operators. `tests/formats/` reads every directory.

All follows from seeds, but for the nonce in a device's memory. Figures that devices train may differ in their last
digits from one processor to another.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fl_client.device.memory import Memory, SeenList, TaskRecord
from fl_client.device.store import FileStore
from fl_server.enrolment.authority import Authority
from fl_server.service import Settings
from privacy.base.signing import Signer
from privacy.ledger.ledger import SignedHead
from privacy.ledger.witness import cosign
from privacy.secagg import Rounds
from privacy.secagg.membership.identity import DevicePolicy, EnrolmentRequest, Revocations
from privacy.secagg.primitives.keys import DeviceKeys
from privacy.task.task import TaskSpec, sign_task
from privacy.verification.evidence import read_ledger
from simulations.federation.devices import Authorities
from simulations.randomness import SeedTree

OPERATOR, AUTHORITY, WITNESS, DEVICE, STORE, STRANGER = (bytes([number]) * 32 for number in range(1, 7))
"""Seeds of test keys."""
POPULATION = "golden"
UNTIL = 4_000_000_000
ROUND = b"the state of a round in progress"
MEMORY = Memory(
    {"ab" * 32: TaskRecord(Rounds(7), 3, (5,)), "cd" * 32: TaskRecord(Rounds(1))},
    revocations={POPULATION: SeenList(2)},
    round=ROUND,
)
SETTINGS = Settings(stage_timeout=30.0, devices=3, node_wait_timeout=60.0)
POLICY = b'{"max_participations":9,"min_corrupt_fraction":0.05,"min_noise_multiplier":0.3,"min_survivors":20}'

_SMALL = "name = 'golden'\nseed = {seed}\n[training]\nbuckets = {buckets}\nsteps = 2\n{training}\n"
_KEPT = ("operator.pub", "authority.pub", "rounds.jsonl")


@dataclass(frozen=True)
class Run:
    """A small simulated run; each is of other kinds of task, charge and record."""

    seed: int
    rest: str
    training: str = ""
    buckets: int = 64
    database: bool = False
    """Whether to keep the ledger as a database as well; JSON lines are smaller."""

    def config(self) -> str:
        return _SMALL.format(seed=self.seed, buckets=self.buckets, training=self.training) + self.rest


RUNS = {
    "secure": Run(
        1,
        "[data]\ndevices = 200\n[server]\nrounds = 3\ncohort = 20\nmin_survivors = 3\n"
        "statistics = ['examples', 'loss']\n[privacy]\ndelta = 1e-3\n[faults]\ndrop_out = { input = 0.05 }\n",
        database=True,
    ),
    "sharded": Run(
        2,
        "[data]\ndevices = 60\n[server]\nrounds = 2\ncohort = 24\nshards = 2\nmin_survivors = 3\n"
        "[privacy]\ndelta = 1e-3\nclip_quantile = 0.5\nparticipation = 'bounded'\nmax_participations = 2\n",
    ),
    "correlated": Run(
        3,
        "[data]\ndevices = 100\n[server]\nrounds = 4\ncohort = 20\naggregation = 'ideal'\n[privacy]\n"
        "noise = 'correlated'\nparticipation = 'bounded'\nmax_participations = 2\nmin_separation = 2\n",
        "architecture = 'word-embedding'\nlength = 8",
        buckets=16,
    ),
    "fleet": Run(
        4,
        "[data]\ndevices = 200\n[server]\nrounds = 3\ncohort = 20\naggregation = 'central'\n[privacy]\ndelta = 1e-7\n"
        "[fleet]\npopulation = 1_000_000\ncohort = 1_000\n",
        "method = 'sgd'\nepochs = 1\nbatch_size = 8",
    ),
}


def make(root: Path) -> None:
    """Write all golden files below a new directory."""
    root.mkdir()
    for name, run in RUNS.items():
        make_run(root / name, run)
    make_witness(root / "secure")
    make_enrolment(root / "enrolment")


def make_run(root: Path, run: Run) -> None:
    """Ledger, release with its report, signed task, and the round log if there is one."""
    with TemporaryDirectory() as temporary:
        config, out = Path(temporary) / "config.toml", Path(temporary) / "run"
        config.write_text(run.config())
        command = ["run", "--config", config, "--out", out, "--workers", "1"]
        subprocess.run([sys.executable, "-m", "simulations", *command], check=True)
        root.mkdir()
        for name in _KEPT:
            if (out / name).exists() and (out / name).stat().st_size:
                shutil.copyfile(out / name, root / name)
        [release] = [path for path in (out / "release").iterdir() if path.is_dir() and not path.is_symlink()]
        shutil.copytree(release, root / "release" / release.name)
        entries, heads = read_ledger(out / "ledger.db")
        if run.database:
            shutil.copyfile(out / "ledger.db", root / "ledger.db")
    (root / "entries.jsonl").write_bytes(b"".join(line + b"\n" for line in entries))
    (root / "heads.jsonl").write_bytes(b"".join(line + b"\n" for line in heads))
    task = TaskSpec.model_validate_json((root / "release" / release.name / "task.json").read_bytes())
    operator = Authorities(SeedTree.root(run.seed)).operator
    assert operator.public.hex() == (root / "operator.pub").read_text().strip()
    (root / "task.signed").write_bytes(sign_task(task, operator))


def make_witness(root: Path) -> None:
    """A witness's checkpoint of that run's ledger, and the witness's public key."""
    head = SignedHead.model_validate_json((root / "heads.jsonl").read_bytes().splitlines()[-1])
    witness, key = Signer.from_seed(WITNESS), bytes.fromhex((root / "operator.pub").read_text())
    checkpoint = cosign(None, head, [], key, witness=witness, time=1_800_000_000)
    (root / "checkpoint.json").write_bytes(checkpoint.canonical())
    (root / "witness.pub").write_text(witness.public.hex() + "\n")


def make_enrolment(root: Path) -> None:
    """The directories of an authority that has revoked a device, of a device that it has enrolled, and of a server."""
    authority, operator = Signer.from_seed(AUTHORITY), Signer.from_seed(OPERATOR)
    own = root / "authority"
    own.mkdir(parents=True)
    (own / "authority.key").write_bytes(AUTHORITY)
    (own / "authority.pub").write_text(authority.public.hex() + "\n")
    (own / "population").write_text(POPULATION + "\n")
    (own / "revocations.bin").write_bytes(Revocations.signed(authority, POPULATION, 1, UNTIL, frozenset()).encode())
    opened, device, keys = Authority.open(own), root / "device", DeviceKeys.from_seed(DEVICE)
    device.mkdir()
    (device / "identity.key").write_bytes(DEVICE)
    (device / "store.key").write_bytes(STORE)
    (device / "enrolment-request.bin").write_bytes(EnrolmentRequest.by(keys).encode())
    opened.enrol([device], operator.public, DevicePolicy.model_validate_json(POLICY), UNTIL)
    (device / "certificate.bin").write_bytes(
        bytes.fromhex(json.loads((device / "enrolment.json").read_bytes())["certificate"])
    )
    FileStore.create(device / "memory.bin", STORE).save(MEMORY)
    opened.revoke(frozenset({DeviceKeys.from_seed(STRANGER).identity.public}), UNTIL)
    make_server(root / "server", own, operator)


def make_server(root: Path, authority: Path, operator: Signer) -> None:
    root.mkdir()
    (root / "operator.key").write_bytes(OPERATOR)
    (root / "operator.pub").write_text(operator.public.hex() + "\n")
    (root / "settings.json").write_bytes(SETTINGS.canonical())
    for name in ("authority.pub", "revocations.bin"):
        shutil.copyfile(authority / name, root / name)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
