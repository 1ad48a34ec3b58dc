"""A device: what it answers, what it remembers, its files."""
