"""How a shard's secrets are recovered from the shares that came, and which masks come off the sum with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from privacy.secagg.cohort import Cohort
from privacy.secagg.primitives import keys, shamir


@dataclass(frozen=True)
class Recovery:
    """Secrets of the dealers, checked against what they advertised.

    Attributes:
        cohort: the shard's cohort.
        holders: places of those who hold each dealer's secret shares, by dealer; in a complete graph its own too.
        survivors: places of those dealers whose masked vectors are in the sum.
        shares: secret shares that came, by dealer, then holder; each is what its dealer vouched for.

    Nothing but `short` may be asked for while a secret is short of shares.
    """

    cohort: Cohort
    holders: Mapping[int, frozenset[int]]
    survivors: frozenset[int]
    shares: Mapping[int, Mapping[int, bytes]] = field(repr=False)

    def seeds(self) -> tuple[list[bytes], list[bytes]]:
        """Return the seeds of masks to add and to subtract, so that only the survivors' inputs stay."""
        add: list[bytes] = []
        transcript = self.cohort.transcript
        subtract = [
            keys.self_mask_seed(secret, transcript, dealer) for dealer, secret in self._self_mask_secrets.items()
        ]
        for dealer, secret in self._mask_keys.items():
            for survivor, seed in self._pair_seeds(dealer, keys.KeyPair(secret)):
                # The survivor added this mask if its place is the lower one.
                (subtract if survivor < dealer else add).append(seed)
        return add, subtract

    def liars(self) -> list[int]:
        """Return the places of all dealers whose shares do not make up the secret that they are bound to."""
        own, mask = self._self_mask_secrets.items(), self._mask_keys.items()
        return [dealer for dealer, secret in own if not self._is_self_mask_secret(dealer, secret)] + [
            dealer for dealer, secret in mask if not self._is_mask_key(dealer, secret)
        ]

    def short(self) -> dict[int, int]:
        """Return how many shares came of each needed secret that takes more of them, by the dealer's place."""
        came = {dealer: len(self.shares.get(dealer, ())) for dealer in [*self.survivors, *self._dropped]}
        return {dealer: count for dealer, count in came.items() if count < self.cohort.params.threshold}

    @cached_property
    def _dropped(self) -> list[int]:
        """The dealers that are not in the sum, and whose masks with survivors are."""
        return [dealer for dealer in sorted(set(self.holders) - self.survivors) if self._partners(dealer)]

    @cached_property
    def _self_mask_secrets(self) -> dict[int, bytes]:
        return self._secrets(sorted(self.survivors))

    @cached_property
    def _mask_keys(self) -> dict[int, bytes]:
        return self._secrets(self._dropped)

    def _pair_seeds(self, dropped: int, pair: keys.KeyPair) -> Iterator[tuple[int, bytes]]:
        for survivor in self._partners(dropped):
            shared = pair.agree(self.cohort.adverts[survivor].mask_public)
            yield survivor, keys.pair_mask_seed(shared, self.cohort.transcript, dropped, survivor)

    def _partners(self, dropped: int) -> list[int]:
        """Return the survivors that masked with a dropped dealer: either holds a secret share of the other."""
        holders = self.holders[dropped]
        return sorted(
            survivor for survivor in self.survivors if survivor in holders or dropped in self.holders[survivor]
        )

    def _secrets(self, dealers: Sequence[int]) -> dict[int, bytes]:
        threshold = self.cohort.params.threshold
        given = [self._usable(dealer, threshold) for dealer in dealers]
        return dict(zip(dealers, shamir.combine(given, threshold), strict=True))

    def _usable(self, dealer: int, threshold: int) -> Mapping[int, bytes]:
        """Return shares of a dealer's secret, its own one only where the others are too few: nobody vouches for it."""
        shares = self.shares[dealer]
        others = {holder: share for holder, share in shares.items() if holder != dealer}
        return others if len(others) >= threshold else shares

    def _is_self_mask_secret(self, dealer: int, secret: bytes) -> bool:
        advert = self.cohort.adverts[dealer]
        return keys.commitment(secret, advert.identity) == advert.commitment

    def _is_mask_key(self, dealer: int, secret: bytes) -> bool:
        return keys.KeyPair(secret).public == self.cohort.adverts[dealer].mask_public
