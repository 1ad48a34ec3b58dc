"""One shard's cohort as one member has checked it: order, thresholds, mechanism, transcript."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from privacy.base.randomness import Randomness, uniform_words
from privacy.base.signing import SignatureError
from privacy.mechanism.mechanism import Mechanism
from privacy.secagg.errors import WireError
from privacy.secagg.membership.identity import Revocations, verify_once
from privacy.secagg.membership.params import Parameters, parameters
from privacy.secagg.messages import (
    ADVERT_DOMAIN,
    COMPLAINT_DOMAIN,
    CONSISTENCY_DOMAIN,
    Advert,
    Complaint,
    Header,
    Roster,
    SignedSurvivors,
    complaint_statement,
)
from privacy.secagg.primitives.keys import canonical
from privacy.task.task import TaskSpec


@dataclass(frozen=True)
class Cohort:
    """One shard's members in roster order, what they can withstand, and the digest that all their keys depend on.

    Attributes:
        adverts: the members' keys; a member's place is its index.
        params: thresholds, computed from their number and the task's policy.
        mechanism: how each of them encodes its update.
        transcript: SHA-256 of header and roster.
    """

    adverts: tuple[Advert, ...] = field(repr=False)
    params: Parameters
    mechanism: Mechanism
    transcript: bytes

    @classmethod
    def of(cls, roster: Roster, header: Header, task: TaskSpec) -> Cohort:
        """Compute the cohort of a roster.

        Args:
            roster: the members' keys, in the order of their identities.
            header: the round's header.
            task: the round's task.

        Raises:
            ParameterError: when this many devices cannot keep the task's policy.
            MechanismError: when no mechanism for this many devices keeps the task's claim.
        """
        count = len(roster.adverts)
        params = parameters(count, task.aggregation)
        mechanism = Mechanism.for_cohort(task.with_clip(header.clip), count)
        return cls(roster.adverts, params, mechanism, roster.transcript(header))

    def index(self, identity: bytes) -> int:
        """Return a member's place in the roster.

        Raises:
            ValueError: when `identity` is not a member.
        """
        return [advert.identity for advert in self.adverts].index(identity)

    def draw_holders(self, me: int, rng: Randomness) -> tuple[int, ...]:
        """Return the places of those who will hold this member's secret shares, ascending.

        All members in a complete graph, else `degree` others, drawn uniformly (Bell et al. 2020, section 4).
        """
        count = self.params.cohort
        if self.params.complete:
            return tuple(range(count))
        # 64-bit keys: two that are equal, with probability below 2^-45, tilt the draw by nothing that matters.
        order = np.argsort(uniform_words(rng, count - 1, np.uint64), kind="stable")[: self.params.degree]
        return tuple(sorted((order + (order >= me)).tolist()))

    def consistency_statement(self, signed_survivors: SignedSurvivors) -> bytes:
        """Return what a member of this cohort signs for a survivor set."""
        return signed_survivors.signed_part(self.transcript, self.params.cohort)

    def verify_consistency(self, member: int, signed_survivors: SignedSurvivors, signature: bytes) -> None:
        """Require that a member has signed a survivor set for this cohort.

        Args:
            member: its place in the roster.
            signed_survivors: the survivor set and the digest of its neighbour table.
            signature: the member's signature.

        Raises:
            SignatureError: when it has not.
        """
        verify_once(
            self.adverts[member].identity, CONSISTENCY_DOMAIN, self.consistency_statement(signed_survivors), signature
        )

    def complaint_statement(self, dealers: tuple[int, ...]) -> bytes:
        """Return what a member of this cohort signs when it complains of these dealers."""
        return complaint_statement(self.transcript, self.params.cohort, dealers)

    def verify_complaint(self, member: int, complaint: Complaint) -> None:
        """Require that a member has signed a complaint in this cohort.

        Raises:
            SignatureError: when it has not.
        """
        statement = self.complaint_statement(complaint.dealers)
        verify_once(self.adverts[member].identity, COMPLAINT_DOMAIN, statement, complaint.signature)


@dataclass(frozen=True)
class Admission:
    """Who may be in a cohort at a given time.

    Attributes:
        population: the population that devices must belong to.
        authority: the enrolment authority's Ed25519 public key.
        revocations: the authority's list of devices that may no longer take part.
        now: Unix time in seconds, by which certificates and list are judged.
    """

    population: str
    authority: bytes
    revocations: Revocations
    now: int

    def check_list(self) -> None:
        """Require that the revocation list is the authority's and up to date.

        Raises:
            SignatureError: when it is not.
        """
        self.revocations.check(self.population, self.authority, self.now)

    def check(self, advert: Advert) -> None:
        """Require that the authority has enrolled the device of an advert, and not revoked it.

        Raises:
            SignatureError: when it has not enrolled it, or has revoked it.
        """
        if advert.identity in self.revocations.revoked:
            raise SignatureError(f"certificate of {advert.identity.hex()[:16]}: revoked")
        advert.certificate.check(self.population, self.authority, self.now)


@lru_cache(maxsize=8)
def admit(roster: Roster, header: Header, task: TaskSpec, admission: Admission) -> Cohort:
    """Verify a roster member by member, and compute its cohort.

    Results are remembered, as those of `verify_once` are: devices of one process check the same public bytes.

    Args:
        roster: what the server says the cohort is.
        header: the round's header.
        task: the round's task.
        admission: who may take part.

    Raises:
        WireError: when two members could be one, or belong to different shards.
        SignatureError: when a member is not enrolled, or is revoked.
        ParameterError: when this many devices cannot keep the task's policy.
        MechanismError: when no mechanism for this many devices keeps the task's claim.
    """
    if _repeated_key(roster.adverts):
        raise WireError("a key that occurs twice in the cohort")
    if len({header.shard_of(advert.certificate, task.aggregation.shards) for advert in roster.adverts}) > 1:
        raise WireError("a cohort whose members' lots put them into other shards")
    cohort = Cohort.of(roster, header, task)
    # By now their number is known to be small.
    for advert in roster.adverts:
        admission.check(advert)
    return cohort


def verify_advert(advert: Advert, header: Header) -> None:
    """Require that the device named in an advert made it, for this very round.

    Raises:
        SignatureError: when it did not.
    """
    verify_once(advert.identity, ADVERT_DOMAIN, advert.signed_part(header), advert.signature)


def _repeated_key(adverts: tuple[Advert, ...]) -> bool:
    """Whether any public key occurs twice: two members with one key could be one device."""
    keys = [canonical(key) for advert in adverts for key in (advert.certificate.agreement, advert.mask_public)]
    return len(set(keys)) < len(keys)
