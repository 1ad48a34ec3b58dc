"""What a privacy reviewer must read: mechanisms, accounting, ledger and secure aggregation.

Bytes, clocks and randomness are passed in. The exceptions: `verification` reads the evidence that a reviewer brings,
the commands in `cli` read, write and ask the clock, `base.files` writes what it is given, and
`base.randomness.SystemRandomness` asks the system. Nothing imports torch, flwr or grpc.
"""
