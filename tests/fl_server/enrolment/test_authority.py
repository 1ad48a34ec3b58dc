"""An enrolment authority through its command line: what it writes, whom it refuses, and what devices make of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fl_client.device.files import DeviceDirectory
from fl_server.cli import app
from fl_server.enrolment.authority import DAY_S, DEFAULT_POLICY, Authority, AuthorityError
from privacy.base.signing import SignatureError, Signer
from privacy.secagg.membership.identity import Certificate, DevicePolicy, EnrolmentRequest, Revocations
from privacy.secagg.primitives.keys import DeviceKeys, KeyPair

NOW = 1_800_000_000
OPERATOR = Signer.from_seed(bytes(31) + b"\x07").public
POPULATION = "messenger"
REQUEST = "enrolment-request.bin"
Damage = Callable[[DeviceDirectory], bytes]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority", POPULATION, NOW + DAY_S)


@pytest.fixture
def device(tmp_path: Path) -> DeviceDirectory:
    return DeviceDirectory.create(tmp_path / "device")


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    path = tmp_path / "operator.pub"
    path.write_text(OPERATOR.hex() + "\n")
    return path


def enrolled(authority: Authority, *devices: DeviceDirectory) -> list[Certificate]:
    paths = [device.path for device in devices]
    return list(authority.enrol(paths, OPERATOR, DEFAULT_POLICY, NOW + DAY_S).values())


# --- from files to files


def test_authority_enrol_and_revoke_by_the_command_line(tmp_path: Path, operator: Path) -> None:
    directory, devices = tmp_path / "authority", [DeviceDirectory.create(tmp_path / name) for name in ("a", "b")]
    made = call("authority", directory, "--population", POPULATION)
    assert made.exit_code == 0, made.output
    public = bytes.fromhex((directory / "authority.pub").read_text())
    assert public.hex() in made.output

    done = call("enrol", "--authority", directory, "--operator", operator, *(device.path for device in devices))
    assert done.exit_code == 0, done.output
    for device in devices:
        enrolment = device.enrolment()
        enrolment.issued.check(POPULATION, public, int(time.time()))
        assert (enrolment.trust.operator, enrolment.trust.authority) == (OPERATOR, public)
        assert enrolment.policy == DEFAULT_POLICY
        assert device.keys().identity.public.hex() in done.output

    lost = devices[0].keys().identity.public
    revoked = call("revoke", "--authority", directory, devices[0].path / REQUEST)
    assert "revocation list 2: 1 revoked" in revoked.output
    listed = Revocations.decode((directory / "revocations.bin").read_bytes())
    listed.check(POPULATION, public, int(time.time()))
    assert listed.revoked == {lost}

    refused = call("enrol", "--authority", directory, "--operator", operator, devices[0].path)
    assert refused.exit_code == 2
    assert f"identity {lost.hex()} is revoked" in refused.output.replace("\n", "")


def test_a_policy_is_pinned_as_given(tmp_path: Path, authority: Authority, device: DeviceDirectory) -> None:
    policy = DevicePolicy(min_noise_multiplier=1.25, min_survivors=50, min_corrupt_fraction=0.1, max_participations=3)
    (tmp_path / "policy.json").write_bytes(policy.canonical())
    (tmp_path / "operator.pub").write_text(OPERATOR.hex())
    options = ["--operator", tmp_path / "operator.pub", "--policy", tmp_path / "policy.json"]
    assert call("enrol", "--authority", authority.path, *options, device.path).exit_code == 0
    assert device.enrolment().policy == policy


def test_only_its_owner_can_read_the_key(authority: Authority) -> None:
    key = authority.path / "authority.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert Signer.from_seed(key.read_bytes()).public == authority.signer.public
    assert key.read_bytes().hex() not in repr(authority)


def test_days_are_counted_from_now(tmp_path: Path, operator: Path, device: DeviceDirectory) -> None:
    before = int(time.time())
    call("authority", tmp_path / "short", "--population", POPULATION, "--list-days", 2)
    call("enrol", "--authority", tmp_path / "short", "--operator", operator, "--days", 3, device.path)
    after = int(time.time())
    listed = Authority.open(tmp_path / "short").read_list()
    assert before + 2 * DAY_S <= listed.valid_until <= after + 2 * DAY_S
    assert before + 3 * DAY_S <= device.enrolment().issued.not_after <= after + 3 * DAY_S


# --- what certificates and lists are worth


def test_a_certificate_is_worth_nothing_elsewhere_or_later(authority: Authority, device: DeviceDirectory) -> None:
    [certificate] = enrolled(authority, device)
    public = authority.signer.public
    certificate.check(POPULATION, public, NOW + DAY_S)
    with pytest.raises(SignatureError, match="expired"):
        certificate.check(POPULATION, public, NOW + DAY_S + 1)
    with pytest.raises(SignatureError):
        certificate.check("another", public, NOW)


def test_a_list_runs_out_and_can_be_renewed_after_that(authority: Authority) -> None:
    lost = frozenset({bytes(32)})
    authority.revoke(lost, NOW)
    with pytest.raises(SignatureError, match="out of date"):
        authority.read_list().check(POPULATION, authority.signer.public, NOW + 1)
    renewed = authority.revoke(frozenset(), NOW + DAY_S)
    renewed.check(POPULATION, authority.signer.public, NOW + 1)
    assert (renewed.number, renewed.revoked) == (3, lost)
    assert authority.read_list() == renewed


def test_lists_are_numbered_and_never_lose_anybody(authority: Authority) -> None:
    identities = [Signer.from_seed(bytes([number]) * 32).public for number in range(3)]
    for number, identity in enumerate(identities):
        assert (
            f"list {number + 2}: {number + 1} revoked"
            in call("revoke", "--authority", authority.path, identity.hex()).output
        )
    assert (
        "list 5: 3 revoked"
        in call("revoke", "--authority", authority.path, *(identity.hex() for identity in identities)).output
    )
    assert authority.read_list().revoked == set(identities)


def test_revocations_at_the_same_time_are_all_kept(authority: Authority) -> None:
    identities = [bytes([number]) * 32 for number in range(16)]
    threads = [
        threading.Thread(target=authority.revoke, args=(frozenset({identity}), NOW + DAY_S)) for identity in identities
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (authority.read_list().number, authority.read_list().revoked) == (17, set(identities))


# --- refusals


def forged(device: DeviceDirectory) -> bytes:
    """Another device's agreement key under this identity's name: what a machine in the middle would send."""
    genuine = EnrolmentRequest.decode((device.path / REQUEST).read_bytes())
    return EnrolmentRequest(genuine.identity, KeyPair(b"\x09" * 32).public, genuine.signature).encode()


def weak() -> bytes:
    """Well signed, with an agreement key of order one."""
    identity = Signer.from_seed(b"\x05" * 32)
    signature = identity.sign("havenfl/enrolment-request/1", identity.public + bytes(32))
    return EnrolmentRequest(identity.public, bytes(32), signature).encode()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(forged, id="forged"),
        pytest.param(lambda _: weak(), id="low order"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda device: (device.path / REQUEST).read_bytes()[:-1], id="cut"),
        pytest.param(lambda device: (device.path / REQUEST).read_bytes() + b"\0", id="longer"),
    ],
)
def test_a_request_that_its_device_did_not_make_enrols_nobody(
    tmp_path: Path, authority: Authority, operator: Path, device: DeviceDirectory, damage: Damage
) -> None:
    well = DeviceDirectory.create(tmp_path / "well")
    (device.path / REQUEST).write_bytes(damage(device))
    result = call("enrol", "--authority", authority.path, "--operator", operator, well.path, device.path)
    assert result.exit_code == 2
    assert "DEVICE_DIRECTORY_OR_REQUEST" in result.output
    assert f"device/{REQUEST}" in result.output.replace("\n", "")
    assert not (device.path / "enrolment.json").exists()
    assert not (well.path / "enrolment.json").exists()


def test_a_missing_request_is_named(tmp_path: Path, authority: Authority, operator: Path) -> None:
    result = call("enrol", "--authority", authority.path, "--operator", operator, tmp_path)
    assert (result.exit_code, REQUEST in result.output) == (2, True)


def test_two_requests_of_one_directory_would_share_an_answer(
    tmp_path: Path, authority: Authority, device: DeviceDirectory
) -> None:
    second = tmp_path / "device" / "second.bin"
    second.write_bytes(EnrolmentRequest.by(DeviceKeys.from_seed(b"\x06" * 32)).encode())
    with pytest.raises(AuthorityError, match="expected one a directory"):
        authority.enrol([device.path, second], OPERATOR, DEFAULT_POLICY, NOW)
    assert not (device.path / "enrolment.json").exists()


def test_an_operator_that_is_the_authority_is_refused(authority: Authority, device: DeviceDirectory) -> None:
    with pytest.raises(AuthorityError, match="operator: expected a key of its own"):
        authority.enrol([device.path], authority.signer.public, DEFAULT_POLICY, NOW)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33])
def test_an_operator_key_that_is_none_is_refused(
    tmp_path: Path, authority: Authority, device: DeviceDirectory, text: str
) -> None:
    (tmp_path / "operator.pub").write_text(text)
    result = call("enrol", "--authority", authority.path, "--operator", tmp_path / "operator.pub", device.path)
    assert (result.exit_code, "--operator: " in result.output) == (2, True)


@pytest.mark.parametrize(
    "change", [{"min_survivors": 1}, {"min_noise_multiplier": -1.0}, {"min_noise": 1.0}, {"min_corrupt_fraction": None}]
)
def test_a_policy_that_is_none_is_refused(
    tmp_path: Path, authority: Authority, operator: Path, device: DeviceDirectory, change: dict[str, object]
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({**DEFAULT_POLICY.model_dump(), **change}))
    result = call("enrol", "--authority", authority.path, "--operator", operator, "--policy", policy, device.path)
    assert (result.exit_code, "--policy: " in result.output) == (2, True)


@pytest.mark.parametrize("identity", ["00" * 31, "zz" * 32, "no/such/path"])
def test_an_identity_that_is_none_revokes_nobody(authority: Authority, identity: str) -> None:
    result = call("revoke", "--authority", authority.path, bytes(32).hex(), identity)
    assert (result.exit_code, f"IDENTITY: {identity}" in result.output) == (2, True)
    assert authority.read_list().number == 1


@pytest.mark.parametrize("name", ["authority.key", "population", "revocations.bin"])
@pytest.mark.parametrize("data", [None, b"", b"\xff" * 31, b"\x01" * 32])
def test_a_damaged_authority_is_named_and_does_nothing(
    authority: Authority, operator: Path, device: DeviceDirectory, name: str, data: bytes | None
) -> None:
    path = authority.path / name
    path.unlink() if data is None else path.write_bytes(data)
    before = {file: file.read_bytes() for file in authority.path.iterdir()}
    for command in (["enrol", "--operator", operator, device.path], ["revoke", bytes(32).hex()]):
        result = call(command[0], "--authority", authority.path, *command[1:])
        assert result.exit_code == 2
        assert "--authority: " in result.output
    assert {file: file.read_bytes() for file in authority.path.iterdir()} == before
    assert not (device.path / "enrolment.json").exists()


def test_files_of_two_populations_do_not_mix(tmp_path: Path, authority: Authority) -> None:
    (authority.path / "population").write_text("another")
    with pytest.raises(AuthorityError, match=r"revocations\.bin: .*expected those of another"):
        Authority.open(authority.path)
    other = Authority.create(tmp_path / "other", POPULATION, NOW)
    authority.revocations.write_bytes(other.revocations.read_bytes())
    (authority.path / "population").write_text(POPULATION)
    with pytest.raises(AuthorityError, match=r"revocations\.bin: .*no valid signature"):
        Authority.open(authority.path)


@pytest.mark.parametrize("population", ["", " messenger", "two\nlines", "x" * 65])
def test_a_population_without_a_proper_name_is_refused(tmp_path: Path, population: str) -> None:
    result = call("authority", tmp_path / "new", "--population", population)
    assert (result.exit_code, "population: expected" in result.output) == (2, True)
    assert not (tmp_path / "new").exists()


def test_an_existing_authority_keeps_its_key(authority: Authority) -> None:
    before = (authority.path / "authority.key").read_bytes()
    assert call("authority", authority.path, "--population", POPULATION).exit_code == 2
    assert (authority.path / "authority.key").read_bytes() == before


@pytest.mark.parametrize("command", ["authority", "enrol", "revoke"])
def test_help_shows_examples_and_exit_codes(command: str) -> None:
    output = call(command, "--help").output
    assert f"fl-server {command} " in output.split("Example")[1]
    assert "Exit codes" in output
