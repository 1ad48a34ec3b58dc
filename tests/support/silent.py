"""A server that takes every connection and never says a word."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_server() -> Iterator[str]:
    """Its address, HOST:PORT: the system takes connections into the backlog, and nobody reads from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        host, port = listener.getsockname()
        yield f"{host}:{port}"
