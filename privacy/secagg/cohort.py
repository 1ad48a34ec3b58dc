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
from privacy.secagg.messages import ADVERT_DOMAIN, CONSISTENCY_DOMAIN, Advert, Header, Roster, SignedSurvivors
from privacy.secagg.primitives.keys import canonical
from privacy.task.task import TaskSpec


@dataclass(frozen=True)
class Cohort:
    """The members in roster order, what they can withstand, and the digest that all their keys depend on."""

    adverts: tuple[Advert, ...] = field(repr=False)
    params: Parameters
    mechanism: Mechanism
    transcript: bytes

    @classmethod
    def of(cls, roster: Roster, header: Header, task: TaskSpec) -> Cohort:
        """Raises ParameterError or MechanismError when this many devices cannot run the task's policy."""
        count = len(roster.adverts)
        params = parameters(count, task.aggregation)
        mechanism = Mechanism.for_cohort(task.with_clip(header.clip), count)
        return cls(roster.adverts, params, mechanism, roster.transcript(header))

    def index(self, identity: bytes) -> int:
        """Raises ValueError when `identity` is not a member."""
        return [advert.identity for advert in self.adverts].index(identity)

    def draw_holders(self, me: int, rng: Randomness) -> tuple[int, ...]:
        """Who will hold shares of this member's secrets, ascending: everybody, or `degree` others drawn uniformly."""
        count = self.params.cohort
        if self.params.complete:
            return tuple(range(count))
        # 64-bit keys: two that are equal, with probability below 2^-45, tilt the draw by nothing that matters.
        order = np.argsort(uniform_words(rng, count - 1, np.uint64), kind="stable")[: self.params.degree]
        return tuple(sorted((order + (order >= me)).tolist()))

    def consistency_statement(self, signed_survivors: SignedSurvivors) -> bytes:
        """What a member signs for a survivor set."""
        return signed_survivors.signed_part(self.transcript, self.params.cohort)

    def verify_consistency(self, member: int, signed_survivors: SignedSurvivors, signature: bytes) -> None:
        """Raises SignatureError unless the member signed this survivor set for this cohort."""
        verify_once(
            self.adverts[member].identity, CONSISTENCY_DOMAIN, self.consistency_statement(signed_survivors), signature
        )


@dataclass(frozen=True)
class Admission:
    """Who may be in a cohort at a given time."""

    population: str
    authority: bytes
    revocations: Revocations
    now: int

    def check_list(self) -> None:
        """Raises SignatureError when the revocation list is not the authority's, or out of date."""
        self.revocations.check(self.population, self.authority, self.now)

    def check(self, advert: Advert) -> None:
        """Raises SignatureError unless the authority has enrolled the advert's device, and not revoked it."""
        if advert.identity in self.revocations.revoked:
            raise SignatureError(f"certificate of {advert.identity.hex()[:16]}: revoked")
        advert.certificate.check(self.population, self.authority, self.now)


@lru_cache(maxsize=8)
def admit(roster: Roster, header: Header, task: TaskSpec, admission: Admission) -> Cohort:
    """The roster's cohort. Remembered, as `verify_once` is: devices that share a process check the same public bytes.

    Raises:
        WireError, SignatureError: when two members could be one, belong to another shard, or may not take part.
        ParameterError, MechanismError: see `Cohort.of`.
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
    """Raises SignatureError unless the advert's own device made it for this very round."""
    verify_once(advert.identity, ADVERT_DOMAIN, advert.signed_part(header), advert.signature)


def _repeated_key(adverts: tuple[Advert, ...]) -> bool:
    """Whether any public key occurs twice: two members sharing a key could be one."""
    keys = [canonical(key) for advert in adverts for key in (advert.certificate.agreement, advert.mask_public)]
    return len(set(keys)) < len(keys)
