"""The `fl-privacy` command, the only part of `privacy` that reads files; it needs the `report` extra alone."""
