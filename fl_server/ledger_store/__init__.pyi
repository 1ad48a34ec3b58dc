from .errors import LedgerStoreError as LedgerStoreError
from .opening import export_ledger as export_ledger, open_ledger_store as open_ledger_store
from .postgres import PostgresLedgerStore as PostgresLedgerStore
from .sqlite import SqliteLedgerStore as SqliteLedgerStore
