"""A model made public: its report recomputed from the ledger, and both bound into one signed release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_server.registry import ModelVersion, Registry, ReleaseContents
from privacy.ledger import Ledger
from privacy.report import EpsilonReport, RunFacts, build_report
from privacy.signing import Signer
from privacy.task import TaskSpec


@dataclass(frozen=True)
class Publication:
    """A release and the report in it."""

    version: ModelVersion
    report: EpsilonReport


def publish_model(
    registry: Registry,
    *,
    task: TaskSpec,
    weights: NDArray[np.float32],
    card: Mapping[str, Any],
    ledger: Ledger,
    facts: RunFacts,
    operator: Signer,
) -> Publication:
    """Report on the ledger as it stands, publish, and point `stable` at the release.

    Args:
        weights: float32[d].
        card: what a scorer needs beside the weights.

    Raises:
        LedgerInvalid, ReportError, AccountantsDisagree: when the privacy claim cannot be recomputed; nothing is
            published then.
    """
    head = ledger.head()
    report = build_report(task, ledger.entries(), head, operator.public, facts)
    contents = ReleaseContents(task, weights, card, report.canonical())
    version = registry.publish(contents, head.model_dump(mode="json"), operator)
    return Publication(version, report)
