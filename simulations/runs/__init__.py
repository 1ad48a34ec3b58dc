"""One run: from a configuration to a run directory with a published model in it."""
