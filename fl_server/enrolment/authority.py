"""The enrolment authority of one population: whom it certifies and whom it has revoked, as files in its own directory.

The aggregation server gets its public key and its revocation list, never this directory: a server that enrols devices
of its own could be alone with one honest device in a sum.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fl_server.enrolment.reading import parsed
from privacy.base.canonical import canonical_json
from privacy.base.files import write_atomically, write_secret
from privacy.base.randomness import KEY_BYTES
from privacy.base.signing import PUBLIC_KEY_BYTES, Signer
from privacy.secagg.membership.identity import Certificate, DevicePolicy, EnrolmentRequest, Revocations, Trust, enrol

DAY_S = 86_400
"""The length of a day, in seconds."""
DEFAULT_POLICY = DevicePolicy(min_noise_multiplier=0.3, min_survivors=20, min_corrupt_fraction=0.05)

_KEY, _PUBLIC, _POPULATION, _REVOCATIONS = "authority.key", "authority.pub", "population", "revocations.bin"
_REQUEST, _ENROLMENT = "enrolment-request.bin", "enrolment.json"
_LONGEST_POPULATION = 64


class AuthorityError(ValueError):
    """A file that is missing, damaged or another's, or a device that must not be enrolled; the message names it."""


@dataclass(frozen=True)
class Authority:
    """An enrolment authority's directory, opened.

    Attributes:
        path: of the directory.
        signer: its Ed25519 key, pinned in every device that it enrols.
        population: the one population that its certificates and revocation lists are for.
    """

    path: Path
    signer: Signer
    population: str

    @classmethod
    def create(cls, path: Path, population: str, valid_until: int) -> Authority:
        """Make a new directory with a fresh key and list number 1, which revokes nobody.

        Args:
            path: of the directory.
            population: whom certificates and lists are for, 1 to 64 printable characters.
            valid_until: Unix time in seconds at which the list ends.

        Raises:
            AuthorityError: when the directory exists or the population's name is not allowed.
        """
        _check_population(population)
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise AuthorityError(f"{path}: expected a new path: {error.strerror or error}") from error
        seed = os.urandom(KEY_BYTES)
        authority = cls(path, Signer.from_seed(seed), population)
        write_secret(path / _KEY, seed)
        authority.public_key.write_text(authority.signer.public.hex() + "\n")
        (path / _POPULATION).write_text(population + "\n", encoding="utf-8")
        authority._write_list(1, valid_until, frozenset())
        return authority

    @classmethod
    def open(cls, path: Path) -> Authority:
        """Open a directory that `create` made.

        Raises:
            AuthorityError: when a file is missing, damaged or of another authority or population.
        """
        signer = parsed(path / _KEY, Signer.from_seed, AuthorityError)
        authority = cls(path, signer, parsed(path / _POPULATION, _population, AuthorityError))
        authority.read_list()
        return authority

    @property
    def public_key(self) -> Path:
        """The file of the authority's Ed25519 public key, in hex: for the server."""
        return self.path / _PUBLIC

    @property
    def revocations(self) -> Path:
        """The file of the newest revocation list: for the server."""
        return self.path / _REVOCATIONS

    def read_list(self) -> Revocations:
        """Read the newest revocation list, which may be out of date.

        Raises:
            AuthorityError: when the list is missing, damaged or not this authority's.
        """

        def own(data: bytes) -> Revocations:
            revocations = Revocations.decode(data)
            revocations.check(self.population, self.signer.public, revocations.valid_until)
            return revocations

        return parsed(self.revocations, own, AuthorityError)

    def enrol(
        self, requests: Sequence[Path], operator: bytes, policy: DevicePolicy, not_after: int
    ) -> dict[Path, Certificate]:
        """Certify devices, and write `enrolment.json` beside each request: all of them or, when one fails, none.

        Args:
            requests: enrolment requests, or directories of devices that hold one; each in a directory of its own.
            operator: Ed25519 public key whose tasks the devices will accept.
            policy: the least protection under which the devices will take part.
            not_after: Unix time in seconds at which the certificates end.

        Returns:
            The files written, and the certificate in each.

        Raises:
            AuthorityError: when a request is missing, damaged, not made by its device or a revoked device's, when two
                share a directory, or when the operator holds the authority's own key.
        """
        if operator == self.signer.public:
            raise AuthorityError("operator: expected a key of its own, got the authority's")
        revoked = self.read_list().revoked
        paths = [_request_path(path) for path in requests]
        certificates = {path.with_name(_ENROLMENT): self._certificate(path, revoked, not_after) for path in paths}
        if len(certificates) < len(paths):
            raise AuthorityError(f"requests: expected one a directory, got {len(paths)} in {len(certificates)}")
        trust = Trust(operator, self.signer.public, policy)
        for path, certificate in certificates.items():
            write_atomically(path, _enrolment(certificate, trust))
        return certificates

    def revoke(self, identities: frozenset[bytes], valid_until: int) -> Revocations:
        """Replace the list by the next one, with devices added; without any, this renews it.

        Args:
            identities: Ed25519 public keys of the devices to revoke, for good.
            valid_until: Unix time in seconds at which the new list ends.

        Raises:
            AuthorityError: when the present list is missing or damaged.
        """
        with self._locked():
            present = self.read_list()
            return self._write_list(present.number + 1, valid_until, present.revoked | identities)

    def _certificate(self, path: Path, revoked: frozenset[bytes], not_after: int) -> Certificate:
        def certify(data: bytes) -> Certificate:
            request = EnrolmentRequest.decode(data)
            if request.identity in revoked:
                raise ValueError(f"identity {request.identity.hex()} is revoked")
            return enrol(self.signer, self.population, request, not_after)

        return parsed(path, certify, AuthorityError)

    def _write_list(self, number: int, valid_until: int, revoked: frozenset[bytes]) -> Revocations:
        revocations = Revocations.signed(self.signer, self.population, number, valid_until, revoked)
        write_atomically(self.revocations, revocations.encode())
        return revocations

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes: of two revocations at the same time, neither may be lost."""
        with (self.path / _KEY).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def read_public_key(path: Path) -> bytes:
    """Read an Ed25519 public key from a file with 64 hex digits.

    Raises:
        AuthorityError: when the file holds anything else.
    """

    def key(data: bytes) -> bytes:
        value = bytes.fromhex(data.decode())
        if len(value) != PUBLIC_KEY_BYTES:
            raise ValueError(f"expected {2 * PUBLIC_KEY_BYTES} hex digits, got {2 * len(value)}")
        return value

    return parsed(path, key, AuthorityError)


def read_policy(path: Path) -> DevicePolicy:
    """Read a device policy from a file of JSON.

    Raises:
        AuthorityError: when the file does not hold one.
    """
    return parsed(path, DevicePolicy.model_validate_json, AuthorityError)


def read_identity(text: str) -> bytes:
    """Read a device's Ed25519 public key.

    Args:
        text: 64 hex digits, or the path of an enrolment request or of a directory that holds one.

    Raises:
        AuthorityError: when it is anything else.
    """
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        identity = b""
    if len(identity) == PUBLIC_KEY_BYTES:
        return identity
    if not Path(text).exists():
        raise AuthorityError(f"{text}: expected {2 * PUBLIC_KEY_BYTES} hex digits, or the path of an enrolment request")
    return parsed(_request_path(Path(text)), EnrolmentRequest.decode, AuthorityError).identity


def _request_path(path: Path) -> Path:
    return path.resolve() / _REQUEST if path.is_dir() else path.resolve()


def _enrolment(certificate: Certificate, trust: Trust) -> bytes:
    return canonical_json(
        {
            "certificate": certificate.encode().hex(),
            "operator": trust.operator.hex(),
            "authority": trust.authority.hex(),
            "policy": trust.policy.model_dump(mode="json"),
        }
    )


def _population(data: bytes) -> str:
    population = data.decode().removesuffix("\n")
    _check_population(population)
    return population


def _check_population(name: str) -> None:
    if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= _LONGEST_POPULATION:
        raise AuthorityError(
            f"population: expected 1 to {_LONGEST_POPULATION} printable characters, no outer spaces, got {name!r}"
        )
