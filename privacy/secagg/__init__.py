"""Secure aggregation as pure state machines over bytes: the server learns the exact sum and nothing else.

After Bonawitz et al. 2017 ("Practical Secure Aggregation for Privacy-Preserving Machine Learning"), malicious-server
variant: authenticated keys, and an echo of the survivor set before anything is unmasked. Above 128 devices each one
draws the holders of its shares itself, after Bell et al. 2020.
"""

from privacy.secagg.client.client import Client, Seen
from privacy.secagg.errors import Aborted, Refused, Rejected
from privacy.secagg.messages import Stage
from privacy.secagg.server.server import RoundAuthority, Server
from privacy.secagg.server.shard import Request

__all__ = ["Aborted", "Client", "Refused", "Rejected", "Request", "RoundAuthority", "Seen", "Server", "Stage"]
