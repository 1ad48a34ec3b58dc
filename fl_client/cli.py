"""The `fl-client` command: devices by hand. An application embeds a device instead: docs/embedding.md."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.command.app import new_app
from privacy.command.exits import EXIT_FAILED, fail

if TYPE_CHECKING:
    from fl_client.connection import EmbeddedNode

# Commands import what they need when they run, so that help, and errors about flags, take no time.

app = new_app("fl-client", "Devices of a federation, run by hand.")

WATCH_INTERVAL_S = 0.2

Directories = Annotated[list[Path], typer.Argument(help="One directory a device.")]


@app.command()
def init(directories: Directories) -> None:
    """Make devices: a directory each, with keys that never leave it.

    The enrolment authority answers `enrolment-request.bin` with `enrolment.json`; the operator registers
    `node.key.pub` with the SuperLink. Messages to train on go into `messages.csv`, with the columns text and label.

    Example: [bold]fl-client init devices/alice devices/bob[/bold]

    Exit codes: 0 done, 2 bad input.
    """
    from fl_client.device import DeviceDirectory, DeviceFilesError

    try:
        for directory in directories:
            DeviceDirectory.create(directory)
            typer.echo(f"{directory}: enrolment-request.bin is for the authority, node.key.pub for the operator")
    except DeviceFilesError as error:
        fail(str(error))


@app.command()
def recover(
    directories: Directories,
    participations: Annotated[
        int, typer.Option(min=0, help="The most rounds that each can have taken part in: from the operator's records.")
    ],
) -> None:
    """Begin the memory of a device anew, where the old one is missing or damaged.

    What the device did is then known from you alone: so many rounds count for its life, and in each task from now on.
    Who does not know the number gives the policy's max_lifetime_participations; the device then takes part no more.

    Example: [bold]fl-client recover devices/alice --participations 30[/bold]

    Exit codes: 0 done, 2 bad input, or a memory that is whole.
    """
    from fl_client.device import DeviceDirectory, DeviceFilesError, StoreError

    try:
        for directory in directories:
            DeviceDirectory(directory).recover(participations)
            typer.echo(f"{directory}: a new memory, which counts {participations} rounds for what was lost")
    except (DeviceFilesError, StoreError) as error:
        fail(str(error))


@app.command()
def run(
    directories: Directories,
    superlink: Annotated[str, typer.Option(help="HOST:PORT of the SuperLink.")],
    root_certificates: Annotated[Path, typer.Option(help="PEM file of the authority behind its certificate.")],
    poll_interval: Annotated[float, typer.Option(min=0.05, help="Seconds between two looks for work.")] = 1.0,
) -> None:
    """Take part until stopped by Ctrl-C or SIGTERM.

    Example: [bold]fl-client run --superlink fl.example.org:8000 --root-certificates ca.crt devices/alice[/bold]

    Exit codes: 0 stopped, 1 the server refused a device for good, 2 bad input.
    """
    # Before the imports: Opacus' gives the root logger a handler and no level, and later settings are then ignored.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(threadName)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    import torch

    from fl_client.connection import EmbeddedNode, FleetConnection, NodeError
    from fl_client.device import DeviceDirectory, DeviceFilesError, StoreError, open_device

    torch.set_num_threads(1)  # devices of one host run side by side
    try:
        nodes = [
            EmbeddedNode(
                FleetConnection(superlink, root_certificates, device.node_key),
                open_device(device),
                poll_interval=poll_interval,
                name=str(device.path),
            )
            for device in map(DeviceDirectory, directories)
        ]
    except (DeviceFilesError, NodeError, StoreError) as error:
        fail(str(error))
    if not _run_until_stopped(nodes):
        raise typer.Exit(EXIT_FAILED)


def _run_until_stopped(nodes: list[EmbeddedNode]) -> bool:
    """False when a node stopped by itself; the others go on without it until there is none left."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for node in nodes:
        node.start()
    while not stop.wait(WATCH_INTERVAL_S) and any(node.alive for node in nodes):
        pass
    for node in nodes:
        node.stop()
    return all(node.error is None for node in nodes)
