"""The server's side of a round: cohort, shards, recovery, and the record that a reviewer checks."""
