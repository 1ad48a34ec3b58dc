"""The coordinator: cohort, round, ledger, strategy, publish."""
