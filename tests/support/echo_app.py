"""A server app without a federation: it exchanges bytes with every device and writes down what came back."""

from __future__ import annotations

import json
import time
from pathlib import Path

from fl_server.flower.grid_transport import GridTransport, RunConfig, server_app
from privacy.secagg import Request

SIZES = (0, 1, 70_000, 6_000_000)
"""Bytes; flwr splits arrays at 5 MiB, and records not at all."""
NO, KILL = Request(b"no", b""), Request(b"", b"kill")


def main(transport: GridTransport, config: RunConfig) -> None:
    transport.wait_for_nodes(int(config["devices"]), timeout=60)
    nodes = transport.nodes()
    found = {
        "nodes": nodes,
        "echoed": [_echoes(transport, size) for size in SIZES],
        "refused": {reply.node: reply.error for reply in transport.exchange("echo", dict.fromkeys(nodes, NO), 30)},
        "unknown": [(r.node, r.body, r.error) for r in transport.exchange("share", {12345: NO}, 30)],
        "killed": _killed(transport),
    }
    Path(str(config["out"])).write_text(json.dumps(found))


def _echoes(transport: GridTransport, size: int) -> list[int]:
    """The devices that sent back what they were sent."""
    common = b"\xff" * size
    requests = {node: Request(f"{node}".encode(), common) for node in transport.nodes()}
    replies = transport.exchange("input", requests, 60)
    return [reply.node for reply in replies if reply.body == b"input" + requests[reply.node].body]


def _killed(transport: GridTransport) -> dict[str, object]:
    """An exchange in which one device falls silent."""
    started = time.monotonic()
    replies = list(transport.exchange("unmask", dict.fromkeys(transport.nodes(), KILL), 4.0))
    return {"replies": [reply.node for reply in replies], "seconds": time.monotonic() - started}


app = server_app(main)
