"""The three ways in which the protocol says no."""

from __future__ import annotations


class Refused(Exception):
    """A device will not go on: it reveals nothing more in this round and has wiped its keys."""


class Rejected(Exception):
    """The server sets one device's reply aside; the round goes on without that device."""


class Aborted(Exception):
    """The round ends with nothing revealed and nothing charged."""


class WireError(ValueError):
    """Bytes that are not a well-formed message of the expected kind."""
