"""The epsilon report as data.

Every figure is a decimal string, so that no reader's floating point can change it. Counts are integers, and events are
the ledger's own records, whose numbers RFC 8785 writes as the shortest decimals that are exactly what was charged.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from privacy.accounting.events import Event
from privacy.base.canonical import Frozen
from privacy.base.randomness import Origin
from privacy.ledger.entries import Digest
from privacy.ledger.ledger import SignedHead
from privacy.task.task import Notice, Purpose

Number = Annotated[str, Field(pattern=r"^(inf|\d+(\.\d+)?(e[+-]?\d+)?)$")]
"""A figure as a decimal string, or `inf`."""


class TrustAssumption(Frozen):
    """Somebody whom the claim counts on."""

    party: str
    trusted_to: str
    otherwise: str
    """What is lost if the party is not what it is trusted to be."""


class Recognition(Frozen):
    """How many of the devices that were used an attacker recognises, who may be wrong about some that were not."""

    false_positives: Number
    """The fraction of devices that were not used which it takes for used."""
    true_positives: Number
    """The fraction of those that were used which it recognises: an upper bound."""


class Belief(Frozen):
    """How sure of a device somebody was before, and may be afterwards at most, but for delta."""

    before: Number
    after: Number


class Attacker(Frozen):
    """What the best of attackers can find out who know all but whether a device's updates were used, or zeros."""

    party: str
    epsilon: Number
    strength: str
    """Whether the epsilon is a strong or a weak promise."""
    right_guesses: Number
    """How often such a guess is right at most, where both are as likely: a coin's is 0.5."""
    recognised: tuple[Recognition, ...]
    beliefs: tuple[Belief, ...]
    changed_epsilon: Number
    """Epsilon at the same delta where a device's updates were replaced by any others, not by zeros."""


class Claim(Frozen):
    """The headline of a report: what is claimed, of whom, and against whom."""

    statement: str
    unit: str
    adjacency: str
    holds_against: str
    trust: tuple[TrustAssumption, ...]
    epsilon: Number
    delta: Number
    known_cohorts_epsilon: Number | None
    """Epsilon towards those who learn who takes part, or how many; None where nothing was sampled."""
    attackers: tuple[Attacker, ...]
    """What the figures mean, towards those who see the models and, where that differs, those who know the cohorts."""
    budget_epsilon: Number | None
    warnings: tuple[str, ...]


class MechanismPart(Frozen):
    """How noise was added; `realised` counts only on the devices assumed honest, in the round with the least noise."""

    name: str
    dimension: int
    clip: Number
    """L2 bound of a device's update; that of the first round, if it adapts."""
    clip_adapts: bool
    statistics: tuple[str, ...]
    """What devices add to their update, inside the same noise; `noise_multiplier` counts on both."""
    modulus_bits: int
    shards: int
    noise_multiplier_planned: Number
    noise_multiplier_realised: Number | None


class RoundCounts(Frozen):
    """Sizes of a round: counts, never who."""

    round: int = Field(ge=1)
    cohort: int = Field(ge=0)
    survivors: int = Field(ge=0)


class FailedRounds(Frozen):
    """Rounds that released nothing for one reason, in the server's words."""

    reason: str
    rounds: int = Field(ge=1)


class ParticipationPart(Frozen):
    """Who could take part, and how many did."""

    kind: Literal["poisson", "bounded"]
    expected_cohort: Number
    population: int | None
    sampling_rate: Number | None
    max_participations: int | None
    min_separation: int | None
    corrupt_fraction: Number
    max_dropouts: int
    min_survivors: int
    rounds_planned: int
    rounds_attempted: int | None
    """How many were begun or refused; None where only the ledger is known, which does not hear of those it is not
    asked to pay for."""
    rounds_charged: int
    rounds_released: int
    rounds_abandoned: int
    failed_after_charge: tuple[FailedRounds, ...]
    """Rounds that were charged and released nothing, and why, by the ledger."""
    failed_before_charge: tuple[FailedRounds, ...] | None
    """Rounds that ended before anything was charged, and why; None where only the ledger is known."""
    realised: tuple[RoundCounts, ...] | None
    withheld: str | None
    """Why `realised` is missing; None where it is there."""


class ShardThresholds(Frozen):
    """What a shard of so many devices withstands in secure aggregation."""

    devices: int
    survivors_required: int
    """Fewer in the sum, and nothing is revealed."""
    holders: int
    """Devices that hold secret shares of one device."""
    threshold: int
    """Holders that it takes to recover a secret."""
    quorum: int
    """Signatures under one survivor set that a device wants to see before it reveals anything."""
    colluders_withstood: int
    """Devices that read no single update together with the server, even if it picked them."""
    corrupt: int
    """Corrupt devices of an honest draw that quorum and threshold are made for."""
    draw_bits: int
    """An honest draw has more of them with probability at most 2^-draw_bits."""
    noise_multiplier_least: Number | None
    """Noise over the sensitivity where so many corrupt devices add none; None where the server adds all noise."""
    noise_multiplier_most: Number | None
    """The same where every device is honest and stays."""


class ThresholdsPart(Frozen):
    """How many devices may work with the server before it sees more than sums, by the task's numbers."""

    statement: str
    security_bits: int | None
    """Holders drawn at random betray some device with probability at most 2^-security_bits a round; None without."""
    shards: tuple[ShardThresholds, ...]
    """The least favourable shard that is summed, and one of the expected size."""


class AtDelta(Frozen):
    """A point of the privacy curve."""

    delta: Number
    epsilon: Number


class DeviceSpend(Frozen):
    """What everything charged so far costs one device.

    `mu` is that of the one Gaussian mechanism that all charges amount to, and `rho` its zero-concentrated DP, mu^2 / 2;
    both are missing where rounds were sampled, for then no single number says it all.
    """

    epsilon: Number
    delta: Number
    lots_delta: Number
    """The part of delta that pays for lots that put unlikely few of the others into a device's shard."""
    mu: Number | None
    rho: Number | None
    rounding: str
    accountant: str
    second_accountant: str
    second_epsilon: Number
    discrepancy: Number
    at_deltas: tuple[AtDelta, ...]
    curve: tuple[AtDelta, ...]
    """The privacy curve from cautious to bold, by the first accountant alone."""
    by_charge: tuple[Number, ...]
    """Epsilon after each charge, in order; a charge that led to no release counts as well."""


class MessageSpend(Frozen):
    """What one message costs towards someone who sees the device's own updates; never added to the device's."""

    statement: str
    delta: Number
    one_participation: Number
    participations: int
    all_participations: Number


class WindowSpend(Frozen):
    """What was spent within any so many days."""

    statement: str
    days: int
    limit: Number
    epsilon: Number
    """Epsilon of the costliest window so far."""


class PlannedSpend(Frozen):
    """Where the device's figure will end."""

    statement: str
    rounds_left: int = Field(ge=0)
    """Rounds of the task that may still be charged."""
    epsilon: Number
    """Epsilon once they are, if nothing else is: an upper bound."""


class SpendPart(Frozen):
    """Two guarantees, stated apart, where the first will end, and what a window of days has seen of it."""

    device: DeviceSpend
    planned: PlannedSpend
    message: MessageSpend
    window: WindowSpend | None


class EventCount(Frozen):
    """A kind of round, and how often it was charged."""

    event: Event
    times: int = Field(ge=1)


class PurposeCount(Frozen):
    """A purpose of rounds, and how many were charged for it."""

    purpose: Purpose
    charges: int = Field(ge=1)


class UnchargedUse(Frozen):
    """A use of the population's data outside any charge, by the ledger's own word."""

    purpose: Purpose
    what: str
    why: str


class Amplification(Frozen):
    """Rounds whose cost counts on the randomness of who takes part, and what proves that they may."""

    rounds: int = Field(ge=1)
    sampling_rate: Number
    pivotal_probability: Number
    """At most so often did a release hinge on the device, which was then in it for certain."""
    proof: str
    relies_on: str


class CompositionPart(Frozen):
    """What was composed, enough for anyone to recompute epsilon."""

    statement: str
    population: str
    tasks: int = Field(ge=0)
    """Models or variants of one that were trained on this population, and composed here."""
    events: tuple[EventCount, ...]
    purposes: tuple[PurposeCount, ...]
    uncharged: tuple[UnchargedUse, ...]
    amplification: tuple[Amplification, ...]


class ExtrapolationPart(Frozen):
    """What a simulation says about the fleet that it stands for. Hypothetical, and charged to nobody."""

    statement: str
    claim: str
    holds_against: str
    assumptions: tuple[str, ...]
    """What the model and the figure take on trust, beyond what the report takes on trust of the simulation."""
    population: int
    cohort: Number
    simulated_cohort: Number
    sampling_rate: Number | None
    max_participations: int | None
    min_separation: int | None
    min_survivors: int
    shards: int
    noise_multiplier: Number
    """Noise multiplier of the fleet; the simulation's is in `mechanism`, scaled so that averages have equal noise."""
    budget_epsilon: Number | None
    events: tuple[EventCount, ...]
    """What the charged rounds would have been charged as in the fleet, enough for anyone to recompute epsilon."""
    spend: DeviceSpend


class AuditPart(Frozen):
    """An attack on the mechanism as it ran, or on the code that ran."""

    name: str
    statement: str
    trials: int = Field(ge=1)
    confidence: Number
    basis: str | None
    """Whose theorem gives `epsilon_bound`."""
    epsilon_bound: Number | None
    """Certified lower bound of the true epsilon, but for 1 - confidence. It can refute the claim, never prove it."""
    basis_any: str | None
    epsilon_bound_any: Number | None
    """Certified lower bound of the true epsilon with no assumption on the mechanism, hence looser."""
    epsilon_estimate: Number | None
    """Estimate of the true epsilon, and no bound."""
    epsilon_claimed: Number
    delta: Number
    passed: bool


class RandomnessPart(Frozen):
    """Where the noise came from."""

    origin: Origin
    statement: str


class AboutPart(Frozen):
    """What the task is for, in its operator's words, and when it was charged, by the ledger."""

    purpose: Purpose
    notice: Notice
    statement: str
    """Whose words those are."""
    first_charge: str | None
    """Time of the task's first charge, ISO 8601 in UTC; None where there is none."""
    last_charge: str | None
    """Time of the task's last charge, ISO 8601 in UTC; None where there is none."""


class Provenance(Frozen):
    """What the figures were computed from."""

    task: Digest
    task_name: str
    ledger_head: SignedHead
    ledger_key: Digest
    last_entry: str
    """Time of the ledger's last entry, ISO 8601 in UTC."""
    model_digest: Digest | None
    versions: dict[str, str]


class EpsilonReport(Frozen):
    """What a run has cost its devices, and what that does not cover."""

    schema_id: Literal["havenfl/epsilon-report/4"] = "havenfl/epsilon-report/4"
    hypothetical: bool
    """True when the noise can be recomputed, so that the claim only says what real randomness would have given."""
    about: AboutPart
    claim: Claim
    """Claim of the run itself, with the noise that it really had."""
    extrapolation: ExtrapolationPart | None
    mechanism: MechanismPart
    participation: ParticipationPart
    thresholds: ThresholdsPart | None
    """None where an aggregator is trusted with every update."""
    spend: SpendPart
    composition: CompositionPart
    audit: tuple[AuditPart, ...]
    not_protected: tuple[str, ...]
    not_verified: tuple[str, ...]
    minimisation: tuple[str, ...]
    randomness: RandomnessPart
    provenance: Provenance


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the report, as shipped in `epsilon-report.schema.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **EpsilonReport.model_json_schema()}
