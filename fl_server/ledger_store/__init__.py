"""Durable stores of the privacy ledger: a file on a local disk (SQLite) or a database server (PostgreSQL)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
