"""A round's cohort as one member has checked it: order, thresholds, transcript."""

from __future__ import annotations

from dataclasses import dataclass

from privacy.secagg.identity import verify_once
from privacy.secagg.messages import ADVERT_DOMAIN, Advert, Header, Roster
from privacy.secagg.params import Parameters, parameters
from privacy.task import TaskSpec


@dataclass(frozen=True)
class Cohort:
    """The members in roster order, what they can withstand, and the digest that all their keys depend on."""

    adverts: tuple[Advert, ...]
    params: Parameters
    transcript: bytes

    @classmethod
    def of(cls, roster: Roster, header: Header, task: TaskSpec) -> Cohort:
        """Raises ParameterError when this many devices cannot run the task's policy."""
        params = parameters(len(roster.adverts), task.aggregation)
        return cls(roster.adverts, params, roster.transcript(header))

    def index(self, identity: bytes) -> int:
        """Raises ValueError when `identity` is not a member."""
        return [advert.identity for advert in self.adverts].index(identity)


def check_advert(advert: Advert, header: Header, population: str, authority_public: bytes) -> None:
    """Raises SignatureError unless an enrolled device made this advert for this very round."""
    advert.certificate.check(population, authority_public)
    verify_once(advert.identity, ADVERT_DOMAIN, advert.signed_part(header), advert.signature)


def repeated_key(adverts: tuple[Advert, ...]) -> bool:
    """Whether any public key occurs twice: two members sharing a key could be one."""
    public_keys = [key for advert in adverts for key in (advert.channel_public, advert.mask_public)]
    return len(set(public_keys)) < len(public_keys)
