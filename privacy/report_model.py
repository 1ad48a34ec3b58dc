"""The epsilon report as data. Every number is a decimal string, so that no reader's floating point can change it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from privacy.canonical import Frozen
from privacy.events import Event
from privacy.ledger import SignedHead
from privacy.ledger_entries import Digest
from privacy.randomness import Origin

Number = Annotated[str, Field(pattern=r"^(inf|\d+(\.\d+)?(e[+-]?\d+)?)$")]


class Claim(Frozen):
    """The headline."""

    statement: str
    unit: str
    adjacency: str
    holds_against: str
    epsilon: Number
    delta: Number
    budget_epsilon: Number | None
    warnings: tuple[str, ...]


class MechanismPart(Frozen):
    """How noise was added; `realised` counts only on the devices assumed honest, in the round with the least noise."""

    name: str
    dimension: int
    clip: Number
    statistics: tuple[str, ...]
    """What devices add to their update, inside the same noise; `noise_multiplier` counts on both."""
    modulus_bits: int
    shards: int
    noise_multiplier_planned: Number
    noise_multiplier_realised: Number | None


class RoundCounts(Frozen):
    """Sizes of one round: counts, never who."""

    round: int = Field(ge=1)
    cohort: int = Field(ge=0)
    survivors: int = Field(ge=0)


class ParticipationPart(Frozen):
    """Who could take part, and how many did."""

    kind: Literal["poisson", "bounded"]
    expected_cohort: Number
    population: int | None
    sampling_rate: Number | None
    max_participations: int | None
    corrupt_share: Number
    dropout_share: Number
    min_survivors: int
    rounds_planned: int
    rounds_charged: int
    rounds_released: int
    rounds_abandoned: int
    realised: tuple[RoundCounts, ...] | None
    withheld: str | None
    """Why `realised` is missing."""


class AtDelta(Frozen):
    """One point of the privacy curve."""

    delta: Number
    epsilon: Number


class DeviceSpend(Frozen):
    """What everything charged so far costs one device."""

    epsilon: Number
    delta: Number
    slack: Number
    """The part of delta that pays for cohorts too small or too large to release."""
    accountant: str
    second_accountant: str
    second_epsilon: Number
    discrepancy: Number
    at_deltas: tuple[AtDelta, ...]
    by_charge: tuple[Number, ...]
    """Epsilon after each charge, in order; a charge that led to no release counts as well."""


class MessageSpend(Frozen):
    """What one message costs towards someone who sees the device's own updates; never added to the device's."""

    statement: str
    delta: Number
    one_participation: Number
    participations: int
    all_participations: Number


class SpendPart(Frozen):
    """Two guarantees, stated apart."""

    device: DeviceSpend
    message: MessageSpend


class EventCount(Frozen):
    """One kind of round, and how often it was charged."""

    event: Event
    times: int = Field(ge=1)


class CompositionPart(Frozen):
    """What was composed, enough for anyone to recompute epsilon."""

    statement: str
    events: tuple[EventCount, ...]


class RandomnessPart(Frozen):
    """Where the noise came from."""

    origin: Origin
    statement: str


class Provenance(Frozen):
    """What the figures were computed from."""

    task: Digest
    task_name: str
    ledger_head: SignedHead
    ledger_key: Digest
    last_entry: str
    """Time of the ledger's last entry."""
    model_digest: Digest | None
    versions: dict[str, str]


class EpsilonReport(Frozen):
    """What a run has cost its devices, and what that does not cover."""

    schema_id: Literal["havenfl/epsilon-report/1"] = "havenfl/epsilon-report/1"
    hypothetical: bool
    """True when the noise can be recomputed, so that the claim only says what real randomness would have given."""
    claim: Claim
    mechanism: MechanismPart
    participation: ParticipationPart
    spend: SpendPart
    composition: CompositionPart
    not_protected: tuple[str, ...]
    not_verified: tuple[str, ...]
    minimisation: tuple[str, ...]
    randomness: RandomnessPart
    provenance: Provenance


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the report, as shipped in `epsilon-report.schema.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **EpsilonReport.model_json_schema()}
