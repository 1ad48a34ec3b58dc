"""The configuration of a run: a TOML file, and flags over it. Unknown keys are refused by name."""
