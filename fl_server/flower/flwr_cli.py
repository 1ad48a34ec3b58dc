"""Flower's command line, with a configuration directory of its own, so that a user's is neither read nor changed."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl_server.flower.processes import ProcessError

RunValue = str | int | float | bool

_CONNECTION = "havenfl"
COMMAND_TIMEOUT_S = 60.0
_PACKAGES = Path(__file__).resolve().parents[2]
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


class FlwrCli:
    """Flower's `flwr` commands, for one SuperLink."""

    def __init__(self, home: Path, address: str, root_certificates: Path | None) -> None:
        """Write flwr's configuration.

        Args:
            home: flwr's configuration directory; created.
            address: host:port of the SuperLink.
            root_certificates: PEM file of its authority; None for a SuperLink without TLS.
        """
        home.mkdir(parents=True)
        secured = "insecure = true" if root_certificates is None else f"root-certificates = {_toml(root_certificates)}"
        (home / "config.toml").write_text(
            f"[superlink]\ndefault = {_toml(_CONNECTION)}\n\n"
            f"[superlink.{_CONNECTION}]\naddress = {_toml(address)}\n{secured}\n"
        )
        self.environment = {**os.environ, **_QUIET, "FLWR_HOME": str(home), **_search_paths()}
        """The environment of Flower's processes: they find this package, also in a checkout, and phone nobody."""

    def register(self, public_key: Path) -> None:
        """Let the node with this OpenSSH public key take part.

        Raises:
            ProcessError: when the SuperLink refuses.
        """
        self._call("supernode", "register", str(public_key), _CONNECTION)

    def submit(self, app: Path, run_config: Mapping[str, RunValue], federation: Mapping[str, RunValue]) -> int:
        """Start a run of a Flower app.

        Args:
            app: the app's directory.
            run_config: values that replace the app's own; its keys must be known there.
            federation: options of Flower's simulation, such as `num-supernodes`; empty for real devices.

        Returns:
            The run's number.

        Raises:
            ProcessError: when the SuperLink refuses.
        """
        options = ["--run-config", _pairs(run_config)] if run_config else []
        options += ["--federation-config", _pairs(federation)] if federation else []
        return int(self._call("run", str(app), _CONNECTION, *options)["run-id"])

    def outcome(self, run: int) -> str | None:
        """Tell how a run ended: `completed`, `failed` or `stopped`; None while it has not."""
        status, _, outcome = self._call("ls", _CONNECTION, "--run-id", str(run))["runs"][0]["status"].partition(":")
        return outcome if status == "finished" else None

    def log_command(self, run: int) -> list[str]:
        """Return a command that prints what the run's server app prints, and ends with the run."""
        return [script("flwr"), "log", str(run), _CONNECTION, "--stream"]

    def _call(self, *arguments: str) -> dict[str, Any]:
        command = [script("flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(  # noqa: S603 - built here, no shell
                command, env=self.environment, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProcessError(f"flwr {arguments[0]}: {error}") from error
        answer = _parsed(done.stdout)
        if done.returncode != 0 or not answer.get("success"):
            reason = answer.get("error-message") or done.stdout + done.stderr
            raise ProcessError(f"flwr {arguments[0]}: {reason.strip()}")
        return answer


def script(name: str) -> str:
    """Return the path of a program that pip installed beside this interpreter."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def _parsed(output: str) -> dict[str, Any]:
    """Parse flwr's JSON: it ends with exit code 0 also when it failed, and says so in there."""
    try:
        answer = json.loads(output)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _search_paths() -> dict[str, str]:
    """Return search paths for Flower, which starts some of its programs and imports the app by name."""
    python_path = os.environ.get("PYTHONPATH")
    return {
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": f"{_PACKAGES}{os.pathsep}{python_path}" if python_path else str(_PACKAGES),
    }


def _pairs(values: Mapping[str, RunValue]) -> str:
    return " ".join(f"{key}={_toml(value)}" for key, value in values.items())


def _toml(value: RunValue | Path) -> str:
    """Write a TOML value; JSON's strings, numbers and booleans are TOML's as well."""
    return json.dumps(str(value) if isinstance(value, Path) else value)
