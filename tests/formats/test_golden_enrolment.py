"""What earlier versions wrote for authorities, devices and servers is read, and written again alike."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fl_client.device.files import DeviceDirectory
from fl_client.device.store import FileStore
from fl_server.enrolment.authority import Authority
from fl_server.service import ServerDirectory
from privacy.secagg.membership.identity import Certificate, EnrolmentRequest, Revocations
from privacy.secagg.primitives.keys import DeviceKeys
from tests.golden import make
from tests.support.golden import VERSIONS, named


@pytest.fixture(params=VERSIONS, ids=named)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy to write in."""
    return Path(shutil.copytree(request.param / "enrolment", tmp_path / "enrolment"))


def test_a_certificate_is_decoded_and_holds(golden: Path) -> None:
    data = (golden / "device" / "certificate.bin").read_bytes()
    certificate = Certificate.decode(data)
    assert certificate.encode() == data
    certificate.check(make.POPULATION, Authority.open(golden / "authority").signer.public, make.UNTIL)


def test_a_request_is_decoded_and_holds(golden: Path) -> None:
    data = (golden / "device" / "enrolment-request.bin").read_bytes()
    assert EnrolmentRequest.decode(data).encode() == data
    assert EnrolmentRequest.by(DeviceKeys.from_seed(make.DEVICE)).encode() == data


def test_a_revocation_list_is_decoded_and_holds(golden: Path) -> None:
    data, authority = (golden / "authority" / "revocations.bin").read_bytes(), Authority.open(golden / "authority")
    revocations = Revocations.decode(data)
    assert revocations.encode() == data
    revocations.check(make.POPULATION, authority.signer.public, make.UNTIL)
    assert revocations.revoked == {DeviceKeys.from_seed(make.STRANGER).identity.public}
    signed = Revocations.signed(authority.signer, make.POPULATION, 2, make.UNTIL, revocations.revoked)
    assert signed.encode() == data


def test_an_authority_enrols_the_same_device_alike(golden: Path) -> None:
    path, device = golden / "device" / "enrolment.json", DeviceDirectory(golden / "device")
    before, enrolment = path.read_bytes(), device.enrolment()
    Authority.open(golden / "authority").enrol(
        [device.path], enrolment.trust.operator, enrolment.policy, enrolment.issued.not_after
    )
    assert path.read_bytes() == before


def test_an_authority_numbers_its_lists_on(golden: Path) -> None:
    authority = Authority.open(golden / "authority")
    assert authority.revoke(frozenset(), make.UNTIL).number == 3


def test_a_device_reads_its_enrolment_and_remembers(golden: Path) -> None:
    device = DeviceDirectory(golden / "device")
    enrolment = device.enrolment()
    assert enrolment.policy.min_corrupt_fraction == 0.05
    assert (golden / "authority" / "authority.pub").read_text().strip() == enrolment.authority
    store = FileStore(device.memory, device.store_key())
    memory = store.load()
    assert (memory.tasks, memory.participations) == (make.MEMORY.tasks, make.MEMORY.participations)
    numbers = {population: seen.number for population, seen in memory.revocations.items()}
    assert numbers == {population: seen.number for population, seen in make.MEMORY.revocations.items()}


def test_a_server_reads_what_it_runs_with(golden: Path) -> None:
    server = ServerDirectory(golden / "server")
    assert server.read_settings() == make.SETTINGS
    assert server.read_settings().canonical() == server.settings.read_bytes()
    assert server.read_operator().public.hex() == (server.path / "operator.pub").read_text().strip()
    caller = server.read_round_authority()
    assert caller.revocations.number == 2


@pytest.mark.parametrize("version", VERSIONS[-1:], ids=named)
def test_the_newest_files_are_what_is_written_today(version: Path, tmp_path: Path) -> None:
    make.make_enrolment(tmp_path / "enrolment")
    written = {path.relative_to(tmp_path): path for path in (tmp_path / "enrolment").rglob("*") if path.is_file()}
    assert written
    for name, path in written.items():
        if name.name != "memory.bin":  # its nonce is fresh
            assert path.read_bytes() == (version / name).read_bytes(), name
