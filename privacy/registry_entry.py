"""An epsilon report in the form of the OpenDP Deployments Registry (github.com/opendp/deployments-registry-data).

The registry's files are YAML, of which JSON is a part. What a report cannot know is left to whoever submits it.
"""

from __future__ import annotations

from typing import Any

from privacy.report_model import EpsilonReport

_ASK = "To be stated by the data curator."


def registry_entry(report: EpsilonReport, curator: str | None = None) -> dict[str, Any]:
    """The registry's record of this deployment; `curator` is who answers for the data."""
    slug = "-".join(part for part in (report.provenance.task_name, report.provenance.task[:12]) if part)
    return {
        "url_slug": slug.lower().replace(" ", "-"),
        "status": "Draft",
        "deployment": {
            "product": _product(report, curator),
            "dp_flavor": _flavor(report),
            "privacy_loss": _loss(report),
            "model": _model(report),
            "accounting": _accounting(report),
            "implementation": _implementation(report),
        },
    }


def _product(report: EpsilonReport, curator: str | None) -> dict[str, Any]:
    return {
        "name": report.provenance.task_name,
        "data_curators": [curator or _ASK],
        "intended_use": _ASK,
        "data_product_type": "Machine learning model",
        "data_product_region": _ASK,
        "description": report.claim.statement,
        "publication_date": report.provenance.last_entry[:10],
    }


def _flavor(report: EpsilonReport) -> dict[str, Any]:
    return {
        "name": "Approximate DP",
        "data_domain": f"Messages and labels on the devices of population {report.composition.population}.",
        "unprotected_quantities": " ".join(report.not_protected),
    }


def _loss(report: EpsilonReport) -> dict[str, Any]:
    device = report.spend.device
    parameters = {"epsilon": report.claim.epsilon, "delta": report.claim.delta}
    return {
        "privacy_unit": "User-device-level",
        "privacy_unit_description": f"{report.claim.unit}; neighbouring: {report.claim.adjacency}.",
        "privacy_parameters": parameters if device.rho is None else {**parameters, "rho": device.rho},
        "privacy_parameters_description": f"{device.accountant}; {device.rounding}",
    }


def _model(report: EpsilonReport) -> dict[str, Any]:
    return {
        "model_name": "Distributed",
        "model_name_description": report.mechanism.name,
        "actors": report.claim.holds_against,
        "release_type": "Many releases" if report.participation.rounds_charged > 1 else "Single release",
        "data_source_type": "Dynamic",
        "access_type": "Non-interactive",
    }


def _accounting(report: EpsilonReport) -> dict[str, Any]:
    tuned = next((one.charges for one in report.composition.purposes if one.purpose == "tuning"), 0)
    return {
        "post_processing": "Models are computed from released sums, and from nothing else of the devices.",
        "composition": f"{report.composition.statement} Of the charges, {tuned} were for tuning.",
    }


def _implementation(report: EpsilonReport) -> dict[str, Any]:
    uncharged = "; ".join(f"{use.purpose}: {use.what}. {use.why}" for use in report.composition.uncharged)
    return {
        "pre_processing_eda_hyperparameter_tuning": uncharged or "Nothing was declared as uncharged.",
        "mechanisms": f"{report.mechanism.name}; noise multiplier {report.mechanism.noise_multiplier_planned}. "
        f"{report.randomness.statement}",
        "justification": _ASK,
    }
