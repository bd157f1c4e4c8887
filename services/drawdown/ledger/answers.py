"""The answer to a command that became an entry, from the entry alone.

A store that was rebuilt from the journal gives the same answer to the same command again, and an
allow can be shown with all it read for as long as its entry is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drawdown.events.base import moment
from drawdown.events.decisions import Decision, HoldState
from drawdown.events.entries import HeldPart, HoldFacts
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.ledger.journal import Entry, Sealed
from drawdown.ledger.limits import states_after
from drawdown.ledger.margin_floor import margin_states_after

COMMANDS: Final = {
    "grant": "grant",
    "terms": "set_terms",
    "hold": "authorize",
    "debit": "authorize",
    "capture": "capture",
    "release": "release",
    "extend": "extend",
    "void": "void",
    "adjust": "adjust",
    "reversal": "reverse",
    "convert": "convert",
    "state": "set_state",
    "statement": "issue_statement",
}
LIMITS: Final = {
    ("budget", False): "set_budget",
    ("budget", True): "remove_budget",
    ("block", True): "block",
    ("block", False): "unblock",
}
"""Of entries about limits, by their kind and whether a budget was removed or a scope is blocked."""
"""The command behind each kind of entry that a command causes."""
SUBSCRIPTIONS: Final = {
    "subscribe": "subscribe",
    "change": "change_subscription",
    "cancel": "cancel_subscription",
    "resume": "resume_subscription",
}
"""Of entries about a subscription, by what they did."""
TOPUPS: Final = {
    "set": "set_auto_topup",
    "remove": "set_auto_topup",
    "paid": "settle_topup",
    "failed": "settle_topup",
}
"""Of entries about an auto top-up, by what they did."""
RERATE: Final = "rerate"
"""The command behind those that price a use anew, whatever their kind."""

_Decision = struct_of(Decision)
_HoldState = struct_of(HoldState)
_HeldPart: Callable[[str, str], HeldPart] = struct_of(HeldPart)


def answer_of(sealed: Sealed) -> Decision:
    """The answer to the command that caused an entry."""
    entry = sealed.entry
    assert entry.id is not None
    subscription = entry.rare.subscription
    if entry.rare.rerates is not None:
        command = RERATE
    elif entry.rare.topup is not None:
        command = TOPUPS[entry.rare.topup.change]
    elif subscription is not None:
        command = SUBSCRIPTIONS[subscription.change]
    elif entry.rare.budget is not None:
        command = LIMITS["budget", entry.rare.budget.terms is None]
    elif entry.rare.block is not None:
        command = LIMITS["block", entry.rare.block.blocked]
    else:
        command = COMMANDS[entry.kind]
    hold = None if entry.hold is None else _hold_state(entry, entry.hold)
    read, price = entry.read, entry.price
    capped = entry.hold is not None and entry.hold.charge is not None
    return _Decision(
        kind="authorization" if command == "authorize" else "command",
        id=entry.id,
        customer=entry.customer,
        command=command,
        at=moment(entry.at_ms),
        allowed=True,
        reason=Reason.CAPTURE_EXCEEDS_HOLD if capped else Reason.OK,
        asset=entry.asset,
        amount=None if entry.asset is None else amount_text(entry.amount),
        available={} if read is None or entry.asset is None else {entry.asset: read.available},
        balance=None if entry.asset is None else amount_text(entry.after),
        grant=None if entry.grant is None else entry.grant.id,
        hold=hold,
        rate=None if price is None else price.rate,
        book=None if price is None else price.book,
        book_offset=None if price is None else price.book_offset,
        sequence=entry.sequence,
        digest=sealed.digest,
        usage_lag_records=None if read is None else read.usage_lag_records,
        usage_lag_ms=None if read is None else read.usage_lag_ms,
        statement=None if entry.rare.statement is None else entry.rare.statement.number,
        subscription=subscription,
        limits=states_after(entry.rare.limits),
        topup=entry.rare.topup,
        margins=margin_states_after(entry.rare.margins),
    )


def _hold_state(entry: Entry, facts: HoldFacts) -> HoldState:
    made = entry.kind == "hold"
    returned = sum(amount_of(part.amount) for part in facts.returned)
    uncharged = 0 if facts.charge is None else amount_of(facts.charge) - entry.amount
    return _HoldState(
        id=facts.id,
        amount=facts.after,
        expires_at=facts.expires_at,
        closed=facts.closed,
        allocations=[
            _HeldPart(part.grant, amount_text(part.amount))
            for part in (entry.slices if made else ())
        ],
        credit=amount_text(entry.credit) if made else "0",
        returned=amount_text(returned + amount_of(facts.returned_credit)),
        uncharged=amount_text(uncharged),
    )
