"""Entries about holds that do not follow from the rows: none is folded, whatever is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.till import Till

from drawdown.events.codec import encode
from drawdown.events.structs import replaced
from drawdown.ledger.evolve import BrokenInvariantError, evolve
from drawdown.ledger.journal import Entry, seal, unseal
from drawdown.ledger.rows import hold_record, row_bytes, row_of


def lived() -> Till:
    """A hold of 5 - 3 of a grant, 2 on credit - of which 1 was captured."""
    till = Till()
    till.grant("ada", "3", "g")
    till.command("set_terms", "ada", credit_limits={"USD": "9"})
    till.authorize("ada", 5, require="hold", hold={"hold_id": "h"})
    till.use("ada", 1, hold="h")
    return till


def next_entry(what: str, **fields: Any) -> tuple[Till, Entry]:
    """The wallet before an entry, and the entry."""
    till, after = lived(), lived()
    if what == "authorize":
        after.authorize("ada", 1, require="hold", hold={"hold_id": "other"})
    else:
        after.command(what, "ada", hold_id="h", **fields)
    return till, unseal(after.journal[-1]).entry


def facts(**changes: Any) -> Callable[[Entry], Entry]:
    return lambda entry: replaced(entry, hold=replaced(entry.hold, **changes))


SPOILED: list[tuple[str, dict[str, Any], Callable[[Entry], Entry], str]] = [
    # the command, its fields, what is wrong with its entry, the rule
    ("capture", {}, facts(id="x"), "hold-states"),
    ("capture", {}, facts(before="5"), "hold-states"),
    ("capture", {}, facts(after="1"), "hold-states"),
    ("capture", {}, facts(taken=[]), "grant-not-negative"),
    ("capture", {}, facts(taken_credit="3"), "allocations-sum"),
    ("capture", {"final": False}, facts(closed=False, taken_credit="0"), "after-is-balance"),
    ("capture", {}, lambda entry: replaced(entry, slices=()), "allocations-sum"),
    ("capture", {}, lambda entry: replaced(entry, credit=0), "allocations-sum"),
    ("capture", {}, lambda entry: replaced(entry, after=entry.after + 1), "after-is-balance"),
    ("capture", {"amount": "1", "final": False}, facts(closed=True), "hold-states"),
    ("release", {}, facts(returned=[]), "allocations-sum"),
    ("release", {}, facts(returned_credit="3"), "allocations-sum"),
    ("release", {}, facts(after="4"), "hold-states"),
    ("release", {}, facts(id="x"), "hold-states"),
    ("release", {}, lambda entry: replaced(entry, hold=None), "hold-states"),
    ("extend", {"expires_in_s": 5}, facts(after="5"), "hold-states"),
    ("extend", {"expires_in_s": 5}, facts(id="x"), "hold-states"),
    ("authorize", {}, facts(id="h"), "hold-states"),
    ("authorize", {}, lambda entry: replaced(entry, credit=0), "allocations-sum"),
    ("authorize", {}, lambda entry: replaced(entry, after=entry.before), "after-is-balance"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "fields", "spoil", "rule"), SPOILED)
def test_what_does_not_follow_is_refused(
    what: str, fields: dict[str, Any], spoil: Callable[[Entry], Entry], rule: str
) -> None:
    till, entry = next_entry(what, **fields)
    evolve(till, seal(entry))
    with pytest.raises(BrokenInvariantError) as found:
        evolve(till, seal(spoil(entry)))
    assert found.value.rule == rule


def test_the_row_of_a_hold_read_back_is_the_row_that_was_written() -> None:
    row = lived().row("ada\x1fhold\x1fh")
    assert row_of(row_bytes(row)) == row
    assert row_bytes(row) == encode(hold_record(row))
