"""The `fl-server` command."""

from __future__ import annotations

from privacy.command.launch import launch


def main() -> None:
    """See `fl-server --help`."""
    launch("fl-server", "fl_server.cli", "server")


if __name__ == "__main__":
    main()
