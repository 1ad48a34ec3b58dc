"""Only the next number can be inserted: SQLite's INSERT OR REPLACE removes a row without asking the DELETE trigger."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_SQLITE = """
CREATE TRIGGER ledger_next_only BEFORE INSERT ON ledger_entries
WHEN NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM ledger_entries)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: only the next number can be added'); END
"""
_POSTGRES_FUNCTION = """
CREATE FUNCTION ledger_next() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF NEW.seq <> (SELECT coalesce(max(seq) + 1, 0) FROM ledger_entries) THEN
        RAISE EXCEPTION 'the ledger is append-only: only the next number can be added';
    END IF;
    RETURN NEW;
END $$
"""
_POSTGRES_TRIGGER = """
CREATE TRIGGER ledger_next_only BEFORE INSERT ON ledger_entries FOR EACH ROW EXECUTE FUNCTION ledger_next()
"""


def upgrade() -> None:
    """Add the trigger."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_POSTGRES_FUNCTION)
        op.execute(_POSTGRES_TRIGGER)
    else:
        op.execute(_SQLITE)
