"""What settlement tells of limits: percents of budgets, margins, and scopes that use a lot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drawdown.events.base import SPECVERSION, moment
from drawdown.events.codec import encode
from drawdown.events.limits import LimitFacts, MarginFacts, PaceFacts
from drawdown.events.notices import Notice, NoticeData, NoticeType
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import struct_of
from drawdown.ledger.journal import Entry, Sealed
from drawdown.ledger.margin_floor import percent_text

_Notice = struct_of(Notice)
_NoticeData = struct_of(NoticeData)


def limits_told(sealed: Sealed) -> Iterator[bytes]:
    """Notices of what an entry reached of budgets and margins."""
    entry = sealed.entry
    rare = entry.rare
    for limit in rare.limits:
        for percent in limit.tells:
            yield _percent_reached(entry, limit, percent)
    for margin in rare.margins:
        for what in margin.tells:
            told = _sign_changed if what == "sign" else _floor_passed
            yield told(entry, margin)
    for pace in rare.paces:
        if pace.tells:
            yield _velocity(entry, pace)


def _notice(
    entry: Entry,
    kind: NoticeType,
    tail: str,
    facts: LimitFacts | MarginFacts | PaceFacts,
    detail: str,
    **said: Any,
) -> bytes:
    return encode(
        _Notice(
            specversion=SPECVERSION,
            id=f"{entry.customer}/{entry.sequence}/{tail}",
            source="drawdown",
            type=kind,
            subject=entry.customer,
            time=moment(entry.at_ms),
            datacontenttype="application/json",
            data=_NoticeData(
                sequence=entry.sequence,
                detail=detail,
                budget=facts.budget,
                scope=facts.scope,
                resets_at=facts.ends_at,
                **said,
            ),
        )
    )


def _of(scope: str) -> str:
    return f" of {scope}" if scope else ""


def _percent_reached(entry: Entry, limit: LimitFacts, percent: int) -> bytes:
    return _notice(
        entry,
        "drawdown.budget.threshold_reached",
        f"budget/{limit.budget}/{percent}",
        limit,
        f"budget {limit.budget!r}{_of(limit.scope)}: {limit.after} of {limit.cap} are used"
        f" ({percent} % reached)",
        asset=entry.asset,
        amount=limit.after,
        percent=percent,
        cap=limit.cap,
    )


def _sign_changed(entry: Entry, facts: MarginFacts) -> bytes:
    below = amount_of(facts.revenue) < amount_of(facts.cost)
    what = "fell below zero" if below else "is no more below zero"
    return _margin(entry, facts, "drawdown.margin.sign_changed", "sign", what)


def _floor_passed(entry: Entry, facts: MarginFacts) -> bytes:
    what = f"fell under its floor of {facts.floor} %"
    return _margin(entry, facts, "drawdown.margin.floor_passed", "floor", what)


def _margin(entry: Entry, facts: MarginFacts, kind: NoticeType, tail: str, what: str) -> bytes:
    revenue, cost = amount_of(facts.revenue), amount_of(facts.cost)
    percent = percent_text(revenue, cost)
    share = "" if percent is None else f" ({percent} %)"
    margin = amount_text(revenue - cost)
    return _notice(
        entry,
        kind,
        f"margin/{facts.budget}/{tail}",
        facts,
        f"margin {facts.budget!r}{_of(facts.scope)} {what}: {margin}{share}, revenue"
        f" {facts.revenue} less cost {facts.cost}",
        revenue=facts.revenue,
        cost=facts.cost,
        margin=margin,
        floor=facts.floor,
    )


def _velocity(entry: Entry, facts: PaceFacts) -> bytes:
    return _notice(
        entry,
        "drawdown.budget.velocity",
        f"velocity/{facts.budget}",
        facts,
        f"budget {facts.budget!r}{_of(facts.scope)}: {facts.after} are used,"
        f" {facts.times} times the usual {facts.usual} of such a stretch or more",
        asset=entry.asset,
        amount=facts.after,
        usual=facts.usual,
        times=facts.times,
    )
