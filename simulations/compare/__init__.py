"""Federated learning beside what else could have been done with the same messages."""
