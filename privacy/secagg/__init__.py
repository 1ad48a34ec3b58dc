"""Secure aggregation as pure state machines over bytes: the server learns the exact sum and nothing else.

After Bonawitz et al. 2017 ("Practical Secure Aggregation for Privacy-Preserving Machine Learning"), malicious-server
variant: authenticated keys, and a consistency check of the survivor set before anything is unmasked. Above
128 devices each one draws the holders of its secret shares itself, after Bell et al. 2020.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
