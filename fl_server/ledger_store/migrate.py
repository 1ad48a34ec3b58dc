"""Bringing a store to this version's schema, inside the caller's transaction: an interrupted one changes nothing."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from fl_server.ledger_store.errors import LedgerStoreError
from fl_server.ledger_store.schema import entries_table

BASELINE = "0001"
"""The schema of the stores that were made before there were migrations."""

_one_at_a_time = Lock()
"""Alembic's `op` and `context` are global to the process."""


def migrate(connection: Connection) -> None:
    """Create or upgrade the schema.

    Args:
        connection: in a transaction that excludes every other writer and in which DDL can be rolled back.

    Raises:
        LedgerStoreError: when the store was written by a newer version.
        SQLAlchemyError: when the database refuses.
    """
    config = _config()
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {known.revision for known in script.walk_revisions()}:
        raise LedgerStoreError(
            f"ledger: expected a schema up to {script.get_current_head()}, got {current}: it was written by a newer "
            "version of havenfl; use that one"
        )
    config.attributes["connection"] = connection
    with _one_at_a_time:
        if current is None and inspect(connection).has_table(entries_table.name):
            command.stamp(config, BASELINE)
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    location = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", location.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
