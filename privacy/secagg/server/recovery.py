"""From the shares that were revealed to the masks that must go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from privacy.secagg.cohort import Cohort
from privacy.secagg.errors import Aborted
from privacy.secagg.primitives import keys, shamir


@dataclass(frozen=True)
class Recovery:
    """Secrets of the dealers, checked against what they advertised.

    Attributes:
        holders: whom each dealer gave shares, by dealer; in a complete graph itself too.
        survivors: those of the dealers whose masked vectors are in the sum.
        shares: by dealer, then holder; each is what its dealer vouched for.
    """

    cohort: Cohort
    holders: Mapping[int, frozenset[int]]
    survivors: frozenset[int]
    shares: Mapping[int, Mapping[int, bytes]] = field(repr=False)

    def seeds(self) -> tuple[list[bytes], list[bytes]]:
        """Mask seeds to add and to subtract, so that only the survivors' inputs stay.

        Raises:
            Aborted: when a dealer's secret cannot be recovered, naming the dealer by its place.
        """
        add: list[bytes] = []
        survivors = sorted(self.survivors)
        own = self._secrets(survivors, self._is_own)
        subtract = [keys.self_mask_seed(own[one], self.cohort.transcript, one) for one in survivors]
        dropped = [dealer for dealer in sorted(set(self.holders) - self.survivors) if self._partners(dealer)]
        for dealer, secret in self._secrets(dropped, self._is_mask_key).items():
            for survivor, seed in self._pair_seeds(dealer, keys.KeyPair(secret)):
                # The survivor added this mask if its place is the lower one.
                (subtract if survivor < dealer else add).append(seed)
        return add, subtract

    def _pair_seeds(self, dropped: int, pair: keys.KeyPair) -> Iterator[tuple[int, bytes]]:
        for survivor in self._partners(dropped):
            shared = pair.agree(self.cohort.adverts[survivor].mask_public)
            yield survivor, keys.pair_mask_seed(shared, self.cohort.transcript, dropped, survivor)

    def _partners(self, dropped: int) -> list[int]:
        """The survivors that share a mask with a dropped dealer: one of the two dealt to the other."""
        dealt_to = self.holders[dropped]
        return sorted(one for one in self.survivors if one in dealt_to or dropped in self.holders[one])

    def _secrets(self, dealers: Sequence[int], fits: Callable[[int, bytes], bool]) -> dict[int, bytes]:
        threshold = self.cohort.params.threshold
        given = {dealer: self._usable(dealer, threshold) for dealer in dealers}
        secrets = dict(zip(dealers, shamir.combine(list(given.values()), threshold), strict=True))
        liars = [dealer for dealer, secret in secrets.items() if not fits(dealer, secret)]
        if liars:
            raise Aborted(f"unmask: members {liars} dealt shares that do not make up their secrets")
        return secrets

    def _usable(self, dealer: int, threshold: int) -> Mapping[int, bytes]:
        """Nobody vouches for the share that a dealer kept for itself: it is used only when it is needed."""
        shares = self.shares.get(dealer, {})
        others = {holder: share for holder, share in shares.items() if holder != dealer}
        if len(shares) < threshold:
            raise Aborted(f"unmask: expected {threshold} shares of member {dealer}'s secret, got {len(shares)}")
        return others if len(others) >= threshold else shares

    def _is_own(self, dealer: int, secret: bytes) -> bool:
        advert = self.cohort.adverts[dealer]
        return keys.commitment(secret, advert.identity) == advert.commitment

    def _is_mask_key(self, dealer: int, secret: bytes) -> bool:
        return keys.KeyPair(secret).public == self.cohort.adverts[dealer].mask_public
