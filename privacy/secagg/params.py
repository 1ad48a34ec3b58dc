"""Thresholds of a complete graph, computed alike by server and devices from the cohort and the signed policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from privacy.task import AggregationPolicy

_SLACK = 1e-9
"""Keeps 0.1 * 30 from being counted as 2.9999."""


class ParameterError(ValueError):
    """No parameters give both privacy and progress for this cohort."""


@dataclass(frozen=True)
class Parameters:
    """What a cohort of `cohort` devices can withstand.

    Every device deals a share of its secrets to each member of the cohort, itself included. With 2 * threshold >
    cohort + corrupt, the server cannot gather `threshold` shares of both kinds for any device, whatever it tells whom:
    an honest device answers with one kind only, and just the corrupt ones with both.
    """

    cohort: int
    corrupt: int
    dropouts: int
    threshold: int
    survivors_required: int

    @property
    def honest_survivors(self) -> int:
        """The devices whose noise can be counted on."""
        return self.survivors_required - self.corrupt


def parameters(cohort: int, policy: AggregationPolicy) -> Parameters:
    """Thresholds for `cohort` devices.

    Raises:
        ParameterError: when the policy's corrupt and drop-out shares cannot both be withstood.
    """
    corrupt = math.floor(policy.corrupt_share * cohort + _SLACK)
    dropouts = math.floor(policy.dropout_share * cohort + _SLACK)
    threshold = (cohort + corrupt) // 2 + 1
    required = max(policy.min_survivors, cohort - dropouts)
    if required > cohort:
        raise ParameterError(f"cohort: expected at least {required} devices (min_survivors), got {cohort}")
    if threshold > required or required <= corrupt:
        raise ParameterError(
            f"cohort of {cohort}: a threshold of {threshold} cannot be reached when {dropouts} devices drop out; "
            "lower corrupt_share or dropout_share"
        )
    return Parameters(cohort, corrupt, dropouts, threshold, required)
