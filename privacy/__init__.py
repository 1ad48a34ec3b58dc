"""What a privacy reviewer must read: mechanisms, accounting, ledger and secure aggregation.

Nothing here opens a file, a socket or a database, reads a clock, or imports torch, flwr or grpc.
"""
