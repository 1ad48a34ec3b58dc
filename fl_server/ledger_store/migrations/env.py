"""Alembic's environment: the migrations run in the transaction of the connection that they are given."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
