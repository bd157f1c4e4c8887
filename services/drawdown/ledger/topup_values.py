"""Auto top-ups as the ledger reckons with them, and the records they are on `balances`.

Two kinds of row. One per asset has the terms, what is under way, what the caps' period took, and
what was used by the hour. One per request has what it asked for and how it ended; it stays, because
money may come long after the request was given up, and must become the grant once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

from drawdown.events.base import KEY_SEPARATOR, Value, milliseconds, moment
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import struct_of
from drawdown.events.topups import (
    BurnRecord,
    TopUpRequestRow,
    TopUpRow,
    TopUpTerms,
    TopUpWindow,
)

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HOURS_KEPT: Final = 25
"""The hour under way and the 24 before it: never less than the last 24 hours."""

_BurnRecord = struct_of(BurnRecord)
_TopUpRow = struct_of(TopUpRow)
_TopUpRequestRow = struct_of(TopUpRequestRow)
_TopUpWindow: Callable[..., TopUpWindow] = struct_of(TopUpWindow)

RequestState = Literal["outstanding", "paid", "failed", "unanswered"]


class Window(Value, frozen=True):
    """A period of the caps, and what was asked for in it."""

    starts_ms: int
    ends_ms: int
    requests: int = 0
    amount: int = 0


class Burn(Value, frozen=True):
    """What was used by the hour: `spent` ends with the hour that began at `hour_ms`."""

    since_ms: int
    hour_ms: int
    spent: tuple[int, ...]

    def with_spent(self, amount: int, at_ms: int) -> Burn:
        """With an amount that was used at a time; what was given back may make an hour negative.
        Of an hour that is over already it counts in the last one: sooner forgotten is cheaper."""
        hour_ms = max(at_ms - at_ms % HOUR_MS, self.hour_ms)
        passed = (hour_ms - self.hour_ms) // HOUR_MS
        spent = (*self.spent, *[0] * min(passed, HOURS_KEPT))[-HOURS_KEPT:]
        return Burn(self.since_ms, hour_ms, (*spent[:-1], spent[-1] + amount))

    def a_day(self, at_ms: int) -> int | None:
        """What a day uses, never less than the last 24 hours did: the hour under way counts besides
        24 whole ones, and a part of a unit is one. None in the first hour: too little is known."""
        known_ms = at_ms - self.since_ms
        if known_ms < HOUR_MS:
            return None
        passed = max(at_ms - self.hour_ms, 0) // HOUR_MS
        spent = max(sum(self.spent[max(len(self.spent) + passed - HOURS_KEPT, 0) :]), 0)
        return spent if known_ms >= DAY_MS else -(-spent * DAY_MS // known_ms)


class Topup(Value, frozen=True):
    """A customer's auto top-up of one asset after its last entry."""

    customer: str
    asset: str
    terms: TopUpTerms | None
    """None where they were removed: what was asked for in the caps' period is not forgotten."""
    below: int | None
    """Available balance below this is low."""
    outstanding: str | None
    """Id of the request under way."""
    window: Window | None
    failures: int
    waits_until_ms: int | None
    """Nothing is asked for until then."""
    low: bool
    """It was told that few days are left."""
    burn: Burn | None
    """Kept where the terms say days."""
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """Its timer: the end of a wait. A request's end is the timer of its own row."""
        return self.waits_until_ms


class TopupRequest(Value, frozen=True):
    """A top-up that was asked for, and how it ended."""

    customer: str
    id: str
    asset: str
    amount: int
    cost_basis: str
    expires_in_days: int | None
    requested_ms: int
    deadline_ms: int
    state: RequestState
    reference: str | None
    detail: str | None
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """Its timer: without an answer by then it counts as failed."""
        return self.deadline_ms if self.state == "outstanding" else None


def topup_key(customer: str, asset: str) -> str:
    """Key of the row of an asset's auto top-up."""
    return f"{customer}{KEY_SEPARATOR}topup{KEY_SEPARATOR}{asset}"


def request_key(customer: str, request_id: str) -> str:
    """Key of the row of a request."""
    return f"{customer}{KEY_SEPARATOR}topup_request{KEY_SEPARATOR}{request_id}"


def below_of(terms: TopUpTerms | None) -> int | None:
    """The amount that the terms call low."""
    if terms is None or terms.below.amount is None:
        return None
    return amount_of(terms.below.amount)


# --- the records they are ----------------------------------------------------------------------


def window_record(window: Window | None) -> TopUpWindow | None:
    if window is None:
        return None
    return _TopUpWindow(
        starts_at=moment(window.starts_ms),
        ends_at=moment(window.ends_ms),
        requests=window.requests,
        amount=amount_text(window.amount),
    )


def window_of(record: TopUpWindow | None) -> Window | None:
    if record is None:
        return None
    return Window(
        milliseconds(record.starts_at),
        milliseconds(record.ends_at),
        record.requests,
        amount_of(record.amount),
    )


def topup_record(row: Topup) -> TopUpRow:
    """The row as the record it is on `balances`."""
    burn = row.burn
    return _TopUpRow(
        customer=row.customer,
        asset=row.asset,
        terms=row.terms,
        outstanding=row.outstanding,
        window=window_record(row.window),
        failures=row.failures,
        waits_until=None if row.waits_until_ms is None else moment(row.waits_until_ms),
        low=row.low,
        burn=None
        if burn is None
        else _BurnRecord(
            since_at=moment(burn.since_ms),
            hour_at=moment(burn.hour_ms),
            spent=[amount_text(amount) for amount in burn.spent],
        ),
        sequence=row.sequence,
    )


def topup_of(record: TopUpRow) -> Topup:
    """The row that a record is."""
    burn = record.burn
    return Topup(
        record.customer,
        record.asset,
        record.terms,
        below_of(record.terms),
        record.outstanding,
        window_of(record.window),
        record.failures,
        None if record.waits_until is None else milliseconds(record.waits_until),
        record.low,
        None
        if burn is None
        else Burn(
            milliseconds(burn.since_at),
            milliseconds(burn.hour_at),
            tuple([amount_of(text) for text in burn.spent]),
        ),
        record.sequence,
    )


def request_record(row: TopupRequest) -> TopUpRequestRow:
    """The row as the record it is on `balances`."""
    return _TopUpRequestRow(
        customer=row.customer,
        id=row.id,
        asset=row.asset,
        amount=amount_text(row.amount),
        cost_basis=row.cost_basis,
        expires_in_days=row.expires_in_days,
        requested_at=moment(row.requested_ms),
        deadline_at=moment(row.deadline_ms),
        state=row.state,
        reference=row.reference,
        detail=row.detail,
        sequence=row.sequence,
    )


def request_of(record: TopUpRequestRow) -> TopupRequest:
    """The row that a record is."""
    return TopupRequest(
        record.customer,
        record.id,
        record.asset,
        amount_of(record.amount),
        record.cost_basis,
        record.expires_in_days,
        milliseconds(record.requested_at),
        milliseconds(record.deadline_at),
        record.state,
        record.reference,
        record.detail,
        record.sequence,
    )
