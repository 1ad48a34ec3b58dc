"""CPU of what a user waits for before any work: help, bad input, a reviewer's verification, an import.

Against another version of this project, from its checkout, under the same interpreter, run in turn:

    git worktree add /tmp/before <revision>
    python benchmarks/startup.py --against /tmp/before --verify runs/demo

Where the other version does not read this one's files, `--peer-run` is a run of its own making.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import measure
from measure import Row

HERE = Path(__file__).parents[1]
Command = tuple[list[str], int]
"""Arguments of the interpreter, and the exit code."""

_FILES = """
try:
    import fl_client.device.files
except ModuleNotFoundError:
    import fl_client.files
"""
COMMANDS: Mapping[str, Command] = {
    "fl-sim --help": (["-m", "simulations", "--help"], 0),
    "fl-server --help": (["-m", "fl_server", "--help"], 0),
    "fl-client --help": (["-m", "fl_client", "--help"], 0),
    "fl-privacy --help": (["-m", "privacy", "--help"], 0),
    "fl-sim run, a missing file": (["-m", "simulations", "run", "--data", "missing.csv"], 2),
    "fl-sim run, a bad flag": (["-m", "simulations", "run", "--bogus"], 2),
    "import of a device's files": (["-c", _FILES], 0),
}


def verification(run: Path) -> Command:
    """`fl-privacy verify` of all that a run left behind."""
    path = run.resolve()
    files = {"ledger": "ledger.db", "operator": "operator.pub", "authority": "authority.pub", "log": "rounds.jsonl"}
    options = [part for name, file in files.items() for part in (f"--{name}", str(path / file))]
    return ["-m", "privacy", "verify", *options, "--release", str(path / "release" / "stable")], 0


def cpu_seconds(checkout: Path, arguments: Sequence[str], code: int) -> float:
    """User and system time of one process and what it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(checkout, arguments, code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def peak_mib(checkout: Path, arguments: Sequence[str], code: int) -> float:
    """MiB of memory at the peak of one process."""
    report = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    return int(_run(checkout, ["-c", f"{arguments[-1]}\n{report}"], code)) / 1024


def _run(checkout: Path, arguments: Sequence[str], code: int) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    ended = subprocess.run(  # noqa: S603 - the interpreter, with the arguments above
        [sys.executable, *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode != code:
        raise SystemExit(
            f"{checkout}: expected exit code {code} of {arguments}, got {ended.returncode}: {ended.stderr}"
        )
    return ended.stdout


def pairs(
    name: str,
    figure: Callable[[Path, Sequence[str], int], float],
    commands: tuple[Command, Command],
    peer: Path,
    runs: int,
) -> Row:
    """One row: ours and the peer's command in turn, after a run of each that fills the caches."""
    ours_command, peers_command = commands
    figure(HERE, *ours_command)
    figure(peer, *peers_command)
    figures = [(figure(HERE, *ours_command), figure(peer, *peers_command)) for _ in range(runs)]
    ours, peers = zip(*figures, strict=True)
    unit = "MiB" if figure is peak_mib else "s"
    return measure.compare(name, ours, peers, against=f"the version in {peer.name}", unit=unit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, required=True, help="a checkout of another version")
    parser.add_argument("--verify", type=Path, help="a finished run, to verify as well")
    parser.add_argument("--peer-run", type=Path, help="the run that the other version verifies; the same unless given")
    parser.add_argument("--runs", type=int, default=3, help="pairs to measure")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    peer = arguments.against.resolve()
    commands = {name: (command, command) for name, command in COMMANDS.items()}
    if arguments.verify:
        both = verification(arguments.verify), verification(arguments.peer_run or arguments.verify)
        commands["fl-privacy verify"] = both
    rows = [pairs(name, cpu_seconds, command, peer, arguments.runs) for name, command in commands.items()]
    imported = "import of a device's files"
    rows.append(pairs(f"{imported}, memory", peak_mib, commands[imported], peer, arguments.runs))
    measure.show(rows, as_json=arguments.json)


if __name__ == "__main__":
    main()
