"""Writes shamir.json beside it: shares over GF(65537) in plain Python integers, for readers of any language.

    python tests/privacy/secagg/primitives/vectors/make_shamir.py

The coefficients are small multiples so that the vectors can be checked by hand: limb l of the secret is its 16-bit
little-endian word, its polynomial is limb + sum over j of (7919 * (l + 1) * j + 65531) * x^j, holder h is at x = h + 1.
"""

from __future__ import annotations

import json
from pathlib import Path

PRIME = 65_537


def share(secret: bytes, threshold: int, holder: int) -> str:
    """16 little-endian words and a bit map of those that are 65536, in hex."""
    values = []
    for limb in range(16):
        constant = int.from_bytes(secret[2 * limb : 2 * limb + 2], "little")
        coefficients = [constant, *((7919 * (limb + 1) * j + 65_531) % PRIME for j in range(1, threshold))]
        values.append(sum(c * (holder + 1) ** j for j, c in enumerate(coefficients)) % PRIME)
    overflow = sum(1 << limb for limb, value in enumerate(values) if value == PRIME - 1)
    return b"".join((value & 0xFFFF).to_bytes(2, "little") for value in [*values, overflow]).hex()


def vectors() -> list[dict[str, object]]:
    secrets = [bytes(32), bytes(range(32)), b"\xff" * 32]
    return [
        {
            "secret": secret.hex(),
            "threshold": threshold,
            "shares": {str(holder): share(secret, threshold, holder) for holder in range(holders)},
        }
        for secret in secrets
        for threshold, holders in ((1, 3), (2, 3), (5, 9), (40, 64))
    ]


if __name__ == "__main__":
    Path(__file__).with_name("shamir.json").write_text(json.dumps(vectors(), indent=1) + "\n")
