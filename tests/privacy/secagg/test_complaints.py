"""Holders that complain of a dealer's shares: what follows from it, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from privacy.secagg import Aborted, Refused, Stage
from privacy.secagg.messages import (
    COMPLAINT_DOMAIN,
    Complaint,
    InputRequest,
    Members,
    Survivors,
    decode_masked,
    encode_masked,
)
from privacy.secagg.server.blame import Blame, Fault, judge
from tests.support.cheats import Cheating, CheatingClient, everybody, first
from tests.support.federation import Federation
from tests.support.hostile import before, place, request_of, wary

CHEAT = 2
N = 12


@st.composite
def complaints_of_a_corrupt_minority(draw: st.DrawFn) -> tuple[dict[int, set[int]], set[int], int]:
    """Complaints, who is corrupt, and how many may be: of two honest members none complains of the other."""
    corrupt = draw(st.sets(st.integers(0, N - 1), max_size=4))
    pairs = draw(st.sets(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1))))
    complaints: dict[int, set[int]] = {}
    for holder, dealer in pairs:
        if holder != dealer and corrupt & {holder, dealer}:
            complaints.setdefault(holder, set()).add(dealer)
    return complaints, corrupt, draw(st.integers(len(corrupt), 4))


@given(case=complaints_of_a_corrupt_minority())
def test_a_corrupt_minority_never_makes_an_honest_member_look_at_fault(
    case: tuple[dict[int, set[int]], set[int], int],
) -> None:
    complaints, corrupt, limit = case
    verdict = judge(complaints, limit)
    assert verdict.dealers | verdict.accusers <= corrupt


@given(case=complaints_of_a_corrupt_minority())
def test_after_the_verdict_nobody_is_left_with_more_complaints_than_may_be_false(
    case: tuple[dict[int, set[int]], set[int], int],
) -> None:
    complaints, _, limit = case
    verdict = judge(complaints, limit)
    given_pairs = {(holder, dealer) for holder, dealers in complaints.items() for dealer in dealers}
    assert verdict.suspected == {
        (holder, dealer)
        for holder, dealer in given_pairs
        if holder not in verdict.accusers and dealer not in verdict.dealers
    }
    for member in range(N):
        assert sum(member == holder for holder, _ in verdict.suspected) <= limit
        assert sum(member == dealer for _, dealer in verdict.suspected) <= limit


@given(bad=st.sets(st.integers(0, N - 1), max_size=5), limit=st.integers(0, 4))
def test_dealers_that_serve_nobody_are_found_however_many_were_expected(bad: set[int], limit: int) -> None:
    complaints = {holder: bad - {holder} for holder in range(N) if bad - {holder}}
    verdict = judge(complaints, limit)
    assert (verdict.dealers, verdict.accusers, verdict.suspected) == (bad, frozenset(), frozenset())


def test_hundreds_that_all_complain_of_all_are_judged_in_a_moment() -> None:
    """Nobody may keep the server busy with lies; the limit is the time that pytest gives."""
    everyone = range(300)
    verdict = judge({holder: set(everyone) - {holder} for holder in everyone}, 15)
    assert len(verdict.dealers) + len(verdict.accusers) > 270


# -- in a round


def cheated(cheating: Cheating, federation: Federation | None = None) -> Federation:
    """A round before its input stage, in which one device cheats."""
    federation = federation or wary()
    client = federation.clients[CHEAT]
    client.__class__ = CheatingClient
    client.cheating = cheating  # type: ignore[attr-defined]
    return before(Stage.INPUT, federation)


def inputs_of(federation: Federation, *devices: int) -> None:
    requests = federation.server.requests()
    for device in devices:
        federation._receive(device, federation.step(Stage.INPUT, device, requests[device].body))


def finish(federation: Federation) -> None:
    for stage in (Stage.CONSISTENCY, Stage.UNMASK):
        federation.exchange(stage)
        federation.server.advance()


HONEST = [device for device in range(10) if device != CHEAT]


def test_a_dealer_that_too_many_complain_of_is_left_out_of_the_sum() -> None:
    """Of one corrupt device two complain; for seven others its shares open, who can take its masks off the sum."""
    federation = cheated(Cheating(garbage=first(2)), wary(10, 1))
    inputs_of(federation, *HONEST, CHEAT)
    assert "more holders complain of than may be corrupt" in federation.rejections[CHEAT]
    federation.server.advance()
    finish(federation)
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(HONEST))
    [culprit] = federation.server.blame.culprits
    assert (culprit.member, culprit.fault) == (CHEAT, Fault.DEALT)


def test_a_dealer_whose_input_came_before_the_complaints_ends_the_round() -> None:
    federation = cheated(Cheating(garbage=first(2)), wary(10, 1))
    me, identity = place(federation, CHEAT), federation.keys(CHEAT).identity.public.hex()
    inputs_of(federation, CHEAT, *HONEST)
    with pytest.raises(Aborted, match=f"input: devices {identity} dealt secret shares that holders cannot use"):
        federation.server.advance()
    [culprit] = federation.server.blame.culprits
    assert (culprit.member, culprit.place, culprit.fault) == (CHEAT, me, Fault.DEALT)


def test_a_holder_that_complains_of_too_many_is_left_out_of_the_sum() -> None:
    federation = cheated(Cheating(complains=everybody))
    inputs_of(federation, CHEAT, *HONEST)
    federation.server.advance()
    finish(federation)
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(HONEST))
    [culprit] = federation.server.blame.culprits
    assert (culprit.member, culprit.fault) == (CHEAT, Fault.COMPLAINED)


def test_a_holder_that_complains_of_as_many_as_may_be_corrupt_proves_nothing() -> None:
    federation = cheated(Cheating(complains=first(2)))
    inputs_of(federation, *range(10))
    federation.server.advance()
    finish(federation)
    np.testing.assert_array_equal(federation.server.totals()[0].sums, federation.expected(range(10)))
    assert federation.server.blame == Blame()


def test_a_second_reply_does_not_take_a_complaint_back() -> None:
    federation = cheated(Cheating(complains=everybody))
    reply = federation.step(Stage.INPUT, CHEAT, federation.server.requests()[CHEAT].body)
    federation._receive(CHEAT, reply)
    words, _ = decode_masked(reply, 32, 8)
    federation._receive(CHEAT, encode_masked(words))
    assert "second one" in federation.rejections[CHEAT]


def forged(federation: Federation, dealers: tuple[int, ...], signer: int = CHEAT) -> bytes:
    """The cheat's honest input, with a complaint."""
    reply = federation.step(Stage.INPUT, CHEAT, federation.server.requests()[CHEAT].body)
    statement = federation.server.shards[0].cohort.complaint_statement(dealers)
    signature = federation.keys(signer).identity.sign(COMPLAINT_DOMAIN, statement)
    return encode_masked(decode_masked(reply, 32, 8)[0], Complaint(dealers, signature))


@pytest.mark.parametrize(
    ("complaint", "reason"),
    [
        (lambda it: forged(it, (place(it, CHEAT),)), "of a member that gave this device no shares"),
        (lambda it: forged(it, (10,)), "of a member that gave this device no shares"),
        (lambda it: forged(it, (place(it, 5),), signer=5), "havenfl/secagg/complaint"),
        (lambda it: forged(it, ()), "at least one dealer"),
        (lambda it: forged(it, (1, 1)), "ascending"),
    ],
)
def test_complaints_that_do_not_count(complaint: object, reason: str) -> None:
    federation = cheated(Cheating())
    federation._receive(CHEAT, complaint(federation))  # type: ignore[operator]
    assert reason in federation.rejections[CHEAT]
    assert federation.server.shards[0].complaints == {}
    [culprit] = federation.server.blame.culprits
    assert (culprit.member, culprit.fault) == (CHEAT, Fault.REPLY)


def test_a_complaint_changes_no_mask_and_nothing_that_is_revealed() -> None:
    """A server that spoils boxes to provoke complaints learns that it spoiled them, and gets the same masked vector."""
    plain, provoked = before(Stage.INPUT, wary()), before(Stage.INPUT, wary())
    message = InputRequest.decode(request_of(provoked))
    dealer = min(message.encrypted_shares)
    boxes = message.encrypted_shares[dealer]
    spoiled = {**message.encrypted_shares, dealer: replace(boxes, sealed=bytes(len(boxes.sealed)))}
    lie = InputRequest(spoiled, message.dealers, b"").encode_own() + InputRequest.encode_model(message.weights)
    words, complaint = decode_masked(provoked.step(Stage.INPUT, 0, lie), 32, 8)
    honest, none = decode_masked(plain.step(Stage.INPUT, 0, request_of(plain)), 32, 8)
    np.testing.assert_array_equal(words, honest)
    assert none is None
    assert complaint is not None
    assert complaint.dealers == (dealer,)


def test_complaints_entitle_no_server_to_a_sum_of_fewer() -> None:
    """Whom the server leaves out is checked like any drop-out: too many of them, and nothing is signed."""
    federation = cheated(Cheating(garbage=everybody))
    inputs_of(federation, *range(10))
    witness = place(federation, HONEST[0])
    left = tuple(sorted([witness, *[member for member in range(10) if member != witness][:6]]))
    with pytest.raises(Refused, match="fewer survivors"):
        federation.step(Stage.CONSISTENCY, HONEST[0], Survivors(Members(left)).encode())
