"""The journal: a chain of digests, exact both ways, and folded only where it follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

import pytest
from tests.support.till import DAY, START_MS, Till

from drawdown.events.codec import RecordError, encode
from drawdown.events.structs import replaced
from drawdown.ledger.evolve import BrokenInvariantError, evolve_wallet
from drawdown.ledger.journal import Entry, seal, unseal
from drawdown.ledger.rows import row_bytes, row_of, wallet_record
from drawdown.ledger.values import GENESIS, Wallet


def lived() -> Till:
    """A wallet with every kind of entry in it."""
    till = Till()
    till.command("set_terms", "ada", credit_limits={"USD": "3"}, thresholds={"USD": ["2"]})
    till.use("ada", "4.5")
    till.grant("ada", "10", "g", expires_at=START_MS + DAY, metadata={"k": "é\n"})
    till.grant("ada", "1", "h", scope={"meters": ["work"], "dimensions": {"team": ["red"]}})
    till.grant("ada", "7", "c", asset="credit", cost_basis="0.3", effective_at=START_MS - 1)
    till.use("ada", 2, team="red", note='\u0000 "quoted" \\ é')
    till.use("ada", 3, **{"in": "credit"})
    till.use("ada", 1, type="other", costs={"x": "0.25"})
    till.tick(START_MS + DAY)
    return till


def test_every_entry_covers_the_one_before_it() -> None:
    previous = GENESIS
    for value in lived().journal:
        entry = json.loads(value)
        assert entry["data"]["previous"] == previous
        body, mark, rest = value.rpartition(b',"digest":"')
        assert mark
        previous = sha256(body).hexdigest()
        assert rest == previous.encode() + b'"}'
        assert entry["digest"] == previous


def test_sequences_are_each_customers_own_without_a_gap() -> None:
    till = Till()
    for customer in ("ada", "bob", "ada", "ada", "bob"):
        till.use(customer, 1)
    assert [e["id"] for e in till.entries("ada")] == ["ada/1", "ada/2", "ada/3"]
    assert [e["id"] for e in till.entries("bob")] == ["bob/1", "bob/2"]


def test_an_entry_read_back_is_the_entry_that_was_written() -> None:
    for value in lived().journal:
        sealed = unseal(value)
        again = seal(sealed.entry)
        assert (again.value, again.digest, again.after_text) == (
            value,
            sealed.digest,
            sealed.after_text,
        )


@pytest.mark.parametrize("customer", ["a/b", 'qu"ote', "back\\slash", "é", "\u2028", "x" * 128])
def test_customers_with_odd_names(customer: str) -> None:
    till = Till()
    till.grant(customer, "1", "g")
    till.use(customer, 1)
    assert till.entries(customer)[-1]["id"] == f"{customer}/2"
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    assert till.wrongs() == []


def test_any_byte_that_is_changed_is_noticed() -> None:
    value = lived().journal[5]
    for place in range(len(value)):
        changed = value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]
        with pytest.raises(RecordError):
            unseal(changed)


BROKEN: list[tuple[str, Callable[[Entry], Entry]]] = [
    ("sequence-contiguous", lambda entry: replaced(entry, sequence=entry.sequence + 1)),
    ("sequence-contiguous", lambda entry: replaced(entry, sequence=entry.sequence - 1)),
    ("digest-chain", lambda entry: replaced(entry, previous=GENESIS)),
    ("before-is-balance", lambda entry: replaced(entry, before=entry.before + 1)),
    ("after-is-balance", lambda entry: replaced(entry, after=entry.after + 1)),
    ("allocations-sum", lambda entry: replaced(entry, slices=())),
    ("allocations-sum", lambda entry: replaced(entry, overdrawn=1)),
    ("allocations-sum", lambda entry: replaced(entry, slices=entry.slices * 2)),
    (
        "grant-not-negative",
        lambda entry: replaced(
            entry, slices=tuple(replaced(part, amount=10**15) for part in entry.slices)
        ),
    ),
    (
        "grant-exists",
        lambda entry: replaced(
            entry, slices=tuple(replaced(part, grant="none") for part in entry.slices)
        ),
    ),
]


@pytest.mark.parametrize(("rule", "spoil"), BROKEN)
def test_an_entry_that_does_not_follow_is_not_folded(
    rule: str, spoil: Callable[[Entry], Entry]
) -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.grant("ada", "10", "h")
    wallet = till.rows["ada"]
    assert wallet is not None
    sealed = till.use("ada", 1).entries[0]
    evolve_wallet(wallet, sealed)
    with pytest.raises(BrokenInvariantError) as found:
        evolve_wallet(wallet, seal(spoil(sealed.entry)))
    assert found.value.rule == rule


# --- rows ----------------------------------------------------------------------------------------


def test_the_quick_form_of_a_row_is_that_of_the_generic_encoder() -> None:
    till = Till()
    whole = lived()
    for value in whole.journal:
        sealed = unseal(value)
        row = evolve_wallet(till.rows.get("ada") or Wallet("ada"), sealed)
        till.rows["ada"] = row
        assert row_bytes(row) == encode(wallet_record(row))


def test_a_row_read_back_is_the_row_that_was_written() -> None:
    row = lived().rows["ada"]
    assert row is not None
    assert row_of(row_bytes(row)) == row


@pytest.mark.parametrize(
    "value", [b"", b"{}", b'{"row":"hold"}', b"[]", b'{"row":"wallet","customer":"ada"}']
)
def test_bytes_that_are_no_row(value: bytes) -> None:
    with pytest.raises(RecordError):
        row_of(value)


def test_a_fold_of_the_journal_gives_the_rows_and_the_first_answers() -> None:
    till = lived()
    rebuilt = till.replayed()
    assert rebuilt.bytes_of_rows() == till.bytes_of_rows()
    assert rebuilt.rows == till.rows
    assert rebuilt.identities == till.identities


def test_the_wallet_knows_when_its_next_grant_expires() -> None:
    till = Till()
    due = []
    for step in (
        lambda: till.grant("ada", "1", "a", expires_at=START_MS + 3 * DAY),
        lambda: till.grant("ada", "1", "b", expires_at=START_MS + DAY),
        lambda: till.grant("ada", "1", "c"),
        lambda: till.use("ada", 1),  # b goes first
        lambda: till.use("ada", 1),
    ):
        step()
        row = till.rows["ada"]
        assert row is not None
        due.append(row.due_ms)
        assert row_of(row_bytes(row)).due_ms == row.due_ms
    assert due == [START_MS + 3 * DAY, START_MS + DAY, START_MS + DAY, START_MS + 3 * DAY, None]
