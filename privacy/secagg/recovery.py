"""From the shares that were revealed to the masks that must go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice

from privacy.secagg import keys, shamir
from privacy.secagg.cohort import Cohort
from privacy.secagg.errors import Aborted

_ATTEMPTS = 2_000
"""Subsets of shares to try when some are wrong: a bound on the work that a liar can cause."""


@dataclass(frozen=True)
class Recovery:
    """Secrets of the dealers, checked against what they advertised.

    Attributes:
        dealers: members who shared keys, ascending; survivors: those of them in the sum.
        revealed: shares by holder, then dealer.
    """

    cohort: Cohort
    dealers: tuple[int, ...]
    survivors: tuple[int, ...]
    revealed: Mapping[int, Mapping[int, bytes]] = field(repr=False)

    def seeds(self) -> tuple[list[bytes], list[bytes]]:
        """Mask seeds to add and to subtract, so that only the survivors' inputs stay.

        Raises:
            Aborted: when a dealer's secret cannot be recovered, naming the dealer by its place.
        """
        add: list[bytes] = []
        subtract = [keys.self_mask_seed(self._self_secret(one), self.cohort.transcript, one) for one in self.survivors]
        for dropped in sorted(set(self.dealers) - set(self.survivors)):
            for survivor, seed in self._pair_seeds(dropped):
                # The survivor added this mask if its place is the lower one.
                (subtract if survivor < dropped else add).append(seed)
        return add, subtract

    def _pair_seeds(self, dropped: int) -> Iterator[tuple[int, bytes]]:
        pair = keys.KeyPair(self._mask_key(dropped))
        for survivor in self.survivors:
            shared = pair.agree(self.cohort.adverts[survivor].mask_public)
            yield survivor, keys.pair_mask_seed(shared, self.cohort.transcript, dropped, survivor)

    def _self_secret(self, dealer: int) -> bytes:
        advert = self.cohort.adverts[dealer]
        return self._secret(dealer, lambda it: keys.commitment(it, advert.identity) == advert.commitment)

    def _mask_key(self, dealer: int) -> bytes:
        public_key = self.cohort.adverts[dealer].mask_public
        return self._secret(dealer, lambda it: keys.KeyPair(it).public == public_key)

    def _secret(self, dealer: int, fits: Callable[[bytes], bool]) -> bytes:
        shares = {holder: given[dealer] for holder, given in self.revealed.items() if dealer in given}
        threshold = self.cohort.params.threshold
        for holders in islice(combinations(sorted(shares), threshold), _ATTEMPTS):
            secret = shamir.combine({holder: shares[holder] for holder in holders}, threshold)
            if fits(secret):
                return secret
        raise Aborted(f"unmask: the secret of member {dealer} cannot be recovered from {len(shares)} shares")
