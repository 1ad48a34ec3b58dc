"""A server app without a federation: it exchanges bytes with every device and writes down what came back."""

from __future__ import annotations

import json
import time
from pathlib import Path

from fl_server.flower import GridTransport, RunConfig, server_app

SIZES = (0, 1, 70_000, 6_000_000)
"""Bytes; flwr splits arrays at 5 MiB, and records not at all."""


def main(transport: GridTransport, config: RunConfig) -> None:
    transport.wait_for_nodes(int(config["devices"]), timeout=60)
    nodes = transport.nodes()
    found = {
        "nodes": nodes,
        "echoed": [_echoes(transport, size) for size in SIZES],
        "refused": {reply.node: reply.error for reply in transport.exchange("echo", dict.fromkeys(nodes, b"no"), 30)},
        "unknown": [(r.node, r.body, r.error) for r in transport.exchange("share", {12345: b""}, 30)],
        "killed": _killed(transport),
    }
    Path(str(config["out"])).write_text(json.dumps(found))


def _echoes(transport: GridTransport, size: int) -> list[int]:
    """The devices that sent back what they were sent."""
    bodies = {node: f"{node}".encode() + b"\xff" * size for node in transport.nodes()}
    return [
        reply.node for reply in transport.exchange("input", bodies, 60) if reply.body == b"input" + bodies[reply.node]
    ]


def _killed(transport: GridTransport) -> dict[str, object]:
    """An exchange in which one device falls silent."""
    started = time.monotonic()
    replies = list(transport.exchange("unmask", dict.fromkeys(transport.nodes(), b"kill"), 4.0))
    return {"replies": [reply.node for reply in replies], "seconds": time.monotonic() - started}


app = server_app(main)
