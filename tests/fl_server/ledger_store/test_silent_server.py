"""A PostgreSQL that takes connections and never answers is given up, in a line."""

from __future__ import annotations

import time

import pytest

from fl_server.ledger_store import LedgerStoreError, open_ledger_store, postgres
from tests.support.silent import silent_server


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgres._CONNECT_TIMEOUT_S <= 10
    monkeypatch.setattr(postgres, "_CONNECT_TIMEOUT_S", 2)  # the least that libpq takes
    with silent_server() as address:
        since = time.monotonic()
        with pytest.raises(LedgerStoreError, match=r"PostgreSQL at 127\.0\.0\.1.*timeout") as caught:
            open_ledger_store(f"postgresql://fl:secret@{address}/ledger")
        assert time.monotonic() - since < 10
        assert "secret" not in str(caught.value)
