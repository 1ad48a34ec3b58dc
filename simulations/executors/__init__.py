"""Where the devices of ideal rounds are trained: in this process, in several on this machine, or on a Ray cluster.

Sums of integers do not depend on who adds them, so neither does the model, whoever joins or dies on the way.
"""

from simulations.executors.selection import executor

__all__ = ["executor"]
