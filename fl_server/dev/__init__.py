"""A whole federation on one machine, for development."""
