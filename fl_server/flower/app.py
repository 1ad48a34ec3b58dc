"""The ServerApp that a SuperExec starts: `serverapp = "fl_server.flower.app:app"`."""

from __future__ import annotations

from pathlib import Path

from fl_server.flower.grid_transport import GridTransport, RunConfig, server_app
from fl_server.service import ServerDirectory, train


def main(transport: GridTransport, config: RunConfig) -> None:
    """Train the task in the run configuration's `directory` with the devices that are connected."""
    directory = ServerDirectory(Path(str(config["directory"])))
    settings = directory.read_settings()
    transport.wait_for_nodes(settings.devices, settings.node_wait_timeout)
    publication = train(directory, transport)
    print(f"published {publication.version.name}")


app = server_app(main)
