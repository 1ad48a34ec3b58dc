"""Where random bytes come from, and that nobody draws from a source that its task does not promise."""

from __future__ import annotations

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, strategies as st

from privacy.base.randomness import (
    SEED_BYTES,
    Keystream,
    Origin,
    RandomnessError,
    SystemRandomness,
    require_origin,
    uniform_unit,
    uniform_words,
)
from privacy.mechanism.mechanism import Mechanism
from privacy.secagg import Seen
from simulations.randomness import SeedTree
from tests.support.audits import audited
from tests.support.federation import NOW, Federation
from tests.support.tasks import make_task

REFUSED = "expected the operating system's, as the task promises, got a source that is seeded"
AES_256_CTR = {
    "key": "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    "counter": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    "plain": "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
    "cipher": "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5",
}
"""Two blocks of NIST SP 800-38A, F.5.5."""


def known(name: str) -> bytes:
    return bytes.fromhex(AES_256_CTR[name])


class Scripted:
    """The operating system's source, with the test's bytes."""

    def __init__(self, *given: bytes) -> None:
        self.given, self.sizes = list(given), list[int]()

    def __call__(self, size: int) -> bytes:
        self.sizes.append(size)
        return self.given.pop(0)


def test_the_systems_source_is_aes_256_ctr_of_48_bytes_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Scripted(known("key") + known("counter"))
    monkeypatch.setattr(os, "urandom", system)
    rng = SystemRandomness()
    drawn = rng.token(5) + rng.token(27)
    assert bytes(a ^ b for a, b in zip(drawn, known("plain"), strict=True)) == known("cipher")
    assert (system.sizes, rng.origin) == ([SEED_BYTES], "system")


def test_long_draws_and_short_ones_are_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is given twice, left out or changed, however it is asked for."""
    seed, sizes = bytes(range(SEED_BYTES)), (3, 1 << 10, 1 << 16, 0, 100_003)
    monkeypatch.setattr(os, "urandom", Scripted(seed))
    rng = SystemRandomness()
    stream = Cipher(algorithms.AES(seed[:32]), modes.CTR(seed[32:])).encryptor().update(bytes(sum(sizes)))
    assert b"".join(rng.token(size) for size in sizes) == stream


@pytest.mark.parametrize("place", range(SEED_BYTES))
def test_every_byte_of_the_seed_counts(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    seed = bytes(range(SEED_BYTES))
    other = seed[:place] + bytes([seed[place] ^ 1]) + seed[place + 1 :]
    monkeypatch.setattr(os, "urandom", Scripted(seed, other))
    first, second = SystemRandomness(), SystemRandomness()
    assert first.token(16) != second.token(16)


def test_no_two_sources_share_a_block() -> None:
    """Of 128 bits: a collision among so many has a probability below 2^-100."""
    count = 1 << 12
    assert len({SystemRandomness().token(16) for _ in range(count)}) == count


@pytest.mark.parametrize("size", [0, 47, 49])
def test_a_seed_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="expected 48 bytes"):
        Keystream(bytes(size))


class Given:
    """A source of the test's bytes, once."""

    origin: Origin = "seeded"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def token(self, size: int) -> bytes:
        taken, self.data = self.data[:size], self.data[size:]
        assert len(taken) == size
        return taken


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_words_and_units_are_the_bytes_little_endian(words: list[int]) -> None:
    raw = b"".join(word.to_bytes(8, "little") for word in words)
    assert uniform_words(Given(raw), len(words), np.uint64).tolist() == words
    assert uniform_unit(Given(raw), len(words)).tolist() == [(word >> 11) / 2**53 for word in words]
    narrow = uniform_words(Given(raw), 4 * len(words), np.uint16).tolist()
    assert narrow == [int.from_bytes(raw[at : at + 2], "little") for at in range(0, len(raw), 2)]


def test_only_the_systems_source_is_good_for_every_task() -> None:
    seeded, system = SeedTree.root(1).stream(), SystemRandomness()
    require_origin("seeded", seeded)
    require_origin("seeded", system)
    require_origin("system", system)
    with pytest.raises(RandomnessError, match=REFUSED):
        require_origin("system", seeded)


def test_a_device_encodes_with_the_source_that_its_task_promises() -> None:
    round_ = audited()
    real = Mechanism.for_cohort(round_.task.model_copy(update={"randomness": "system"}), round_.cohort)
    real.encode(round_.silent, bytes(32), SystemRandomness())
    with pytest.raises(RandomnessError, match=REFUSED):
        real.encode(round_.silent, bytes(32), SeedTree.root(1).stream())


def test_a_device_makes_keys_and_shares_from_the_source_that_its_task_promises() -> None:
    federation = Federation(10, task=make_task(randomness="system"))
    client, seeded, system = federation.clients[0], SeedTree.root(1).stream(), SystemRandomness()
    invitation = federation.server.requests()[0].body
    with pytest.raises(RandomnessError, match=REFUSED):
        client.advertise(invitation, Seen(), NOW, seeded)
    federation.server.receive(0, client.advertise(invitation, Seen(), NOW, system)[0])
    for device in range(1, 10):
        request = federation.server.requests()[device].body
        federation.server.receive(device, federation.clients[device].advertise(request, Seen(), NOW, system)[0])
    federation.server.advance()
    with pytest.raises(RandomnessError, match=REFUSED):
        client.share(federation.server.requests()[0].body, seeded)
