"""The ways in which the protocol says no: to a server, to a device, to a round, and to bytes."""

from __future__ import annotations


class Refused(Exception):
    """A device will not go on: it reveals nothing more in this round and has wiped its keys."""


class Rejected(Exception):
    """The server sets one device's reply aside; the round goes on without that device."""


class Aborted(Exception):
    """The round ends without a sum.

    Nothing has been revealed or charged before the last stage. An abort while unmasking comes after the charge, which
    stands.
    """


class WireError(ValueError):
    """Bytes that are not a well-formed message of the expected kind."""
