"""A member's part in a round's secrets: what it gives its holders, what it holds for others, and its masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from privacy.base.randomness import Randomness
from privacy.secagg.client.state import RoundState
from privacy.secagg.cohort import Cohort, verify_advert
from privacy.secagg.messages import EncryptedShares
from privacy.secagg.primitives import keys, shamir
from privacy.secagg.primitives.keys import Agreements, Channel, share_tags


@dataclass(frozen=True)
class ShareDistribution:
    """How one member distributes its secret shares, keeps those of others, and derives its masks.

    Attributes:
        state: the member's state of the round, on which every method works.
        cohort: the cohort that it has checked.
        me: its place.
        agreements: its secrets with other devices.

    Raises:
        LowOrderKey: by any method, when a key of another member is of low order; the caller then refuses the round.
    """

    state: RoundState
    cohort: Cohort
    me: int
    agreements: Agreements

    def distribute(self, rng: Randomness) -> dict[int, EncryptedShares]:
        """Draw the holders, split both secrets among them, and return their encrypted shares, by place."""
        state, threshold = self.state, self.cohort.params.threshold
        state.holders = self.cohort.draw_holders(self.me, rng)
        pairs = shamir.split([state.secrets.self_secret, state.secrets.mask.secret], threshold, state.holders, rng)
        by_holder = {holder: (own, mask) for holder, (own, mask) in zip(state.holders, pairs, strict=True)}
        if self.me in by_holder:
            state.held[self.me] = by_holder.pop(self.me)
        return {holder: self._seal(holder, pair) for holder, pair in by_holder.items()}

    def take(self, encrypted_shares: Mapping[int, EncryptedShares]) -> None:
        """Keep the secret shares that open and are what their dealers vouch for.

        A dealer of garbage must not silence this device, which goes on and complains of it. Encrypted shares that open
        prove that their dealer saw this very roster; any other member with whom to have a mask in common has to have
        signed its key.

        Raises:
            SignatureError: when one of those did not.
        """
        partners = (set(self.state.holders) | set(encrypted_shares)) - {self.me}
        unproven = set(partners)
        for dealer, shares in encrypted_shares.items():
            try:
                pair = self._open(dealer, shares)
            except InvalidTag:
                continue
            unproven.discard(dealer)
            if pair:
                self.state.held[dealer] = pair
        self.state.unusable = tuple(sorted(set(encrypted_shares) - set(self.state.held)))
        for member in unproven:
            verify_advert(self.cohort.adverts[member], self.state.header)
        self.state.partners = tuple(sorted(partners))

    def mask_seeds(self) -> tuple[list[bytes], list[bytes]]:
        """Return the seeds of masks to add and to subtract; the lower of two members adds, the higher subtracts."""
        state, own, transcript = self.state, self.state.secrets, self.cohort.transcript
        plus, minus = [keys.self_mask_seed(own.self_secret, transcript, self.me)], list[bytes]()
        for other in sorted(set(state.partners) & set(state.dealers)):
            shared = own.mask.agree(self.cohort.adverts[other].mask_public)
            seed = keys.pair_mask_seed(shared, transcript, self.me, other)
            (plus if self.me < other else minus).append(seed)
        return plus, minus

    def _seal(self, holder: int, pair: tuple[bytes, bytes]) -> EncryptedShares:
        tags = share_tags(self.cohort.transcript, (self.me, holder), pair)
        return EncryptedShares(self.channel(holder).seal(b"".join(pair)), *tags)

    def _open(self, dealer: int, encrypted_shares: EncryptedShares) -> tuple[bytes, bytes] | None:
        """Open a dealer's shares; None when the dealer itself lied about what is inside."""
        plain = self.channel(dealer).unseal(encrypted_shares.sealed)
        pair = plain[: shamir.SHARE_BYTES], plain[shamir.SHARE_BYTES :]
        tags = share_tags(self.cohort.transcript, (dealer, self.me), pair)
        return pair if tags == (encrypted_shares.own_tag, encrypted_shares.mask_tag) else None

    def channel(self, other: int) -> Channel:
        """Return the channel to another member, by its place."""
        channels = self.state.channels
        if other not in channels:
            shared = self.agreements.shared_secret(self.cohort.adverts[other].certificate.agreement)
            channels[other] = Channel.between(shared, self.cohort.transcript, self.me, other)
        return channels[other]
