"""All rounds of a task: cohort, round, ledger, strategy, checkpoint, records."""
