"""A population's devices, and three kinds of rounds over them: the protocol, its sum, a trusted aggregator."""
