"""Rows of limits to records and back; see `rows`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from drawdown.events import rows as wire
from drawdown.events.base import milliseconds, moment
from drawdown.events.structs import struct_of
from drawdown.ledger.budgets import Budget, Scoped, Spent, number_of, number_text
from drawdown.ledger.margin_floor import MarginSum
from drawdown.ledger.values import NEVER
from drawdown.ledger.velocity import Pace

_BudgetRow = struct_of(wire.BudgetRow)
_ScopeRow = struct_of(wire.ScopeRow)
_SpentRow = struct_of(wire.SpentRow)
_Bucket = struct_of(wire.Bucket)
_MarginRow = struct_of(wire.MarginRow)
_MarginBucket = struct_of(wire.MarginBucket)
_PaceRow = struct_of(wire.PaceRow)


def budget_record(row: Budget) -> wire.BudgetRow:
    """The budget as the record it is on `balances`."""
    return _BudgetRow(customer=row.customer, id=row.id, terms=row.terms, sequence=row.sequence)


def scope_record(row: Scoped) -> wire.ScopeRow:
    """The scope as the record it is on `balances`."""
    return _ScopeRow(
        customer=row.customer,
        scope=dict(row.scope),
        budgets=list(row.budgets),
        block=row.block,
        sequence=row.sequence,
    )


def spent_record(row: Spent) -> wire.SpentRow:
    """What counts in a budget, as the record it is on `balances`."""
    endless = row.ends_ms == NEVER
    due_ms = row.due_ms
    return _SpentRow(
        customer=row.customer,
        budget=row.budget,
        scope=row.scope,
        each=row.each,
        window=row.window,
        starts_at=None if endless else moment(row.starts_ms),
        ends_at=None if endless else moment(row.ends_ms),
        cap=number_text(row.cap),
        used=number_text(row.used),
        held=number_text(row.held),
        told=row.told,
        buckets=[_Bucket(at=moment(at), used=number_text(used)) for at, used in row.buckets],
        last_at=moment(row.last_ms),
        closes_at=None if due_ms is None else moment(due_ms),
        sequence=row.sequence,
    )


def margin_record(row: MarginSum) -> wire.MarginRow:
    """What counts in a margin, as the record it is on `balances`."""
    endless = row.ends_ms == NEVER
    due_ms = row.due_ms
    return _MarginRow(
        customer=row.customer,
        budget=row.budget,
        scope=row.scope,
        each=row.each,
        window=row.window,
        starts_at=None if endless else moment(row.starts_ms),
        ends_at=None if endless else moment(row.ends_ms),
        revenue=number_text(row.revenue),
        cost=number_text(row.cost),
        under=row.under,
        buckets=[
            _MarginBucket(at=moment(at), revenue=number_text(revenue), cost=number_text(cost))
            for at, revenue, cost in row.buckets
        ],
        last_at=moment(row.last_ms),
        closes_at=None if due_ms is None else moment(due_ms),
        sequence=row.sequence,
    )


def pace_record(row: Pace) -> wire.PaceRow:
    """What a scope uses in a stretch, as the record it is on `balances`."""
    due_ms = row.due_ms
    return _PaceRow(
        customer=row.customer,
        budget=row.budget,
        scope=row.scope,
        each=row.each,
        every=row.every,
        zone=row.zone,
        starts_at=moment(row.starts_ms),
        ends_at=moment(row.ends_ms),
        used=number_text(row.used),
        told=row.told,
        stretches=[number_text(used) for used in row.stretches],
        last_at=moment(row.last_ms),
        closes_at=None if due_ms is None else moment(due_ms),
        sequence=row.sequence,
    )


def _budget(row: wire.BudgetRow) -> Budget:
    cap = number_of(row.terms.cap or "0")
    return Budget(row.customer, row.id, row.terms, cap, row.sequence)


def _scoped(row: wire.ScopeRow) -> Scoped:
    return Scoped(row.customer, row.scope, tuple(row.budgets), row.block, row.sequence)


def _spent(row: wire.SpentRow) -> Spent:
    return Spent(
        row.customer,
        row.budget,
        row.scope,
        row.each,
        row.window,
        0 if row.starts_at is None else milliseconds(row.starts_at),
        NEVER if row.ends_at is None else milliseconds(row.ends_at),
        number_of(row.cap),
        number_of(row.used),
        number_of(row.held),
        row.told,
        tuple([(milliseconds(bucket.at), number_of(bucket.used)) for bucket in row.buckets]),
        milliseconds(row.last_at),
        row.sequence,
    )


def _margin(row: wire.MarginRow) -> MarginSum:
    return MarginSum(
        row.customer,
        row.budget,
        row.scope,
        row.each,
        row.window,
        0 if row.starts_at is None else milliseconds(row.starts_at),
        NEVER if row.ends_at is None else milliseconds(row.ends_at),
        number_of(row.revenue),
        number_of(row.cost),
        row.under,
        tuple(
            [
                (milliseconds(each.at), number_of(each.revenue), number_of(each.cost))
                for each in row.buckets
            ]
        ),
        milliseconds(row.last_at),
        row.sequence,
    )


def _pace(row: wire.PaceRow) -> Pace:
    return Pace(
        row.customer,
        row.budget,
        row.scope,
        row.each,
        row.every,
        row.zone,
        milliseconds(row.starts_at),
        milliseconds(row.ends_at),
        number_of(row.used),
        row.told,
        tuple([number_of(used) for used in row.stretches]),
        milliseconds(row.last_at),
        row.sequence,
    )


LIMIT_RECORDS: Final[Mapping[type, Callable[..., object]]] = {
    Budget: budget_record,
    Scoped: scope_record,
    Spent: spent_record,
    MarginSum: margin_record,
    Pace: pace_record,
}
"""The record of each kind of row."""
LIMIT_ROWS: Final[Mapping[str, Callable[..., Budget | Scoped | Spent | MarginSum | Pace]]] = {
    "budget": _budget,
    "scope": _scoped,
    "spent": _spent,
    "margin": _margin,
    "pace": _pace,
}
"""What makes the row of each kind of record."""
