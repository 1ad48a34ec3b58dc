"""The error that the reading of evidence raises."""

from __future__ import annotations


class EvidenceError(ValueError):
    """A file or a key that cannot be read at all; what is in it has not been judged."""
