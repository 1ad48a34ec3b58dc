"""The `fl-client` command."""

from __future__ import annotations

from privacy.command.launch import launch


def main() -> None:
    """See `fl-client --help`."""
    launch("fl-client", "fl_client.cli", "client")


if __name__ == "__main__":
    main()
