"""The `fl-sim` command."""

from __future__ import annotations

from privacy.command.launch import launch


def main() -> None:
    """See `fl-sim --help`."""
    launch("fl-sim", "simulations.cli", "sim")


if __name__ == "__main__":
    main()
