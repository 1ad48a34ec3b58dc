"""The protocol's messages: five stages, a request and a reply each, one encoding per message."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from privacy.base.canonical import sha256
from privacy.base.signing import SIGNATURE_BYTES
from privacy.secagg.errors import WireError
from privacy.secagg.membership.identity import CERTIFICATE_BYTES, Certificate, Revocations
from privacy.secagg.membership.params import LARGEST
from privacy.secagg.primitives.keys import CHECK_TAG_BYTES, KEY_BYTES, SEAL_OVERHEAD, TAG_BYTES
from privacy.secagg.primitives.masking import Words, word_count, word_type
from privacy.secagg.primitives.shamir import SHARE_BYTES
from privacy.secagg.wire import Reader, Writer

DIGEST_BYTES = 32
_CLIP, _PLACE = struct.Struct("<d"), struct.Struct("<I")
_SEALED_BYTES = 2 * SHARE_BYTES + SEAL_OVERHEAD
_ENCRYPTED_SHARES = struct.Struct(f"<I{_SEALED_BYTES}s{TAG_BYTES}s{TAG_BYTES}s")

HEADER_DOMAIN = "havenfl/secagg/header/1"
ADVERT_DOMAIN = "havenfl/secagg/advert/1"
CONSISTENCY_DOMAIN = "havenfl/secagg/echo/2"
COMPLAINT_DOMAIN = "havenfl/secagg/complaint/1"


class Stage(StrEnum):
    """The five trips of a round, in order; their values are on the wire and in records, and never change."""

    ADVERTISE = "advertise"
    SHARE = "share"
    INPUT = "input"
    CONSISTENCY = "echo"
    UNMASK = "unmask"


# Where an envelope with named fields, as Flower's messages are, keeps a request's two parts or a reply. On the wire:
# never change these.
OWN_RECORD = "havenfl"
"""Name of the record that holds a device's own part of a request, or its reply."""
COMMON_RECORD = "havenfl.common"
"""Name of the record that holds the part of a request that all devices are sent."""
BODY_FIELD = "body"
"""Name of the field of either record that holds its bytes."""
ENVELOPE_TYPE_PREFIX = "train."
"""What an envelope's type has before the stage's name."""


class _Kind:
    HEADER, INVITATION, ADVERT, ROSTER, SHARES, INPUT_REQUEST, MODEL = range(1, 8)
    MASKED, MEMBERS, CONSISTENCY_CHECK, CONSISTENCY_CHECKS, REVEALED, SURVIVORS, SIGNED_SURVIVORS = range(8, 15)
    COMPLAINT, CONSISTENCY_TAGS = 15, 16


_NO_TAGS: Mapping[int, bytes] = MappingProxyType({})


@dataclass(frozen=True)
class Header:
    """What the operator signs for one round.

    The masks depend on it, so a device that was given another model, task or round contributes only noise.

    Attributes:
        task_id: SHA-256 of the signed task.
        round: from 1.
        model_digest: SHA-256 of the model's float32 weights, little-endian.
        clip: L2 bound of an update in this round: the task's own, unless it adapts.
    """

    task_id: bytes
    round: int
    model_digest: bytes
    clip: float

    def encode(self) -> bytes:
        """Return the header's one encoding, which is what the operator signs."""
        writer = Writer(_Kind.HEADER).raw(self.task_id).u32(self.round).raw(self.model_digest)
        return writer.raw(_CLIP.pack(self.clip)).done()

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Read a header.

        Raises:
            WireError: when the bytes are no header, or its clip is not finite and above 0.
        """
        reader = Reader(data, _Kind.HEADER)
        task_id, number, digest = reader.raw(DIGEST_BYTES), reader.u32(), reader.raw(DIGEST_BYTES)
        clip = float(_CLIP.unpack(reader.raw(_CLIP.size))[0])
        reader.end()
        if not 0 < clip < math.inf:
            raise WireError(f"header: expected a finite clip above 0, got {clip}")
        return cls(task_id, number, digest, clip)

    @property
    def rotation(self) -> bytes:
        """Public seed of the rotation: it flattens updates and protects nothing."""
        return sha256(b"havenfl/rotation/1", self.task_id, self.round.to_bytes(4, "little"), self.model_digest)

    def shard_of(self, certificate: Certificate, shards: int) -> int:
        """Return the number of the shard, 0 to `shards` - 1, that a device falls into.

        The lot is the authority's signature, which neither the device nor the server could choose, so that no server
        can gather in one shard those that help it.
        """
        if shards == 1:
            return 0
        lot = sha256(b"havenfl/shard/1", certificate.signature, self.task_id, self.round.to_bytes(4, "little"))
        return int.from_bytes(lot, "big") % shards


@dataclass(frozen=True)
class Invitation:
    """Request of the first stage: the signed task, the signed header, and who may no longer take part.

    Attributes:
        signed_task: the task under the operator's signature, as `sign_task` makes it.
        header: the round's header.
        signature: the operator's, over the header.
        revocations: the authority's list of devices that may no longer take part.
    """

    signed_task: bytes
    header: Header
    signature: bytes
    revocations: Revocations

    def encode(self) -> bytes:
        """Return the invitation's one encoding."""
        writer = Writer(_Kind.INVITATION).var(self.signed_task).var(self.header.encode())
        return writer.raw(self.signature).var(self.revocations.encode()).done()

    @classmethod
    def decode(cls, data: bytes) -> Invitation:
        """Read an invitation; nothing in it is verified yet.

        Raises:
            WireError: when the bytes are no invitation.
        """
        reader = Reader(data, _Kind.INVITATION)
        signed_task, header = reader.var(), Header.decode(reader.var())
        invitation = cls(signed_task, header, reader.raw(SIGNATURE_BYTES), Revocations.decode(reader.var()))
        reader.end()
        return invitation


@dataclass(frozen=True)
class Advert:
    """A device's keys for one round, under its certified identity.

    Attributes:
        certificate: the authority's word on the device's identity and long-term keys.
        mask_public: X25519 public key of this round alone, from which pairwise masks are agreed.
        commitment: digest that binds the device to its self-mask secret, see `keys.commitment`.
        signature: the device's, over header, mask key and commitment.
        BYTES: length of the encoding.
    """

    certificate: Certificate
    mask_public: bytes
    commitment: bytes
    signature: bytes

    BYTES: ClassVar[int] = 5 + CERTIFICATE_BYTES + KEY_BYTES + DIGEST_BYTES + SIGNATURE_BYTES

    @property
    def identity(self) -> bytes:
        """The device's Ed25519 public key."""
        return self.certificate.identity

    def signed_part(self, header: Header) -> bytes:
        """Return what the device signs: its keys, for the round of this header."""
        return sha256(header.encode()) + self.mask_public + self.commitment

    def encode(self) -> bytes:
        """Return the advert in `BYTES` bytes."""
        fields = self.certificate.encode() + self.mask_public + self.commitment + self.signature
        return Writer(_Kind.ADVERT).raw(fields).done()

    @classmethod
    def decode(cls, data: bytes) -> Advert:
        """Read an advert; nothing in it is verified yet.

        Raises:
            WireError: when the bytes are no advert.
        """
        reader = Reader(data, _Kind.ADVERT)
        certificate = Certificate.decode(reader.raw(CERTIFICATE_BYTES))
        advert = cls(certificate, reader.raw(KEY_BYTES), reader.raw(DIGEST_BYTES), reader.raw(SIGNATURE_BYTES))
        reader.end()
        return advert


@dataclass(frozen=True)
class Roster:
    """The cohort in the order of its identities; a member's place is its index from here on."""

    adverts: tuple[Advert, ...]

    def encode(self) -> bytes:
        """Return the roster's one encoding."""
        writer = Writer(_Kind.ROSTER).u32(len(self.adverts))
        return writer.raw(b"".join(advert.encode() for advert in self.adverts)).done()

    @classmethod
    @lru_cache(maxsize=8)
    def decode(cls, data: bytes) -> Roster:
        """Read a roster; results are remembered, since devices of one process read the same bytes.

        Raises:
            WireError: when the bytes are no roster, it is longer than any cohort, or its identities are not distinct
                and ascending.
        """
        reader = Reader(data, _Kind.ROSTER)
        count = reader.count(Advert.BYTES, LARGEST)
        adverts = tuple(Advert.decode(reader.raw(Advert.BYTES)) for _ in range(count))
        reader.end()
        identities = [advert.identity for advert in adverts]
        if any(identity >= following for identity, following in pairwise(identities)):
            raise WireError("roster: expected distinct identities in ascending order")
        return cls(adverts)

    def transcript(self, header: Header) -> bytes:
        """Return the digest of everything that was agreed on before any secret was shared."""
        return sha256(b"havenfl/secagg/transcript/1", sha256(header.encode()), sha256(self.encode()))


@dataclass(frozen=True)
class EncryptedShares:
    """A dealer's two secret shares for one holder, encrypted, and the dealer's public word on each of them.

    Attributes:
        sealed: both secret shares under the two members' channel key, AES-256-GCM.
        own_tag: binds the dealer to the share of its self-mask secret.
        mask_tag: binds the dealer to the share of its mask key.
    """

    sealed: bytes = field(repr=False)
    own_tag: bytes
    mask_tag: bytes

    def packed(self, member: int) -> bytes:
        """Return the place of dealer or holder, ciphertext and tags, one after the other; their lengths are fixed."""
        return _ENCRYPTED_SHARES.pack(member, self.sealed, self.own_tag, self.mask_tag)


def encode_encrypted_shares(encrypted_shares: Mapping[int, EncryptedShares]) -> bytes:
    """Return the reply of the second stage: a dealer's encrypted shares, by the holder's place."""
    writer = Writer(_Kind.SHARES)
    _write_encrypted_shares(writer, encrypted_shares)
    return writer.done()


def decode_encrypted_shares(data: bytes) -> dict[int, EncryptedShares]:
    """Read the reply of the second stage: encrypted shares, by the holder's place.

    Raises:
        WireError: when the bytes are no such reply, or holders are not distinct and ascending.
    """
    reader = Reader(data, _Kind.SHARES)
    encrypted_shares = _read_encrypted_shares(reader)
    reader.end()
    return encrypted_shares


@dataclass(frozen=True)
class InputRequest:
    """Request of the third stage: the secret shares of others that a device is to hold, and the model to train.

    Attributes:
        encrypted_shares: those that this device is to hold, by the dealer's place.
        dealers: places of all members who distributed shares, ascending: whom to mask with.
        weights: the model to train, float32[d], little-endian.
    """

    encrypted_shares: Mapping[int, EncryptedShares]
    dealers: tuple[int, ...]
    weights: bytes = field(repr=False)

    def encode_own(self) -> bytes:
        """Encode the part that differs from device to device; the model, which is the same for all, follows it."""
        writer = Writer(_Kind.INPUT_REQUEST)
        _write_encrypted_shares(writer, self.encrypted_shares)
        return writer.var(Members(self.dealers).encode()).done()

    @staticmethod
    def encode_model(weights: bytes) -> bytes:
        """Encode the part that is the same for all devices: float32[d], little-endian."""
        return Writer(_Kind.MODEL).var(weights).done()

    @classmethod
    def decode(cls, data: bytes) -> InputRequest:
        """Read both parts, one after the other.

        Raises:
            WireError: when the bytes are no such request, or members are not distinct and ascending.
        """
        reader = Reader(data, _Kind.INPUT_REQUEST)
        encrypted_shares, dealers = _read_encrypted_shares(reader), Members.decode(reader.var())
        model = Reader(reader.rest(), _Kind.MODEL)
        request = cls(encrypted_shares, dealers.places, model.var())
        model.end()
        return request


@dataclass(frozen=True)
class Complaint:
    """A holder's word on the dealers whose encrypted shares it could not use: they do not open, or a tag does not fit.

    It says nothing that the server, which relayed those shares, does not know: what the dealer sent opens unless the
    dealer or the server saw to it that it does not.

    Attributes:
        dealers: their places, ascending, at least one.
        signature: the holder's, over `complaint_statement`.
    """

    dealers: tuple[int, ...]
    signature: bytes

    def encode(self) -> bytes:
        """Return the complaint's one encoding."""
        return Writer(_Kind.COMPLAINT).var(Members(self.dealers).encode()).raw(self.signature).done()

    @classmethod
    def decode(cls, data: bytes) -> Complaint:
        """Read a complaint, not yet verified.

        Raises:
            WireError: when the bytes are no complaint, or dealers are none, or not distinct and ascending.
        """
        reader = Reader(data, _Kind.COMPLAINT)
        complaint = cls(Members.decode(reader.var()).places, reader.raw(SIGNATURE_BYTES))
        reader.end()
        if not complaint.dealers:
            raise WireError("complaint: expected at least one dealer, got none")
        return complaint


def complaint_statement(transcript: bytes, cohort: int, dealers: tuple[int, ...]) -> bytes:
    """Return what a complaint signs; with the cohort's size, from which follows how many complaints prove something.

    Args:
        transcript: the roster's, which fixes round and cohort.
        cohort: devices in the cohort.
        dealers: places of the dealers complained of, ascending.
    """
    return transcript + cohort.to_bytes(4, "little") + sha256(Members(dealers).encode())


def encode_masked(words: Words, complaint: Complaint | None = None) -> bytes:
    """Return the reply of the third stage: the masked vector, and the device's complaint if it has one."""
    return Writer(_Kind.MASKED).var(complaint.encode() if complaint else b"").var(words.tobytes()).done()


def decode_masked(data: bytes, bits: int, length: int) -> tuple[Words, Complaint | None]:
    """Read the reply of the third stage: the masked vector, and a complaint, not yet verified.

    Args:
        data: the reply.
        bits: what a coordinate needs, 8 to 32.
        length: coordinates of the vector.

    Raises:
        WireError: unless `data` holds exactly so many coordinates, and a complaint or none.
    """
    reader, words = Reader(data, _Kind.MASKED), word_type(bits)
    complaint = reader.var()
    raw, expected = reader.var(), word_count(bits, length) * words.itemsize
    reader.end()
    if len(raw) != expected:
        raise WireError(f"masked vector: expected {expected} bytes for {length} coordinates, got {len(raw)}")
    return np.frombuffer(raw, words), Complaint.decode(complaint) if complaint else None


@dataclass(frozen=True)
class Members:
    """A set of members by their places in the roster, ascending."""

    places: tuple[int, ...]

    def encode(self) -> bytes:
        """Return the set's one encoding."""
        return Writer(_Kind.MEMBERS).u32(len(self.places)).raw(np.array(self.places, "<u4").tobytes()).done()

    @classmethod
    def decode(cls, data: bytes) -> Members:
        """Read a set of members.

        Raises:
            WireError: when the bytes are no such set, or its places are not distinct and ascending.
        """
        reader = Reader(data, _Kind.MEMBERS)
        places = tuple(np.frombuffer(reader.raw(4 * reader.count(4, LARGEST)), "<u4").tolist())
        reader.end()
        _require_ascending(places)
        return cls(places)


@dataclass(frozen=True)
class Survivors:
    """Request of the fourth stage: whose masked vectors the server has added up.

    Attributes:
        members: those whose masked vectors the server holds.
        neighbour_table: the holders that each of them drew, as `NeighbourTable` encodes it; empty in a complete graph.
    """

    members: Members
    neighbour_table: bytes = b""

    def encode(self) -> bytes:
        """Return the request's one encoding."""
        return Writer(_Kind.SURVIVORS).var(self.members.encode()).var(self.neighbour_table).done()

    @classmethod
    def decode(cls, data: bytes) -> Survivors:
        """Read the request of the fourth stage; the neighbour table in it stays encoded.

        Raises:
            WireError: when the bytes are no such request, or members are not distinct and ascending.
        """
        reader = Reader(data, _Kind.SURVIVORS)
        survivors = cls(Members.decode(reader.var()), reader.var())
        reader.end()
        return survivors

    @property
    def signed_survivors(self) -> SignedSurvivors:
        """What a member signs of it: the survivors, and the digest of the table."""
        return SignedSurvivors(self.members, sha256(self.neighbour_table))


@dataclass(frozen=True)
class SignedSurvivors:
    """What a quorum has to sign before anything is unmasked.

    Attributes:
        members: the survivors.
        table_digest: SHA-256 of their neighbour table; of nothing, in a complete graph.
    """

    members: Members
    table_digest: bytes

    def encode(self) -> bytes:
        """Return the one encoding of what is signed."""
        return Writer(_Kind.SIGNED_SURVIVORS).var(self.members.encode()).raw(self.table_digest).done()

    @classmethod
    def decode(cls, data: bytes) -> SignedSurvivors:
        """Read what `encode` gave.

        Raises:
            WireError: when the bytes are something else, or members are not distinct and ascending.
        """
        reader = Reader(data, _Kind.SIGNED_SURVIVORS)
        signed_survivors = cls(Members.decode(reader.var()), reader.raw(DIGEST_BYTES))
        reader.end()
        return signed_survivors

    def signed_part(self, transcript: bytes, cohort: int) -> bytes:
        """Return what a consistency check signs; with the cohort's size, so that no record of the round understates it.

        Args:
            transcript: the roster's, which fixes round and cohort.
            cohort: devices in the cohort.
        """
        return transcript + cohort.to_bytes(4, "little") + self._digest

    @cached_property
    def _digest(self) -> bytes:
        return sha256(self.encode())


def encode_consistency_check(signature: bytes, tags: Mapping[int, bytes] = _NO_TAGS) -> bytes:
    """Return the reply of the fourth stage: the device's word on the survivor set that it was shown.

    Args:
        signature: its signature.
        tags: the same for members that it has a channel to, by their places, which verify faster.
    """
    writer = Writer(_Kind.CONSISTENCY_CHECK).raw(signature)
    write_indexed(writer, tags)
    return writer.done()


def decode_consistency_check(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Read the reply of the fourth stage: a signature and tags by the place of whom they are for; nothing is verified.

    Raises:
        WireError: when the bytes are no such reply, or members are not distinct and ascending.
    """
    reader = Reader(data, _Kind.CONSISTENCY_CHECK)
    signature, tags = reader.raw(SIGNATURE_BYTES), read_indexed(reader, CHECK_TAG_BYTES)
    reader.end()
    return signature, tags


def encode_consistency_tags(tags: Mapping[int, bytes]) -> bytes:
    """Return a device's own part of the request of the fifth stage: tags for it, by the place of whose they are."""
    writer = Writer(_Kind.CONSISTENCY_TAGS)
    write_indexed(writer, tags)
    return writer.done()


def encode_signatures(signatures: Mapping[int, bytes]) -> bytes:
    """Return the common part of the request of the fifth stage: a quorum's signatures over the survivor set."""
    writer = Writer(_Kind.CONSISTENCY_CHECKS)
    write_indexed(writer, signatures)
    return writer.done()


def encode_consistency_checks(signatures: Mapping[int, bytes], tags: Mapping[int, bytes] = _NO_TAGS) -> bytes:
    """Return the whole request of the fifth stage.

    Args:
        signatures: a quorum's, over the survivor set, by the member's place.
        tags: what vouches to this device for some of them.
    """
    return encode_consistency_tags(tags) + encode_signatures(signatures)


def decode_consistency_checks(data: bytes) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Read the request of the fifth stage: signatures and tags, not yet verified, by the member's place.

    Raises:
        WireError: when the bytes are no such request, or members are not distinct and ascending.
    """
    reader = Reader(data, _Kind.CONSISTENCY_TAGS)
    tags = read_indexed(reader, CHECK_TAG_BYTES)
    return _decode_indexed(reader.rest(), _Kind.CONSISTENCY_CHECKS, SIGNATURE_BYTES), tags


def encode_revealed(shares: Mapping[int, bytes]) -> bytes:
    """Return the reply of the fifth stage: one secret share a dealer, by its place.

    Of the self-mask secret where the dealer survived, else of its mask key.
    """
    writer = Writer(_Kind.REVEALED)
    write_indexed(writer, shares)
    return writer.done()


def decode_revealed(data: bytes) -> dict[int, bytes]:
    """Read the reply of the fifth stage: secret shares, by the dealer's place.

    Raises:
        WireError: when the bytes are no such reply, or members are not distinct and ascending.
    """
    return _decode_indexed(data, _Kind.REVEALED, SHARE_BYTES)


def _decode_indexed(data: bytes, kind: int, item_bytes: int) -> dict[int, bytes]:
    reader = Reader(data, kind)
    items = read_indexed(reader, item_bytes)
    reader.end()
    return items


def _write_encrypted_shares(writer: Writer, encrypted_shares: Mapping[int, EncryptedShares]) -> None:
    packed = [encrypted_shares[member].packed(member) for member in sorted(encrypted_shares)]
    writer.u32(len(packed)).raw(b"".join(packed))


def _read_encrypted_shares(reader: Reader) -> dict[int, EncryptedShares]:
    items = reader.records(_ENCRYPTED_SHARES, LARGEST)
    _require_ascending([member for member, *_ in items])
    return {member: EncryptedShares(*shares) for member, *shares in items}


def write_indexed(writer: Writer, items: Mapping[int, bytes]) -> None:
    """Write one field of the same width for each member, by its place, ascending."""
    writer.u32(len(items)).raw(b"".join(_PLACE.pack(member) + items[member] for member in sorted(items)))


def read_indexed(reader: Reader, item_bytes: int) -> dict[int, bytes]:
    """Read one field of `item_bytes` for each member, by its place.

    Raises:
        WireError: when bytes are missing, or members are not distinct and ascending.
    """
    items = reader.records(struct.Struct(f"<I{item_bytes}s"), LARGEST)
    _require_ascending([member for member, _ in items])
    return dict(items)


def _require_ascending(members: Sequence[int]) -> None:
    if any(member >= following for member, following in pairwise(members)):
        raise WireError("members: expected distinct indices in ascending order")
