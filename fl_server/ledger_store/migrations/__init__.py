"""Alembic's scripts; `fl_server.ledger_store.migrate` runs them."""
