"""The one error of the stores."""

from __future__ import annotations


class LedgerStoreError(RuntimeError):
    """The ledger cannot be read or written.

    Nothing of the failed transaction was kept, unless it failed while committing: then all of it or nothing was, and
    only reading again tells. `Ledger` does so before its next step.
    """
