"""The epsilon report: JSON from the task and the verified ledger, HTML drawn from the JSON alone."""
