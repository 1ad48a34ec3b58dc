"""Alembic's scripts; `fl_server.ledger_store.schema` runs them."""
