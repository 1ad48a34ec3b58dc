"""Canonical JSON (RFC 8785) and the digests taken over it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Self

import rfc8785
from pydantic import BaseModel, ConfigDict, model_validator

_MOST = 2**53 - 1
"""Integers up to here are the same number to everybody who reads JSON (RFC 8785, appendix D)."""


class Frozen(BaseModel):
    """Immutable record: unknown keys, wrong types, NaN, infinity and what JSON cannot carry are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _fits_json(self) -> Self:
        for name in type(self).model_fields:
            if not _fits(self.__dict__[name]):
                raise ValueError(f"{name}: expected integers up to 2^53 - 1 in size, got a larger one")
        return self

    def canonical(self) -> bytes:
        """Return the one RFC 8785 encoding of this record."""
        return canonical_json(self.model_dump(mode="json"))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values in some fields, without what the original has computed from its own and kept.

        Args:
            update: new values by field; they are not validated.
            deep: whether what the fields refer to is copied too.
        """
        copied = super().model_copy(update=update, deep=deep)
        for kept in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[kept]
        return copied


def _fits(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) <= _MOST
    return all(map(_fits, value)) if isinstance(value, tuple) else True


def canonical_json(value: Any) -> bytes:
    """Encode `value` as RFC 8785 JSON.

    Raises:
        rfc8785.CanonicalizationError: when there is NaN, infinity or an integer beyond 2^53 - 1.
    """
    return rfc8785.dumps(value)


def sha256(*parts: bytes) -> bytes:
    """Return the 32-byte SHA-256 of the concatenation.

    Args:
        parts: a domain label first, and fixed-width or hashed parts after it, so that no two inputs look alike.
    """
    return hashlib.sha256(parts[0] if len(parts) == 1 else b"".join(parts)).digest()
