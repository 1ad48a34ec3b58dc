"""A federation's data: who holds which messages, and what is held out from them.

Devices are users of a file, or made up from its rows (`partition`), or generated one by one when they are drawn
(`generator`, `generated`), so that a million of them cost no more memory than a thousand.
"""

from simulations.population.base import Population
from simulations.population.build import FederationData, build

__all__ = ["FederationData", "Population", "build"]
