"""What goes wrong in a population: devices that are away, drop out, are slow, break or lie.

Everything follows from the seed, the device and the round, so that it is the same on any engine, on any number of
workers, and with secure aggregation for real or replaced by its sum.
"""
