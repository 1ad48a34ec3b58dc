"""A bound that a command's help states, apart from what it bounds, which takes long to import."""

from __future__ import annotations

MOST_WORKERS = 1 << 12
"""Worker processes that a command accepts."""
