"""The directory that `flwr run` takes: it names what pip installed, and carries no code of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fl_server.flower.flwr_cli import RunValue

_PYPROJECT = """\
[project]
name = "havenfl"
version = "0.1.0"
description = "Federated training of one task"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>=1.41,<1.42"]

[tool.flwr.app]
publisher = "havenfl"
fab-format-version = 1
flwr-version-target = "1.41.0"

[tool.flwr.app.components]
serverapp = {serverapp}
# flwr demands this entry; devices run what their host application ships, and load nothing from here.
clientapp = {serverapp}

[tool.flwr.app.config]
{config}
"""
_LICENSE = "SPDX-License-Identifier: Apache-2.0\n"


def write_app(directory: Path, serverapp: str, run_config: Mapping[str, RunValue]) -> Path:
    """Write a Flower app into a new directory.

    Args:
        directory: created, with its parents.
        serverapp: `module:attribute` of a ServerApp that the server's environment can import.
        run_config: what the ServerApp is given.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True)
    config = "\n".join(f"{key} = {json.dumps(value)}" for key, value in run_config.items())
    (directory / "pyproject.toml").write_text(_PYPROJECT.format(serverapp=json.dumps(serverapp), config=config))
    (directory / "LICENSE").write_text(_LICENSE)
    return directory
