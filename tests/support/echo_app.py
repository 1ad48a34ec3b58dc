"""A server app without a federation: it exchanges bytes with every device and writes down what came back."""

from __future__ import annotations

import json
from pathlib import Path

from fl_server.flower.grid_transport import GridTransport, RunConfig
from privacy.secagg import Request
from tests.support.leaping import GENEROUS_S, LeapingTransport, leaping_app

SIZES = (0, 1, 70_000, 6_000_000)
"""Bytes; flwr splits arrays at 5 MiB, and records not at all."""
NO, KILL = Request(b"no", b""), Request(b"", b"kill")


def main(transport: LeapingTransport, config: RunConfig) -> None:
    transport.wait_for_nodes(int(config["devices"]), timeout=GENEROUS_S)
    nodes = transport.nodes()
    report = {
        "nodes": nodes,
        "echoed": [_echoes(transport, size) for size in SIZES],
        "refused": {
            reply.node: reply.error for reply in transport.exchange("echo", dict.fromkeys(nodes, NO), GENEROUS_S)
        },
        "unknown": [(r.node, r.body, r.error) for r in transport.exchange("share", {12345: NO}, GENEROUS_S)],
        "killed": _killed(transport),
    }
    Path(str(config["out"])).write_text(json.dumps(report))


def _echoes(transport: GridTransport, size: int) -> list[int]:
    """The devices that sent back what they were sent."""
    common = b"\xff" * size
    requests = {node: Request(f"{node}".encode(), common) for node in transport.nodes()}
    replies = transport.exchange("input", requests, GENEROUS_S)
    return [reply.node for reply in replies if reply.body == b"input" + requests[reply.node].body]


def _killed(transport: LeapingTransport) -> dict[str, object]:
    """An exchange in which one device falls silent."""
    started = transport.clock()
    replies = list(transport.exchange("unmask", dict.fromkeys(transport.nodes(), KILL), GENEROUS_S))
    return {"replies": [reply.node for reply in replies], "seconds": transport.clock() - started}


app = leaping_app(main)
