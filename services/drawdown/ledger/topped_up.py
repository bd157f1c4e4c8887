"""Auto top-ups after an entry: their rows, from the entry and the rows alone.

An entry about a top-up says what it changes. Besides, each use of a customer whose terms say days
left moves what was used in its hour, and whatever brings the days back up lets it be told anew when
they fall again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from drawdown.events.base import milliseconds
from drawdown.events.numbers import amount_of
from drawdown.events.structs import replaced
from drawdown.events.topups import TopUpFacts
from drawdown.ledger.drawdown import spendable
from drawdown.ledger.journal import Sealed
from drawdown.ledger.slices import BrokenInvariantError
from drawdown.ledger.topup_values import (
    HOUR_MS,
    Burn,
    RequestState,
    Topup,
    TopupRequest,
    below_of,
    request_key,
    topup_key,
    window_of,
)
from drawdown.ledger.values import Wallet

USES: Final = frozenset({"debit", "capture", "close"})
"""Kinds of entries whose amount was used; what is priced anew was used before."""
ENDS: Final[Mapping[str, RequestState]] = {
    "paid": "paid",
    "failed": "failed",
    "unanswered": "unanswered",
}


class RowReader(Protocol):
    def row(self, key: str) -> Any: ...


def assets_of(topups: tuple[str, ...], facts: TopUpFacts) -> tuple[str, ...]:
    """The assets with an auto top-up after an entry about one."""
    if facts.change == "remove":
        return tuple([asset for asset in topups if asset != facts.asset])
    if facts.change == "set" and facts.asset not in topups:
        return (*topups, facts.asset)
    return topups


def evolve_topups(
    rows: RowReader, sealed: Sealed, wallet: Wallet
) -> dict[str, Topup | TopupRequest]:
    """The rows of top-ups that an entry changes, by key; `wallet` is as it is after it.

    Raises BrokenInvariantError where the entry does not follow from the rows.
    """
    changed: dict[str, Topup | TopupRequest] = {}
    facts = sealed.entry.rare.topup
    if facts is not None:
        key = topup_key(wallet.customer, facts.asset)
        row: Topup | None = rows.row(key)
        changed[key] = _changed(row, facts, sealed)
        if facts.request is not None:
            request = request_key(wallet.customer, facts.request)
            changed[request] = _request(rows.row(request), facts, sealed)
    for asset in wallet.topups:
        key = topup_key(wallet.customer, asset)
        before = cast(Topup, changed.get(key) or rows.row(key))
        after = _moved(before, sealed, wallet)
        if after is not before:
            changed[key] = after
    return changed


def is_few_days(row: Topup, wallet: Wallet, at_ms: int) -> bool:
    """Whether the available balance lasts for fewer days than the terms say."""
    terms = row.terms
    if terms is None or terms.below.days_left is None or row.burn is None:
        return False
    burn = row.burn.a_day(at_ms)
    if not burn:
        return False
    return spendable(wallet, wallet.account(row.asset), at_ms) < terms.below.days_left * burn


def _moved(row: Topup, sealed: Sealed, wallet: Wallet) -> Topup:
    """The row with what an entry used, and armed again where enough days are left."""
    entry = sealed.entry
    if (
        row.burn is not None
        and entry.asset == row.asset
        and entry.kind in USES
        and entry.rare.rerates is None
    ):
        burn = row.burn.with_spent(entry.amount, entry.at_ms)
        row = replaced(row, burn=burn, sequence=entry.sequence)
    if row.low and entry.rare.topup is None and not is_few_days(row, wallet, entry.at_ms):
        row = replaced(row, low=False, sequence=entry.sequence)
    return row


def _changed(row: Topup | None, facts: TopUpFacts, sealed: Sealed) -> Topup:
    entry = sealed.entry
    if facts.change == "set":
        return _set(row, facts, sealed)
    if row is None:
        raise _broken(sealed, facts, "which is not there")
    row = replaced(row, sequence=entry.sequence)
    match facts.change:
        case "remove":
            return replaced(row, terms=None, below=None, waits_until_ms=None, low=False, burn=None)
        case "request":
            if row.outstanding is not None:
                raise _broken(sealed, facts, f"while {row.outstanding!r} is under way")
            return replaced(
                row,
                outstanding=facts.request,
                window=window_of(facts.window),
                waits_until_ms=None,
            )
        case "low":
            return replaced(row, low=True)
        case "capped" | "rearm":
            return replaced(row, waits_until_ms=_waits_until(facts))
    if row.outstanding != facts.request:
        return row  # of one that had ended before
    return replaced(
        row, outstanding=None, failures=facts.failures, waits_until_ms=_waits_until(facts)
    )


def _set(row: Topup | None, facts: TopUpFacts, sealed: Sealed) -> Topup:
    """New terms, over what was asked for before: setting them again forgives failures and ends a
    wait, and never what the caps' period took."""
    entry, terms = sealed.entry, facts.terms
    burn = None
    if terms is not None and terms.below.days_left is not None:
        hour_ms = entry.at_ms - entry.at_ms % HOUR_MS
        burn = row.burn if row is not None else None
        burn = burn or Burn(entry.at_ms, hour_ms, (0,))
    return Topup(
        entry.customer,
        facts.asset,
        terms,
        below_of(terms),
        None if row is None else row.outstanding,
        window_of(facts.window),
        0,
        None,
        False,
        burn,
        entry.sequence,
    )


def _waits_until(facts: TopUpFacts) -> int | None:
    return None if facts.waits_until is None else milliseconds(facts.waits_until)


def _request(row: TopupRequest | None, facts: TopUpFacts, sealed: Sealed) -> TopupRequest:
    entry = sealed.entry
    if facts.change == "request":
        if row is not None or facts.amount is None or facts.deadline_at is None:
            raise _broken(sealed, facts, f"as {facts.request!r}, which was asked for before")
        return TopupRequest(
            entry.customer,
            cast(str, facts.request),
            facts.asset,
            amount_of(facts.amount),
            facts.cost_basis or "0",
            facts.expires_in_days,
            entry.at_ms,
            milliseconds(facts.deadline_at),
            "outstanding",
            None,
            None,
            entry.sequence,
        )
    state = ENDS[facts.change]
    if row is None or row.state == "paid" or (state != "paid" and row.state != "outstanding"):
        raise _broken(sealed, facts, f"of {facts.request!r}, which is not open")
    return replaced(
        row,
        state=state,
        reference=facts.reference,
        detail=facts.detail,
        sequence=entry.sequence,
    )


def _broken(sealed: Sealed, facts: TopUpFacts, what: str) -> BrokenInvariantError:
    entry = sealed.entry
    return BrokenInvariantError(
        "topup-state",
        f"{entry.customer}: entry {entry.sequence} says {facts.change!r} of {facts.asset!r},"
        f" {what}",
    )
