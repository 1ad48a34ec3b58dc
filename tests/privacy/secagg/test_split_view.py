"""A server that tells devices two survivor sets, with colluders who sign both and hand over their shares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from privacy.secagg import Refused, Stage
from privacy.secagg.membership.params import (
    COMPLETE,
    ParameterError,
    Parameters,
    default_max_dropouts,
    most_corrupt,
    parameters,
)
from privacy.secagg.messages import (
    CONSISTENCY_DOMAIN,
    Members,
    Survivors,
    decode_masked,
    decode_revealed,
    encode_consistency_checks,
)
from privacy.secagg.primitives import keys, shamir
from privacy.secagg.primitives.masking import add_masks, unpack
from privacy.task.task import AggregationPolicy, BoundedParticipation
from tests.support.federation import Federation
from tests.support.hostile import place
from tests.support.tasks import make_task

VICTIM = 0


def policy(cohort: int, corrupt: float = 0.05, dropout: float = 0.1) -> AggregationPolicy:
    most = default_max_dropouts(cohort, 1, dropout)
    return AggregationPolicy(
        corrupt_fraction=corrupt, max_dropouts=most, min_survivors=max(2, most + 1, cohort // 4), modulus_bits=32
    )


# -- in numbers


def is_read(params: Parameters, colluders: int) -> bool:
    """Whether the best split of the honest devices gives away one of a complete graph, by counting alone.

    The victim's group is told that everybody survived, the other that the victim did not. Each group, with all
    colluders, has to find a quorum, and its members together with the colluders have to hold a threshold of shares; or
    the colluders hold one by themselves.
    """
    honest = params.cohort - colluders
    groups = [(mine, honest - mine) for mine in range(1, honest + 1)]
    split = any(min(pair) + colluders >= max(params.quorum, params.threshold) for pair in groups)
    return split or colluders >= params.threshold


@pytest.mark.parametrize("corrupt", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.3])
def test_never_read_with_as_many_colluders_as_stated_and_one_more_would_do(corrupt: float, dropout: float) -> None:
    """At every size with a complete graph; the bound is tight, unless it only keeps two honest devices in a sum."""
    for cohort in range(3, COMPLETE + 1):
        params = parameters(cohort, policy(cohort, corrupt, dropout))
        assert params.complete
        for colluders in (params.withstands - 1, params.withstands):
            assert not is_read(params, max(0, colluders)), (cohort, colluders)
        if params.withstands < params.survivors_required - 2:
            assert is_read(params, params.withstands + 1), cohort


def test_on_random_graphs_no_two_quorums_are_found_with_as_many_as_stated() -> None:
    """Holders are the draw's affair, see `test_parameters`; the quorum is not: 2 Q > n + c at every size to 128."""
    for cohort in range(COMPLETE + 1, 129):
        params = parameters(cohort, policy(cohort))
        assert not params.complete
        assert params.withstands == most_corrupt(cohort, 0.05)
        for colluders in (params.withstands - 1, params.withstands, params.withstands + 1):
            honest = cohort - colluders
            assert honest // 2 + colluders < params.quorum, (cohort, colluders)


# -- with the protocol's own code


@dataclass(frozen=True)
class Liar:
    """A round up to its masked inputs, whose server lies from there on."""

    federation: Federation
    colluders: tuple[int, ...]
    masked: dict[int, bytes]

    @classmethod
    def up_to_the_sum(cls, cohort: int, colluders: int) -> Liar:
        participation = BoundedParticipation(cohort=cohort, max_participations=1)
        federation = Federation(cohort, task=make_task(aggregation=policy(cohort), participation=participation))
        masked: dict[int, bytes] = {}

        def record(stage: Stage, device: int, message: bytes) -> bytes:
            if stage is Stage.INPUT:
                masked[device] = message
            return message

        federation.run(replies=record, until=Stage.INPUT)
        return cls(federation, tuple(range(cohort - colluders, cohort)), masked)

    def read(self) -> NDArray[np.int64] | None:
        """Return the victim's vector, if splitting the view gives it away: int64[length]."""
        honest = [device for device in range(self.federation.devices) if device not in self.colluders]
        half = (len(honest) + 1) // 2
        everyone = tuple(range(self.federation.devices))
        victim = place(self.federation, VICTIM)
        without = tuple(member for member in everyone if member != victim)
        own, mask = self._shares(honest[:half], everyone, 0), self._shares(honest[half:], without, 1)
        params = self.federation.server.shards[0].cohort.params
        if min(len(own), len(mask)) < params.threshold:
            return None
        [secret] = shamir.combine([own], params.threshold)
        [key] = shamir.combine([mask], params.threshold)
        return self._unmasked(secret, keys.KeyPair(key))

    def _shares(self, group: list[int], members: tuple[int, ...], kind: int) -> dict[int, bytes]:
        """Return the victim's shares that a group reveals when it is told those survivors, and the colluders'."""
        federation, victim = self.federation, place(self.federation, VICTIM)
        told = Survivors(Members(members))
        statement = federation.server.shards[0].cohort.consistency_statement(told.signed_survivors)
        shares, checks = dict[int, bytes](), dict[int, bytes]()
        for device in self.colluders:
            state = federation.clients[device]._state
            assert state is not None
            shares[place(federation, device)] = state.held[victim][kind]
        for device in (*self.colluders, *group):
            if device in group:
                federation.clients[device].check_consistency(told.encode())
            checks[place(federation, device)] = federation.keys(device).identity.sign(CONSISTENCY_DOMAIN, statement)
        for device in group:
            try:
                revealed = decode_revealed(federation.clients[device].unmask(encode_consistency_checks(checks)))
            except Refused:
                continue
            shares[place(federation, device)] = revealed[victim]
        return shares

    def _unmasked(self, secret: bytes, pair: keys.KeyPair) -> NDArray[np.int64]:
        cohort, victim, task = (
            self.federation.server.shards[0].cohort,
            place(self.federation, VICTIM),
            self.federation.task,
        )
        plus, minus = list[bytes](), [keys.self_mask_seed(secret, cohort.transcript, victim)]
        for other, advert in enumerate(cohort.adverts):
            if other != victim:
                seed = keys.pair_mask_seed(pair.agree(advert.mask_public), cohort.transcript, victim, other)
                (minus if victim < other else plus).append(seed)
        words = decode_masked(self.masked[VICTIM], task.aggregation.modulus_bits, task.length)[0].copy()
        add_masks(words, plus, minus)
        return unpack(words, task.aggregation.modulus_bits, task.length)


@pytest.mark.parametrize("cohort", [12, 20, *(pytest.param(size, marks=pytest.mark.long) for size in (32, 50, 64))])
@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_split_view_reads_the_victim_beyond_the_bound_alone(cohort: int, beyond: int) -> None:
    """One colluder more than stated is enough, so the attack that fails below is a real one."""
    colluders = parameters(cohort, policy(cohort)).withstands + beyond
    liar = Liar.up_to_the_sum(cohort, colluders)
    read = liar.read()
    if beyond > 0:
        assert read is not None
        np.testing.assert_array_equal(read, liar.federation.inputs[VICTIM])
    else:
        assert read is None


# -- cohorts that are drawn


@pytest.mark.parametrize(("cohort", "corrupt"), [(12, 0.2), (16, 0.25), (20, 0.2), (20, 0.3), (30, 0.3)])
def test_drawn_cohorts_exceed_the_bound_as_seldom_as_stated(cohort: int, corrupt: float) -> None:
    """Small cohorts, where there is no room for more: the stated probability is large enough to be seen.

    200,000 cohorts of a population of 100,000, drawn without replacement: within four deviations of the stated bound
    and no less than half of it, for `draw_bits` is rounded down to whole bits.
    """
    params = parameters(cohort, policy(cohort, corrupt, 0.3))
    assert 1 <= params.draw_bits < 15
    drawn = np.random.default_rng(cohort).hypergeometric(
        int(corrupt * 100_000), int((1 - corrupt) * 100_000), cohort, 200_000
    )
    exceeded = int(np.sum(drawn > params.corrupt))
    stated = 200_000 * 2.0**-params.draw_bits
    assert stated / 2 - 4 * np.sqrt(stated) <= exceeded <= stated + 4 * np.sqrt(stated)


def test_a_cohort_without_any_room_is_refused() -> None:
    with pytest.raises(ParameterError, match="no quorum can be reached when 2 devices drop out"):
        parameters(
            4,
            AggregationPolicy(max_dropouts=2, min_survivors=3, modulus_bits=16).model_copy(update={"min_survivors": 2}),
        )
