"""The neighbour table, and a server that keeps encrypted shares back so that a device falls out of the sum unseen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, strategies as st

from privacy.secagg import Aborted, Stage
from privacy.secagg.errors import WireError
from privacy.secagg.membership.graph import NeighbourTable
from privacy.secagg.membership.params import Parameters, parameters
from privacy.secagg.messages import InputRequest, Members, Survivors, encode_consistency_checks
from privacy.task.task import AggregationPolicy, BoundedParticipation
from tests.support.federation import Federation
from tests.support.hostile import before, place, refuses, request_of
from tests.support.tasks import make_task, usual_policy

DEVICES = 140
POLICY = AggregationPolicy(corrupt_fraction=0.0, max_dropouts=DEVICES // 5, min_survivors=70, modulus_bits=32)
PARAMS = parameters(DEVICES, POLICY)


def random_graph() -> Federation:
    participation = BoundedParticipation(cohort=DEVICES, max_participations=1)
    return Federation(DEVICES, task=make_task(aggregation=POLICY, participation=participation))


# -- the table


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[int, frozenset[int]], Parameters]:
    cohort = draw(st.integers(2, 30))
    members = st.integers(0, cohort - 1)
    holders = draw(st.dictionaries(members, st.frozensets(members), min_size=1))
    return holders, replace(PARAMS, cohort=cohort, degree=cohort - 1)


@given(tables())
def test_rows_and_columns_are_those_of_the_draws(drawn: tuple[dict[int, frozenset[int]], Parameters]) -> None:
    holders, params = drawn
    survivors = tuple(sorted(holders))
    data = NeighbourTable.of(holders, survivors, params).encode()
    table = NeighbourTable.decode(data, survivors, params)
    assert table.encode() == data
    for member in range(params.cohort):
        assert table.who_drew(member) == {survivor for survivor, others in holders.items() if member in others}
    for survivor in survivors:
        assert table.drawn_by(survivor) == holders[survivor]


@pytest.mark.parametrize("size", [0, 17, 18 * 3 - 1, 18 * 3 + 1])
def test_tables_of_another_length(size: int) -> None:
    with pytest.raises(WireError, match=f"neighbour table: expected 18 bytes for each of 3, got {size}"):
        NeighbourTable.decode(bytes(size), (0, 4, 9), PARAMS)


def test_a_complete_graph_has_none() -> None:
    params = parameters(10, usual_policy(10))
    assert NeighbourTable.of({}, range(10), params).encode() == b""
    with pytest.raises(WireError, match="expected 0 bytes for each of 3, got 1"):
        NeighbourTable.decode(b"\x01", (0, 4, 9), params)
    federation = before(Stage.CONSISTENCY)
    honest = Survivors.decode(request_of(federation))
    refuses(
        federation,
        Stage.CONSISTENCY,
        replace(honest, neighbour_table=bytes(20)).encode(),
        "neighbour table: expected 0 bytes",
    )


# -- what a device makes of one that lies


def shown(federation: Federation, change: dict[int, frozenset[int]], survivors: tuple[int, ...] | None = None) -> bytes:
    """The request of the fourth stage with some rows of the table exchanged."""
    shard = federation.server.shards[0]
    holders = {
        member: frozenset(encrypted_shares) for member, encrypted_shares in shard._encrypted_shares.items()
    } | change
    places = survivors or shard.survivors.places
    return Survivors(Members(places), NeighbourTable.of(holders, places, PARAMS).encode()).encode()


def holders_of(federation: Federation, device: int = 0) -> frozenset[int]:
    state = federation.clients[device]._state
    assert state is not None
    return frozenset(state.holders)


def drawers_of(federation: Federation, member: int) -> frozenset[int]:
    encrypted_shares = federation.server.shards[0]._encrypted_shares
    return frozenset(dealer for dealer, by_holder in encrypted_shares.items() if member in by_holder)


def test_a_row_that_is_not_what_the_device_drew() -> None:
    federation = before(Stage.CONSISTENCY, random_graph())
    me = place(federation)
    fewer = frozenset(sorted(holders_of(federation))[1:])
    refuses(
        federation, Stage.CONSISTENCY, shown(federation, {me: fewer}), "other holders of this device's shares than it"
    )


@pytest.mark.parametrize("added", [True, False])
def test_a_column_that_is_not_whom_the_device_masked_with(added: bool) -> None:
    federation = before(Stage.CONSISTENCY, random_graph())
    me = place(federation)
    strangers = set(range(DEVICES)) - drawers_of(federation, me) - holders_of(federation) - {me}
    other = min(strangers if added else drawers_of(federation, me) - holders_of(federation))
    row = frozenset(federation.server.shards[0]._encrypted_shares[other])
    lie = shown(federation, {other: row | {me} if added else row - {me}})
    refuses(federation, Stage.CONSISTENCY, lie, "other neighbours than this device masked with")


# -- a device that is cut off


@dataclass(frozen=True)
class CutOff:
    """Nobody gets shares of the victim, and all that drew it drop out: no mask of the others would miss it."""

    federation: Federation
    device: int
    lost: frozenset[int]

    @classmethod
    def before_the_consistency_check(cls, *, spare: int) -> CutOff:
        """Up to the inputs; `spare` devices fewer drop out than may."""
        federation = before(Stage.INPUT, random_graph())
        device = min(range(DEVICES), key=lambda device: len(drawers_of(federation, place(federation, device))))
        victim = place(federation, device)
        drawers = drawers_of(federation, victim)
        assert len(drawers) <= PARAMS.dropouts - spare
        bystanders = sorted(set(range(DEVICES)) - drawers - {victim})
        lost = frozenset([*drawers, *bystanders][: PARAMS.dropouts - spare])

        def keep_back(_: Stage, receiver: int, message: bytes) -> bytes | None:
            request = InputRequest.decode(message)
            by_holder = {
                dealer: encrypted for dealer, encrypted in request.encrypted_shares.items() if dealer != victim
            }
            own = replace(request, encrypted_shares=by_holder).encode_own()
            return None if place(federation, receiver) in lost else own + InputRequest.encode_model(request.weights)

        federation.exchange(Stage.INPUT, requests=keep_back)
        federation.server.advance()
        return cls(federation, device, lost)


def test_the_holders_of_encrypted_shares_that_were_kept_back_refuse() -> None:
    cut = CutOff.before_the_consistency_check(spare=0)
    federation = cut.federation
    federation.exchange(Stage.CONSISTENCY)
    refused = {place(federation, device) for device in federation.refusals}
    assert refused == holders_of(federation, cut.device) - cut.lost
    assert set(federation.refusals.values()) == {"other neighbours than this device masked with"}
    with pytest.raises(Aborted, match=f"echo: expected at least {PARAMS.survivors_required} devices"):
        federation.server.advance()


@pytest.mark.parametrize("spare", [0, 1])
def test_a_device_that_is_cut_off_counts_as_lost(spare: int) -> None:
    """The others are shown a table without its row, and cannot know better; the checks are one fewer than devices."""
    cut = CutOff.before_the_consistency_check(spare=spare)
    federation, shard = cut.federation, cut.federation.server.shards[0]
    lie = Survivors.decode(shown(federation, {place(federation, cut.device): frozenset()}))
    shard._told, shard.signed_survivors = lie, lie.signed_survivors
    federation.exchange(Stage.CONSISTENCY)
    assert federation.refusals == {cut.device: "other holders of this device's shares than it drew"}
    assert len(shard._consistency_checks) == PARAMS.survivors_required - 1 + spare
    checks = encode_consistency_checks(shard._consistency_checks)
    other = next(device for device in range(DEVICES) if place(federation, device) in shard._consistency_checks)
    if spare:
        federation.step(Stage.UNMASK, other, checks)
    else:
        refuses(federation, Stage.UNMASK, checks, "fewer consistency checks than the quorum", device=other)
