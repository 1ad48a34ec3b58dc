"""An epsilon report in the form of the OpenDP Deployments Registry (github.com/opendp/deployments-registry-data).

Its `schemas/deployments-schema.yaml` as of July 2026, tier 3. The registry's files are YAML, of which JSON is a part.
What a report cannot know is left to whoever submits it.
"""

from __future__ import annotations

from typing import Any

from privacy.report.model import EpsilonReport
from privacy.report.words import AGGREGATOR

_ASK = "To be stated by the data curator."
_MODEL = "Federated"
"""The registry's deployment model with noise from devices or the server, and updates seen by nobody but in sums."""


class NoDeployment(ValueError):
    """A report of a run that stands for a fleet which does not exist, or trusts an aggregator as simulations do."""


def registry_entry(report: EpsilonReport, curator: str | None = None) -> dict[str, Any]:
    """Return the registry's record of a deployment, JSON; `curator` is who answers for the data.

    Raises:
        NoDeployment: when the report is extrapolated, or of a simulated aggregator that sees updates.
    """
    if any(assumption.party == AGGREGATOR for assumption in report.claim.trust):
        raise NoDeployment("expected a report of what was deployed, got one of a simulation with a trusted aggregator")
    if report.extrapolation is not None:
        raise NoDeployment(
            f"expected a report of what was deployed, got one extrapolated to {report.extrapolation.population:,} "
            "devices that were never asked"
        )
    slug = "-".join(part for part in (report.provenance.task_name, report.provenance.task[:12]) if part)
    return {
        "url_slug": slug.lower().replace(" ", "-"),
        "status": "Draft",
        "tier": 3,
        "deployment": {
            "basic": _basic(report, curator),
            "dp_variant": _variant(report),
            "privacy_loss": _loss(report),
            "deployment_model": _model(report),
            "accounting": _accounting(report),
            "implementation": _implementation(report),
            "administrative": {"registry_authors": [curator or _ASK], "notes": _source(report)},
        },
    }


def _basic(report: EpsilonReport, curator: str | None) -> dict[str, Any]:
    return {
        "name": report.provenance.task_name,
        "data_curators": [curator or _ASK],
        "intended_use": _ASK,
        "data_product_type": "Machine learning model",
        "data_product_region": _ASK,
        "description": f"{report.randomness.statement} {report.claim.statement}",
        "publication_date": report.provenance.last_entry[:10],
    }


def _variant(report: EpsilonReport) -> dict[str, Any]:
    return {
        "variant_name": "Approximate DP",
        "data_domain": f"Messages and labels on the devices of population {report.composition.population}.",
        "unprotected_quantities": " ".join(report.not_protected),
    }


def _loss(report: EpsilonReport) -> dict[str, Any]:
    """Return the privacy loss in numbers, as the registry wants them; infinity is left out, for JSON has none."""
    device = report.spend.device
    stated = {"epsilon": report.claim.epsilon, "delta": report.claim.delta, "rho": device.rho}
    return {
        "privacy_unit": "User-device-level",
        "privacy_unit_details": f"{report.claim.unit}; neighbouring: {report.claim.adjacency}.",
        "privacy_parameters": {
            name: float(value) for name, value in stated.items() if value is not None and value != "inf"
        },
        "privacy_parameters_details": f"{device.accountant}; {device.rounding}",
    }


def _model(report: EpsilonReport) -> dict[str, Any]:
    trusted = [
        f"{assumption.party}: {assumption.trusted_to} Otherwise: {assumption.otherwise}"
        for assumption in report.claim.trust
    ]
    part = report.participation
    return {
        "model_name": _MODEL,
        "model_name_details": report.mechanism.name,
        "actors": "\n".join(f"- {line}" for line in (f"Holds against: {report.claim.holds_against}", *trusted)),
        "release_type": "Many releases" if part.rounds_charged > 1 else "One release",
        "release_type_details": f"{part.rounds_charged} rounds charged, {part.rounds_released} released.",
        "data_source_type": "Dynamic",
        "access_type": "Non-interactive",
    }


def _accounting(report: EpsilonReport) -> dict[str, Any]:
    tuned = next((count.charges for count in report.composition.purposes if count.purpose == "tuning"), 0)
    return {
        "post_processing": "Models are computed from released sums, and from nothing else of the devices.",
        "composition": f"{report.composition.statement} Of the charges, {tuned} were for tuning.",
    }


def _implementation(report: EpsilonReport) -> dict[str, Any]:
    uncharged = "; ".join(f"{use.purpose}: {use.what}. {use.why}" for use in report.composition.uncharged)
    return {
        "preprocessing_and_hyperparameter_tuning": uncharged or "Nothing was declared as uncharged.",
        "mechanisms": f"{report.mechanism.name}; noise multiplier {report.mechanism.noise_multiplier_planned}. "
        f"{report.randomness.statement}",
        "justification": _ASK,
    }


def _source(report: EpsilonReport) -> str:
    return f"From an epsilon report on ledger root {report.provenance.ledger_head.root}."
