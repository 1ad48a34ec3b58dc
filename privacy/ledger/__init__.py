"""The privacy ledger: charged, durably, before anything is unmasked; append-only, signed, witnessed."""
