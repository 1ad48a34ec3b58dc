"""Secure aggregation as pure state machines over bytes: the server learns the exact sum and nothing else.

After Bonawitz et al. 2017 ("Practical Secure Aggregation for Privacy-Preserving Machine Learning"), malicious-server
variant: authenticated keys, and an echo of the survivor set before anything is unmasked.
"""

from privacy.secagg.client import Client
from privacy.secagg.errors import Aborted, Refused, Rejected
from privacy.secagg.messages import Stage
from privacy.secagg.server import Server

__all__ = ["Aborted", "Client", "Refused", "Rejected", "Server", "Stage"]
