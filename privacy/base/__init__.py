"""The bottom: canonical JSON, digests, signatures, randomness, and what errors of others say to people."""
