from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings, strategies as st

from privacy.accounting.events import BoundedGaussian, Event
from privacy.base.canonical import canonical_json
from privacy.base.signing import Signer
from privacy.ledger.entries import Entry, Uncharged, issue_receipt
from privacy.ledger.ledger import (
    BudgetExhausted,
    Charge,
    DoubleRelease,
    Ledger,
    LedgerInvalid,
    Receipt,
    ReceiptRefused,
    SignedHead,
    verify,
)
from privacy.ledger.merkle import Frontier, leaf_hash
from privacy.task.task import Budget
from tests.support.stores import DiskFullError, MemoryStore

TASK = "ab" * 32
MODEL, OTHER_MODEL = "01" * 32, "02" * 32
EVENT = BoundedGaussian(task=TASK, noise_multiplier=4.0, max_participations=100)
SIGNER = Signer.from_seed(b"\x07" * 32)
BUDGET = Budget(epsilon=8.0, delta=1e-6)


def ticking() -> Callable[[], int]:
    ticks = itertools.count()
    return lambda: next(ticks)


def opened(store: MemoryStore | None = None, budget: Budget = BUDGET) -> Ledger:
    return Ledger(MemoryStore() if store is None else store, SIGNER, "demo", budget, ticking())


def charge(number: int, transcript: str = "cd" * 32, event: Event = EVENT) -> Charge:
    return Charge(task=TASK, population="demo", round=number, purpose="training", event=event, transcript=transcript)


def kinds(ledger: Ledger) -> list[str]:
    return [json.loads(entry)["body"]["kind"] for entry in ledger.entries()]


def check(ledger: Ledger) -> tuple[Entry, ...]:
    return verify(ledger.entries(), ledger.head(), SIGNER.public)


def test_a_round_is_charged_then_released() -> None:
    ledger = opened()
    receipt = ledger.reserve(charge(1))
    ledger.released(receipt, MODEL)
    assert kinds(ledger) == ["opened", "charge", "released"]
    assert receipt.entry_hash == leaf_hash(ledger.entries()[1]).hex()
    assert [entry.time for entry in check(ledger)] == [0, 2, 3]


def test_the_charge_is_durable_before_the_receipt_exists() -> None:
    store = MemoryStore()
    ledger = opened(store)
    store.full = True
    with pytest.raises(DiskFullError):
        ledger.reserve(charge(1))
    assert kinds(ledger) == ["opened"]
    store.full = False
    ledger.reserve(charge(1))
    assert kinds(ledger) == ["opened", "charge"]
    check(ledger)


def test_the_budget_holds_and_the_refusal_has_the_figures() -> None:
    ledger = opened()
    with pytest.raises(BudgetExhausted) as refused:
        deque(ledger.reserve(charge(number)) for number in range(1, 100))
    before = ledger.entries()
    assert ledger.epsilon() == ledger.spent().epsilon == refused.value.spent <= 8.0 < refused.value.would_make
    assert f"{refused.value.spent} of 8.0" in str(refused.value)
    assert ledger.entries() == before
    check(ledger)


def test_without_a_limit_everything_is_recorded_at_infinity() -> None:
    ledger = opened(budget=Budget(delta=1e-6))
    ledger.reserve(charge(1, event=EVENT.model_copy(update={"noise_multiplier": 0.0})))
    assert ledger.spent().epsilon == float("inf")
    check(ledger)


def test_a_limit_refuses_a_round_without_noise() -> None:
    with pytest.raises(BudgetExhausted):
        opened().reserve(charge(1, event=EVENT.model_copy(update={"noise_multiplier": 0.0})))


def test_a_replay_of_the_same_transcript_costs_nothing_more() -> None:
    store = MemoryStore()
    first = opened(store).reserve(charge(1))
    again = opened(store)
    assert again.reserve(charge(1)) == first
    again.released(first, MODEL)
    assert opened(store).reserve(charge(1)) == first
    assert kinds(again) == ["opened", "charge", "released"]


def test_another_transcript_abandons_and_pays_in_full() -> None:
    ledger = opened()
    first = ledger.reserve(charge(1))
    once = ledger.spent().epsilon
    second = ledger.reserve(charge(1, "ef" * 32))
    assert second != first
    assert kinds(ledger) == ["opened", "charge", "abandoned", "charge"]
    assert ledger.spent().epsilon > once
    with pytest.raises(ReceiptRefused, match="abandoned"):
        ledger.released(first, MODEL)
    check(ledger)


def test_another_transcript_that_cannot_be_paid_changes_nothing() -> None:
    ledger = opened(budget=Budget(epsilon=1.3, delta=1e-6))
    ledger.reserve(charge(1))
    before = ledger.entries()
    with pytest.raises(BudgetExhausted):
        ledger.reserve(charge(1, "ef" * 32))
    assert ledger.entries() == before


def test_an_abandoned_charge_stays_spent_and_is_paid_again() -> None:
    ledger = opened()
    receipt = ledger.reserve(charge(1))
    spent = ledger.spent()
    ledger.abandoned(receipt, "too few survivors")
    ledger.abandoned(receipt, "too few survivors")
    assert ledger.spent() == spent
    assert kinds(ledger) == ["opened", "charge", "abandoned"]
    assert ledger.reserve(charge(1)) != receipt
    assert ledger.spent().epsilon > spent.epsilon


def test_a_release_is_final() -> None:
    ledger = opened()
    receipt = ledger.reserve(charge(1))
    ledger.released(receipt, MODEL)
    ledger.released(receipt, MODEL)
    with pytest.raises(DoubleRelease, match=MODEL):
        ledger.released(receipt, OTHER_MODEL)
    with pytest.raises(ReceiptRefused, match="settled"):
        ledger.abandoned(receipt, "late")
    assert kinds(ledger) == ["opened", "charge", "released"]


def test_a_receipt_is_not_made_by_hand_nor_taken_from_elsewhere() -> None:
    with pytest.raises(TypeError, match="reserve"):
        Receipt(charge(1), "00" * 32)
    forged = issue_receipt(charge(1), "00" * 32)
    with pytest.raises(ReceiptRefused, match="unknown"):
        opened().released(forged, MODEL)


def test_the_same_inputs_give_the_same_bytes() -> None:
    stores = MemoryStore(), MemoryStore()
    for store in stores:
        ledger = opened(store)
        ledger.released(ledger.reserve(charge(1)), MODEL)
        ledger.abandoned(ledger.reserve(charge(2)), "why")
    assert stores[0].rows == stores[1].rows


def test_two_ledgers_over_one_store_see_each_other() -> None:
    store = MemoryStore()
    first, second = opened(store), opened(store)
    first.reserve(charge(1))
    second.reserve(charge(2))
    first.reserve(charge(3))
    assert first.spent() == second.spent()
    assert kinds(second) == ["opened", "charge", "charge", "charge"]
    check(first)


def test_a_store_of_another_budget_or_signer_is_refused() -> None:
    store = MemoryStore()
    opened(store)
    with pytest.raises(LedgerInvalid, match="budget"):
        opened(store, Budget(epsilon=9.0, delta=1e-6))
    with pytest.raises(LedgerInvalid, match="signature"):
        Ledger(store, Signer.from_seed(b"\x08" * 32), "demo", BUDGET, ticking())


def test_a_damaged_store_is_refused_on_opening() -> None:
    store = MemoryStore()
    opened(store).reserve(charge(1))
    store.rows.pop(0)
    with pytest.raises(LedgerInvalid, match="entry 0"):
        opened(store)


# Everything below forges: a cheating signer can make heads, so the entries themselves must not add up.


def resigned(bodies: Sequence[dict[str, object]]) -> tuple[list[bytes], SignedHead]:
    """A chain of these bodies with right numbers, hashes and signature."""
    entries: list[bytes] = []
    previous, frontier = "0" * 64, Frontier()
    for seq, body in enumerate(bodies):
        filled = {key: previous if value == "PREVIOUS" else value for key, value in body.items()}
        entries.append(canonical_json({"seq": seq, "previous": previous, "time": 0, "body": filled}))
        leaf = leaf_hash(entries[-1])
        previous = leaf.hex()
        frontier.append(leaf)
    return entries, SignedHead.of(frontier.size, frontier.root(), SIGNER)


OPENED = {
    "kind": "opened",
    "schema_id": "havenfl/ledger/3",
    "public_key": SIGNER.public.hex(),
    "population": "demo",
    "budget": {"epsilon": 1.3, "delta": 1e-6, "window": None},
}
WINDOWED = {"epsilon": None, "delta": 1e-6, "window": {"epsilon": 1.3, "days": 30}}
CHARGE = {"kind": "charge", "charge": charge(1).model_dump(mode="json")}
RELEASED = {"kind": "released", "charge_hash": "PREVIOUS", "model_digest": MODEL}


def test_the_forger_forges_right() -> None:
    verify(*resigned([OPENED, CHARGE, RELEASED]), SIGNER.public)


@pytest.mark.parametrize(
    ("bodies", "complaint"),
    [
        ([CHARGE], r"entry 0: expected `opened`"),
        ([OPENED, OPENED], r"entry 1: expected `opened` first and only there"),
        ([OPENED, RELEASED], r"entry 1: charge .* unknown"),
        ([OPENED, CHARGE, RELEASED, RELEASED], r"entry 3: charge .* unknown"),
        ([OPENED, CHARGE, CHARGE], r"entry 2: round 1 has an open charge in entry 1"),
        ([OPENED, CHARGE, RELEASED, CHARGE], r"entry 3: expected at most epsilon 1\.3"),
        ([OPENED, {**CHARGE, "refund": True}], r"entry 1: .*refund"),
        ([{**OPENED, "population": "another"}, CHARGE], r"entry 1: expected population another, got demo"),
        ([{**OPENED, "budget": WINDOWED}, CHARGE, RELEASED, CHARGE], r"entry 3: .* epsilon 1\.3 in any 30 days"),
        ([{**OPENED, "public_key": "00" * 32}], r"entry 0: expected a ledger opened by this key"),
    ],
)
def test_a_signed_lie_is_found_and_named(bodies: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(LedgerInvalid, match=f"(?s){complaint}"):
        verify(*resigned(bodies), SIGNER.public)


@pytest.mark.parametrize(("field", "value"), [("seq", 7), ("previous", "11" * 32)])
def test_a_signed_entry_out_of_its_place_is_found(field: str, value: object) -> None:
    (first, second), _ = resigned([OPENED, CHARGE])
    moved = canonical_json({**json.loads(second), field: value})
    frontier = Frontier()
    frontier.append(leaf_hash(first))
    frontier.append(leaf_hash(moved))
    with pytest.raises(LedgerInvalid, match=f"entry 1: expected {field}"):
        verify([first, moved], SignedHead.of(2, frontier.root(), SIGNER), SIGNER.public)


def test_one_charge_pays_for_one_release() -> None:
    ledger = opened()
    receipt = ledger.reserve(charge(1))
    ledger.released(receipt, MODEL)
    bodies = [json.loads(entry)["body"] for entry in ledger.entries()]
    forged, _ = resigned(bodies[:2])
    paid = leaf_hash(forged[1]).hex()
    twice = [{**bodies[2], "charge_hash": paid, "model_digest": model} for model in (MODEL, OTHER_MODEL)]
    with pytest.raises(LedgerInvalid, match=r"entry 3: round 1: the charge in entry 1 paid for"):
        verify(*resigned([*bodies[:2], *twice]), SIGNER.public)


def whole() -> Ledger:
    ledger = opened()
    for number in (1, 2, 3):
        ledger.released(ledger.reserve(charge(number)), f"{number:064x}")
    return ledger


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    ledger = whole()
    entries = list(ledger.entries())
    victim = data.draw(st.integers(0, len(entries) - 1))
    place = data.draw(st.integers(0, len(entries[victim]) - 1))
    damaged = bytearray(entries[victim])
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    entries[victim] = bytes(damaged)
    with pytest.raises(LedgerInvalid):
        verify(entries, ledger.head(), SIGNER.public)


@pytest.mark.parametrize("cut", [slice(0, -1), slice(1, None), slice(0, None, 2), slice(None, None, -1), slice(0, 0)])
def test_missing_and_moved_entries_are_found(cut: slice) -> None:
    ledger = whole()
    with pytest.raises(LedgerInvalid, match=r"head|entry"):
        verify(ledger.entries()[cut], ledger.head(), SIGNER.public)


def test_an_entry_in_another_encoding_is_found() -> None:
    ledger = whole()
    entries = list(ledger.entries())
    entries[1] = json.dumps(json.loads(entries[1])).encode()
    with pytest.raises(LedgerInvalid, match="entry 1: expected RFC 8785"):
        verify(entries, ledger.head(), SIGNER.public)


def test_a_head_must_be_signed_and_of_these_entries() -> None:
    ledger = whole()
    head, stranger = ledger.head(), Signer.from_seed(b"\x09" * 32)
    with pytest.raises(LedgerInvalid, match="signature"):
        verify(ledger.entries(), SignedHead.of(head.size, bytes.fromhex(head.root), stranger), SIGNER.public)
    with pytest.raises(LedgerInvalid, match="root"):
        verify(ledger.entries(), SignedHead.of(head.size, b"\x00" * 32, SIGNER), SIGNER.public)
    with pytest.raises(LedgerInvalid, match="signature"):
        verify(ledger.entries(), head.model_copy(update={"size": head.size - 1}), SIGNER.public)


def test_a_signed_entry_before_its_predecessor_is_found() -> None:
    (first, second), _ = resigned([OPENED, CHARGE])
    later = canonical_json({**json.loads(first), "time": 10})
    chained = canonical_json({**json.loads(second), "previous": leaf_hash(later).hex()})
    frontier = Frontier()
    frontier.append(leaf_hash(later))
    frontier.append(leaf_hash(chained))
    with pytest.raises(LedgerInvalid, match="entry 1: expected a time of 10 or later, got 0"):
        verify([later, chained], SignedHead.of(2, frontier.root(), SIGNER), SIGNER.public)


def test_another_population_cannot_be_charged_here() -> None:
    ledger = opened()
    with pytest.raises(LedgerInvalid, match="expected population demo, got staff"):
        ledger.reserve(charge(1).model_copy(update={"population": "staff"}))
    assert kinds(ledger) == ["opened"]


def test_what_is_not_charged_is_named_and_costs_nothing() -> None:
    ledger = opened()
    ledger.declare_uncharged("tuning", "12 runs on public data", "no device took part")
    assert ledger.spent().epsilon == 0
    assert kinds(ledger) == ["opened", "uncharged"]
    assert check(ledger)[1].body == Uncharged(
        purpose="tuning", what="12 runs on public data", why="no device took part"
    )
