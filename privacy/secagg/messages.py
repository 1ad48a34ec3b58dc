"""The protocol's messages: five stages, a request and a reply each, one encoding per message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from privacy.canonical import sha256
from privacy.secagg.errors import WireError
from privacy.secagg.identity import CERTIFICATE_BYTES, Certificate
from privacy.secagg.keys import SEAL_OVERHEAD
from privacy.secagg.masking import WORD
from privacy.secagg.shamir import SHARE_BYTES
from privacy.secagg.wire import Reader, Writer
from privacy.signing import SIGNATURE_BYTES

DIGEST_BYTES = KEY_BYTES = 32
SEALED_BYTES = 2 * SHARE_BYTES + SEAL_OVERHEAD
"""Both shares that one device deals to another, sealed."""

HEADER_DOMAIN = "havenfl/secagg/header/1"
ADVERT_DOMAIN = "havenfl/secagg/advert/1"
ECHO_DOMAIN = "havenfl/secagg/echo/1"


class Stage(StrEnum):
    """The five trips of a round, in order."""

    ADVERTISE = "advertise"
    SHARE = "share"
    INPUT = "input"
    ECHO = "echo"
    UNMASK = "unmask"


class _Kind:
    HEADER, INVITATION, ADVERT, ROSTER, SHARES, INPUT_REQUEST, MASKED, SURVIVORS, ECHO, ECHOES, REVEALED = range(1, 12)


@dataclass(frozen=True)
class Header:
    """What the operator signs for one round. The masks depend on it, so a device that was given another model,
    task or round contributes only noise."""

    task_id: bytes
    round: int
    model_digest: bytes

    def encode(self) -> bytes:
        return Writer(_Kind.HEADER).raw(self.task_id).u32(self.round).raw(self.model_digest).done()

    @classmethod
    def decode(cls, data: bytes) -> Header:
        reader = Reader(data, _Kind.HEADER)
        header = cls(reader.raw(DIGEST_BYTES), reader.u32(), reader.raw(DIGEST_BYTES))
        reader.end()
        return header


@dataclass(frozen=True)
class Invitation:
    """Request of the first stage: the signed task and the signed header."""

    signed_task: bytes
    header: Header
    signature: bytes

    def encode(self) -> bytes:
        writer = Writer(_Kind.INVITATION).var(self.signed_task).var(self.header.encode())
        return writer.raw(self.signature).done()

    @classmethod
    def decode(cls, data: bytes) -> Invitation:
        reader = Reader(data, _Kind.INVITATION)
        invitation = cls(reader.var(), Header.decode(reader.var()), reader.raw(SIGNATURE_BYTES))
        reader.end()
        return invitation


@dataclass(frozen=True)
class Advert:
    """A device's keys for one round, under its certified identity."""

    certificate: Certificate
    channel_public: bytes
    mask_public: bytes
    commitment: bytes
    signature: bytes

    BYTES: ClassVar[int] = 5 + CERTIFICATE_BYTES + 3 * KEY_BYTES + SIGNATURE_BYTES

    @property
    def identity(self) -> bytes:
        return self.certificate.identity

    def signed_part(self, header: Header) -> bytes:
        return sha256(header.encode()) + self.channel_public + self.mask_public + self.commitment

    def encode(self) -> bytes:
        writer = Writer(_Kind.ADVERT).raw(self.certificate.encode()).raw(self.channel_public)
        return writer.raw(self.mask_public).raw(self.commitment).raw(self.signature).done()

    @classmethod
    def decode(cls, data: bytes) -> Advert:
        reader = Reader(data, _Kind.ADVERT)
        certificate = Certificate.decode(reader.raw(CERTIFICATE_BYTES))
        channel_public, mask_public = reader.raw(KEY_BYTES), reader.raw(KEY_BYTES)
        advert = cls(certificate, channel_public, mask_public, reader.raw(DIGEST_BYTES), reader.raw(SIGNATURE_BYTES))
        reader.end()
        return advert


@dataclass(frozen=True)
class Roster:
    """The cohort in the order of its identities; a member's place is its index from here on."""

    adverts: tuple[Advert, ...]

    def encode(self) -> bytes:
        writer = Writer(_Kind.ROSTER).u32(len(self.adverts))
        for advert in self.adverts:
            writer.raw(advert.encode())
        return writer.done()

    @classmethod
    def decode(cls, data: bytes) -> Roster:
        reader = Reader(data, _Kind.ROSTER)
        adverts = tuple(Advert.decode(reader.raw(Advert.BYTES)) for _ in range(reader.count(Advert.BYTES)))
        reader.end()
        identities = [advert.identity for advert in adverts]
        if any(one >= following for one, following in pairwise(identities)):
            raise WireError("roster: expected distinct identities in ascending order")
        return cls(adverts)

    def transcript(self, header: Header) -> bytes:
        """Digest of everything that was agreed on before any secret was shared."""
        return sha256(b"havenfl/secagg/transcript/1", sha256(header.encode()), sha256(self.encode()))


@dataclass(frozen=True)
class DealtShares:
    """Reply of the second stage: one sealed pair of shares for each other member, in roster order."""

    sealed: tuple[bytes, ...]

    def encode(self) -> bytes:
        return Writer(_Kind.SHARES).u32(len(self.sealed)).raw(b"".join(self.sealed)).done()

    @classmethod
    def decode(cls, data: bytes) -> DealtShares:
        reader = Reader(data, _Kind.SHARES)
        sealed = tuple(reader.raw(SEALED_BYTES) for _ in range(reader.count(SEALED_BYTES)))
        reader.end()
        return cls(sealed)


@dataclass(frozen=True)
class InputRequest:
    """Request of the third stage: the sealed shares dealt to this device by sender, and the model to train."""

    sealed: Mapping[int, bytes]
    weights: bytes

    def encode(self) -> bytes:
        writer = Writer(_Kind.INPUT_REQUEST)
        _write_indexed(writer, self.sealed)
        return writer.var(self.weights).done()

    @classmethod
    def decode(cls, data: bytes) -> InputRequest:
        reader = Reader(data, _Kind.INPUT_REQUEST)
        request = cls(_read_indexed(reader, SEALED_BYTES), reader.var())
        reader.end()
        return request


def encode_masked(vector: NDArray[np.uint32]) -> bytes:
    """Reply of the third stage: the masked vector, uint32[d]."""
    return Writer(_Kind.MASKED).u32(vector.size).raw(vector.astype(WORD).tobytes()).done()


def decode_masked(data: bytes, dimension: int) -> NDArray[np.uint32]:
    """Raises WireError unless `data` holds exactly uint32[dimension]."""
    reader = Reader(data, _Kind.MASKED)
    size = reader.count(WORD.itemsize)
    if size != dimension:
        raise WireError(f"masked vector: expected {dimension} coordinates, got {size}")
    vector = np.frombuffer(reader.raw(size * WORD.itemsize), WORD)
    reader.end()
    return vector


@dataclass(frozen=True)
class Survivors:
    """Request of the fourth stage: the members whose masked vectors the server holds, ascending."""

    members: tuple[int, ...]

    def encode(self) -> bytes:
        writer = Writer(_Kind.SURVIVORS).u32(len(self.members))
        for member in self.members:
            writer.u32(member)
        return writer.done()

    @classmethod
    def decode(cls, data: bytes) -> Survivors:
        reader = Reader(data, _Kind.SURVIVORS)
        members = tuple(reader.u32() for _ in range(reader.count(4)))
        reader.end()
        _require_ascending(members)
        return cls(members)

    def signed_part(self, transcript: bytes) -> bytes:
        return transcript + sha256(self.encode())


def encode_echo(signature: bytes) -> bytes:
    """Reply of the fourth stage: the device's signature over the survivor set that it saw."""
    return Writer(_Kind.ECHO).raw(signature).done()


def decode_echo(data: bytes) -> bytes:
    reader = Reader(data, _Kind.ECHO)
    signature = reader.raw(SIGNATURE_BYTES)
    reader.end()
    return signature


def encode_echoes(signatures: Mapping[int, bytes]) -> bytes:
    """Request of the fifth stage: the echo signatures by member."""
    writer = Writer(_Kind.ECHOES)
    _write_indexed(writer, signatures)
    return writer.done()


def decode_echoes(data: bytes) -> dict[int, bytes]:
    return _decode_indexed(data, _Kind.ECHOES, SIGNATURE_BYTES)


def encode_revealed(shares: Mapping[int, bytes]) -> bytes:
    """Reply of the fifth stage: one share per member, of the self-mask secret of a survivor or else of the mask key."""
    writer = Writer(_Kind.REVEALED)
    _write_indexed(writer, shares)
    return writer.done()


def decode_revealed(data: bytes) -> dict[int, bytes]:
    return _decode_indexed(data, _Kind.REVEALED, SHARE_BYTES)


def _decode_indexed(data: bytes, kind: int, item_bytes: int) -> dict[int, bytes]:
    reader = Reader(data, kind)
    items = _read_indexed(reader, item_bytes)
    reader.end()
    return items


def _write_indexed(writer: Writer, items: Mapping[int, bytes]) -> None:
    writer.u32(len(items))
    for member in sorted(items):
        writer.u32(member).raw(items[member])


def _read_indexed(reader: Reader, item_bytes: int) -> dict[int, bytes]:
    items = [(reader.u32(), reader.raw(item_bytes)) for _ in range(reader.count(4 + item_bytes))]
    _require_ascending([member for member, _ in items])
    return dict(items)


def _require_ascending(members: Sequence[int]) -> None:
    if any(one >= following for one, following in pairwise(members)):
        raise WireError("members: expected distinct indices in ascending order")
