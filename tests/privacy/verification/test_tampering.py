"""Whatever is changed in ledger, report, release or log, by an outsider or by the signer, a reviewer sees it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings, strategies as st
from safetensors.numpy import load, save
from typer.testing import CliRunner

from privacy.base.canonical import canonical_json
from privacy.base.signing import Signer
from privacy.cli.app import app
from privacy.ledger.ledger import SignedHead
from privacy.ledger.merkle import Frontier, leaf_hash
from simulations.federation.devices import Authorities
from simulations.randomness import SeedTree

OPERATOR = Authorities(SeedTree.root(11)).operator
STRANGER = Signer.from_seed(b"\x09" * 32)
LEDGER, WITNESS = "ledger: signed, chained and whole", "ledger: continues what a witness saw"
PLANNED = "ledger: charged what the task says"
REPORT = "report: all that follows from task, ledger and log, recomputed"
TOLD = "report: attacks are told as their figures say"
ABOUT, SIGNED = "report: is about this ledger", "release: signed by the operator, every file whole"
PAID = "release: its model was charged"
OWN = "report: is the release's own"
HELD = "report: attacks were held against the task's own claim"


@dataclass
class Case:
    """A copy of an honest run, witnessed; and what a forger needs."""

    run: Path
    options: dict[str, str] = field(default_factory=dict)

    @property
    def release(self) -> Path:
        return (self.run / "release" / "stable").resolve()

    def verify(self) -> Result:
        given = {
            "--ledger": str(self.run / "ledger.db"),
            "--operator": OPERATOR.public.hex(),
            "--authority": str(self.run / "authority.pub"),
            "--release": str(self.release),
            "--log": str(self.run / "rounds.jsonl"),
            "--checkpoint": str(self.run / "checkpoint.json"),
            "--witness": str(self.run / "witness.key.pub"),
            **self.options,
        }
        return CliRunner().invoke(app, ["verify", *(part for pair in given.items() for part in pair), "--json"])

    def failed(self) -> list[str]:
        result = self.verify()
        if result.exit_code == 2:
            return [result.stderr]
        return [check["name"] for check in json.loads(result.stdout)["checks"] if check["passed"] is False]

    def witness(self) -> Result:
        names = {"--ledger": "ledger.db", "--key": "witness.key", "--checkpoint": "checkpoint.json"}
        parts = [part for option, name in names.items() for part in (option, str(self.run / name))]
        return CliRunner().invoke(app, ["witness", *parts, "--operator", OPERATOR.public.hex()])

    def rows(self) -> list[tuple[int, bytes, bytes]]:
        with closing(sqlite3.connect(self.run / "ledger.db")) as connection:
            return connection.execute("SELECT seq, entry, head FROM ledger_entries ORDER BY seq").fetchall()

    def write(self, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
        with closing(sqlite3.connect(self.run / "ledger.db")) as connection, connection:
            for trigger in ("update", "delete"):
                connection.execute(f"DROP TRIGGER IF EXISTS ledger_no_{trigger}")
            connection.execute("DELETE FROM ledger_entries")
            connection.executemany("INSERT INTO ledger_entries (seq, entry, head) VALUES (?, ?, ?)", rows)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(entry)["body"] for _, entry, _ in self.rows()]

    def rebuild(self, bodies: Sequence[dict[str, Any]], signer: Signer = OPERATOR) -> None:
        """The whole chain anew, rightly hashed and signed: what an insider can do. `CHARGE n` names the nth charge."""
        rows, charges, previous, frontier = [], [], "0" * 64, Frontier()
        for seq, body in enumerate(bodies):
            named = body.get("charge_hash", "")
            paid = {"charge_hash": charges[int(named.split()[1])]} if named.startswith("CHARGE") else {}
            raw = canonical_json({"seq": seq, "previous": previous, "time": 0, "body": {**body, **paid}})
            leaf = leaf_hash(raw)
            previous = leaf.hex()
            frontier.append(leaf)
            charges += [previous] if body["kind"] == "charge" else []
            rows.append((seq, raw, SignedHead.of(frontier.size, frontier.root(), signer).canonical()))
        self.write(rows)

    def numbered(self) -> list[dict[str, Any]]:
        """The honest bodies, settlements naming their charge by number."""
        hashes = [leaf_hash(entry).hex() for _, entry, _ in self.rows() if b'"kind":"charge"' in entry]
        return [
            {**body, "charge_hash": f"CHARGE {hashes.index(body['charge_hash'])}"} if "charge_hash" in body else body
            for body in self.bodies()
        ]

    def edit_json(self, name: str, change: Callable[[Any], None]) -> None:
        path = self.run / name
        document = json.loads(path.read_bytes())
        change(document)
        path.write_bytes(canonical_json(document))


@pytest.fixture(scope="module")
def witnessed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the witness's memory as of the end of the run."""
    path = Path(shutil.copytree(finished, tmp_path_factory.mktemp("witnessed") / "run", symlinks=True))
    assert CliRunner().invoke(app, ["keys", "new", str(path / "witness.key")]).exit_code == 0
    assert Case(path).witness().exit_code == 0
    return path


@pytest.fixture
def case(witnessed: Path, tmp_path: Path) -> Case:
    return Case(Path(shutil.copytree(witnessed, tmp_path / "run", symlinks=True)))


def test_nothing_is_wrong_with_an_honest_run(case: Case) -> None:
    assert case.failed() == []
    assert case.verify().exit_code == 0


# By an outsider, who has no key.


@pytest.mark.parametrize("name", ["report.json", "model.safetensors", "task.json", "card.json", "statement.dsse.json"])
@given(data=st.data())
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_one_byte_of_a_release(case: Case, name: str, data: st.DataObject) -> None:
    path = case.release / name
    honest = path.read_bytes()
    place, flip = data.draw(st.integers(0, len(honest) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(honest[:place] + bytes([honest[place] ^ flip]) + honest[place + 1 :])
    try:
        assert case.failed()
    finally:
        path.write_bytes(honest)


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_one_byte_of_the_ledger(case: Case, data: st.DataObject) -> None:
    honest = case.rows()
    seq = data.draw(st.integers(0, len(honest) - 1))
    entry = honest[seq][1]
    place, flip = data.draw(st.integers(0, len(entry) - 1)), data.draw(st.integers(1, 255))
    changed = entry[:place] + bytes([entry[place] ^ flip]) + entry[place + 1 :]
    case.write([(number, changed if number == seq else raw, head) for number, raw, head in honest])
    assert LEDGER in case.failed()


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_one_byte_of_the_log(case: Case, data: st.DataObject) -> None:
    path = case.run / "rounds.jsonl"
    honest = path.read_bytes()
    place, flip = data.draw(st.integers(0, len(honest) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(honest[:place] + bytes([honest[place] ^ flip]) + honest[place + 1 :])
    try:
        assert case.failed()
    finally:
        path.write_bytes(honest)


def renumbered(rows: Sequence[tuple[int, bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    return [(seq, entry, head) for seq, (_, entry, head) in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda rows: renumbered([*rows[:2], *rows[3:]]), LEDGER),
        (lambda rows: renumbered([*rows[:2], rows[3], rows[2], *rows[4:]]), LEDGER),
        (lambda rows: renumbered([*rows[:3], rows[1], *rows[3:]]), LEDGER),
        (lambda rows: renumbered([*rows, rows[-1]]), LEDGER),
        (lambda rows: rows[:-1], WITNESS),
        (lambda rows: rows[:-2], ABOUT),
        (lambda rows: [(seq, entry.replace(b":", b": ", 1), head) for seq, entry, head in rows], LEDGER),
        (lambda rows: [*rows[:-1], (rows[-1][0], rows[-1][1], rows[-2][2])], LEDGER),
    ],
    ids=["removed", "reordered", "inserted", "duplicated", "tail cut", "tail cut deep", "whitespace", "stale head"],
)
def test_entries(case: Case, change: Callable[[list[tuple[int, bytes, bytes]]], Any], name: str) -> None:
    case.write(change(case.rows()))
    assert name in case.failed()


def test_a_wrong_key(case: Case) -> None:
    case.options["--operator"] = STRANGER.public.hex()
    assert LEDGER in case.failed()
    case.options = {"--witness": STRANGER.public.hex()}
    assert case.failed() == [WITNESS]


def test_the_report_of_another_run(case: Case) -> None:
    case.rebuild([{**body, **body.get("nothing", {})} for body in case.numbered()][:5])
    shutil.copy(case.release / "report.json", case.run / "other.json")
    case.options["--report"] = str(case.run / "other.json")
    assert ABOUT in case.failed()


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["claim"].update(delta="0.01"),
        lambda report: report["spend"]["device"].update(epsilon="0.5"),
        lambda report: report["spend"]["device"]["at_deltas"][0].update(epsilon="0.5"),
        lambda report: report["spend"]["device"]["by_charge"].pop(),
        lambda report: report["spend"]["message"].update(one_participation="0.1"),
        lambda report: report["mechanism"].update(clip="0.001"),
        lambda report: report["participation"].update(rounds_abandoned=1),
        lambda report: report["composition"]["events"][0].update(times=1),
        lambda report: report["composition"]["amplification"][0].update(relies_on="nothing"),
        lambda report: report.update(hypothetical=False),
        lambda report: report.update(not_protected=[]),
        lambda report: report.update(not_verified=[]),
        lambda report: report["randomness"].update(origin="system"),
        lambda report: report["claim"].update(holds_against="everyone"),
        lambda report: report["provenance"].update(task_name="another"),
    ],
)
def test_any_part_of_a_report(case: Case, change: Callable[[Any], None]) -> None:
    shutil.copy(case.release / "report.json", case.run / "lie.json")
    case.options["--report"] = str(case.run / "lie.json")
    assert case.failed() == []
    case.edit_json("lie.json", change)
    assert [name for name in case.failed() if name.startswith("report:") and name != OWN]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda report: report["provenance"]["versions"].update(opacus="9"), [OWN]),
        (lambda report: report["mechanism"].update(noise_multiplier_realised="9"), [OWN, REPORT]),
        (lambda report: report["audit"][0].update(epsilon_bound="0.1"), [OWN, TOLD]),
        (lambda report: report.update(audit=[]), [OWN]),
    ],
)
def test_what_only_the_server_knows_is_what_it_signed(
    case: Case, change: Callable[[Any], None], names: list[str]
) -> None:
    shutil.copy(case.release / "report.json", case.run / "lie.json")
    case.options["--report"] = str(case.run / "lie.json")
    case.edit_json("lie.json", change)
    assert case.failed() == names


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"epsilon_claimed": "99"}, HELD),
        ({"delta": "0.1"}, HELD),
        ({"epsilon_bound": "99"}, "report: no attack refutes it"),
        ({"epsilon_bound_any": "99"}, "report: no attack refutes it"),
        ({"passed": False}, "report: no attack refutes it"),
    ],
)
def test_an_attack_is_judged_anew(case: Case, changes: dict[str, object], name: str) -> None:
    """Even where the operator signed that it failed."""
    shutil.copy(case.release / "report.json", case.run / "lie.json")
    case.options["--report"] = str(case.run / "lie.json")
    case.edit_json("lie.json", lambda report: report["audit"][0].update(changes))
    assert name in case.failed()


@pytest.mark.parametrize("number", ["NaN", "-1", "1e", "0x1", ""])
def test_what_is_no_number(case: Case, number: str) -> None:
    shutil.copy(case.release / "report.json", case.run / "lie.json")
    case.options["--report"] = str(case.run / "lie.json")
    case.edit_json("lie.json", lambda report: report["claim"].update(epsilon=number))
    assert "--report: expected a EpsilonReport in JSON; claim.epsilon" in case.failed()[0]


def test_whitespace_in_a_report(case: Case) -> None:
    lie = case.run / "lie.json"
    lie.write_bytes((case.release / "report.json").read_bytes().replace(b'","', b'", "', 1))
    case.options["--report"] = str(lie)
    assert case.failed() == ["report: in its one canonical form", OWN]


@pytest.mark.parametrize(
    ("number", "other"),
    [
        (b'"noise_multiplier":1', b'"noise_multiplier":NaN'),
        (b'"noise_multiplier":1', b'"noise_multiplier":1e400'),
        (b'"shards":1', b'"shards":99999999999999999999'),
    ],
)
def test_what_is_no_number_in_a_ledger(case: Case, number: bytes, other: bytes) -> None:
    rows = case.rows()
    changed = [(seq, entry.replace(number, other), head) for seq, entry, head in rows]
    assert changed != rows
    case.write(changed)
    assert LEDGER in case.failed()


# By the signer, who can rewrite everything consistently, except what somebody else has seen.


def test_the_forger_forges_right(case: Case) -> None:
    before = case.rows()
    case.rebuild(case.numbered())
    assert case.rows() == before


def test_a_rebuilt_chain_is_caught_by_the_witness_alone(case: Case) -> None:
    bodies = case.numbered()
    bodies[1]["charge"]["transcript"] = "ee" * 32
    case.rebuild(bodies)
    assert WITNESS in case.failed()
    assert LEDGER not in case.failed()


def test_a_fork_with_both_heads(case: Case) -> None:
    bodies = case.numbered()
    case.rebuild([*bodies[:5], {"kind": "uncharged", "purpose": "tuning", "what": "x", "why": "y"}, *bodies[5:]])
    refused = case.witness()
    assert refused.exit_code == 1
    assert "forked" in refused.stderr
    assert WITNESS in case.failed()


def test_a_stale_ledger(case: Case) -> None:
    case.rebuild(case.numbered()[:3])
    assert WITNESS in case.failed()
    refused = case.witness()
    assert refused.exit_code == 1
    assert "at least the 7 entries seen before, got 3" in refused.stderr


def test_a_ledger_of_another_population(case: Case) -> None:
    bodies = case.numbered()
    bodies[0]["population"] = "staff"
    case.rebuild(bodies)
    assert LEDGER in case.failed()
    for body in bodies:
        if body["kind"] == "charge":
            body["charge"]["population"] = "staff"
    case.rebuild(bodies)
    assert LEDGER not in case.failed()
    assert {WITNESS, ABOUT} <= set(case.failed())


def test_release_without_a_charge(case: Case) -> None:
    bodies = [body for body in case.numbered() if body["kind"] != "charge" or body["charge"]["round"] != 3]
    case.rebuild(
        [{**body, "charge_hash": "ee" * 32} if body.get("charge_hash") == "CHARGE 2" else body for body in bodies]
    )
    assert LEDGER in case.failed()
    case.rebuild([body for body in bodies if body.get("charge_hash") != "CHARGE 2"])
    assert PAID in case.failed()


def test_a_double_release(case: Case) -> None:
    bodies = case.numbered()
    case.rebuild([*bodies, {**bodies[-1], "model_digest": "ee" * 32}])
    assert LEDGER in case.failed()


def test_overspending(case: Case) -> None:
    bodies = case.numbered()
    bodies[0]["budget"]["epsilon"] = 1.0
    case.rebuild(bodies)
    assert LEDGER in case.failed()


def test_a_cheaper_charge_than_the_task_says(case: Case) -> None:
    bodies = case.numbered()
    bodies[1]["charge"]["event"]["noise_multiplier"] = 9.0
    case.rebuild(bodies)
    assert PLANNED in case.failed()


def test_a_swapped_model(case: Case) -> None:
    path = case.release / "model.safetensors"
    path.write_bytes(save({name: tensor + np.float32(1) for name, tensor in load(path.read_bytes()).items()}))
    assert SIGNED in case.failed()


def test_a_tuning_run_left_out(case: Case) -> None:
    """Another task of the population was charged for tuning; the report composes this task's rounds alone."""
    bodies = case.numbered()
    tuning = json.loads(json.dumps(bodies[1]))
    tuning["charge"].update(task="ee" * 32, purpose="tuning")
    case.rebuild([*bodies, tuning])
    head = json.loads(case.rows()[-1][2])
    shutil.copy(case.release / "report.json", case.run / "lie.json")
    case.edit_json("lie.json", lambda report: report["provenance"].update(ledger_head=head))
    case.options["--report"] = str(case.run / "lie.json")
    assert {
        "report: composes every charge of the ledger",
        "report: its epsilon is what the ledger costs",
        REPORT,
    } <= set(case.failed())


def test_a_report_on_an_older_ledger_says_so(case: Case) -> None:
    bodies = case.numbered()
    case.rebuild([*bodies, {"kind": "uncharged", "purpose": "evaluation", "what": "x", "why": "y"}])
    checks = {check["name"]: check for check in json.loads(case.verify().stdout)["checks"]}
    assert case.failed() == []
    assert "the ledger has 1 more" in checks[ABOUT]["detail"]
    assert "1 later ones are the signer's word alone" in checks[WITNESS]["detail"]
