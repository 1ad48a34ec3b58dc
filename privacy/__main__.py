"""The `fl-privacy` command."""

from __future__ import annotations

from privacy.command.launch import launch


def main() -> None:
    """See `fl-privacy --help`."""
    launch("fl-privacy", "privacy.cli.app", "report")


if __name__ == "__main__":
    main()
