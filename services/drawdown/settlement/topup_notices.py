"""What is told of auto top-ups on `notifications`: once for each entry that says it.

The id of a notice is its entry's place in the journal, so that whoever reads one twice knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from drawdown.events.base import SPECVERSION, moment
from drawdown.events.codec import encode
from drawdown.events.notices import Notice, NoticeData
from drawdown.events.structs import struct_of
from drawdown.events.topups import TopUpFacts
from drawdown.ledger.journal import Entry

_Notice = struct_of(Notice)
_NoticeData = struct_of(NoticeData)

TYPES: Final[
    Mapping[
        str,
        Literal[
            "drawdown.topup.requested",
            "drawdown.topup.succeeded",
            "drawdown.topup.failed",
            "drawdown.topup.capped",
            "drawdown.balance.days_low",
        ],
    ]
] = {
    "request": "drawdown.topup.requested",
    "paid": "drawdown.topup.succeeded",
    "failed": "drawdown.topup.failed",
    "unanswered": "drawdown.topup.failed",
    "capped": "drawdown.topup.capped",
    "low": "drawdown.balance.days_low",
}
"""By what an entry did; what is not here concerns nobody else."""


def topup_notice(entry: Entry) -> bytes | None:
    """What is told of an entry; None for most."""
    facts = entry.rare.topup
    type_ = None if facts is None else TYPES.get(facts.change)
    if facts is None or type_ is None:
        return None
    return encode(
        _Notice(
            specversion=SPECVERSION,
            id=f"{entry.customer}/{entry.sequence}/topup",
            source="drawdown",
            type=type_,
            subject=entry.customer,
            time=moment(entry.at_ms),
            datacontenttype="application/json",
            data=_NoticeData(
                sequence=entry.sequence,
                detail=_said(facts),
                asset=facts.asset,
                amount=facts.amount,
                request=facts.request,
                available=facts.available,
                burn_a_day=facts.burn_a_day,
                days_left=facts.days_left,
                deadline_at=facts.deadline_at,
                waits_until=facts.waits_until,
                reference=facts.reference,
            ),
        )
    )


def _said(facts: TopUpFacts) -> str:
    match facts.change:
        case "request":
            return f"{facts.available} {facts.asset} are left: {facts.amount} are to be paid"
        case "paid":
            late = ", after the request had failed" if facts.late else ""
            return f"{facts.amount} {facts.asset} were paid and granted{late}"
        case "capped":
            return f"{facts.available} {facts.asset} are left, and the caps allow no more top-ups"
        case "low":
            return f"{facts.available} {facts.asset} are left: at this rate {facts.days_left} days"
        case _:
            why = f": {facts.detail}" if facts.detail else ""
            return f"{facts.amount} {facts.asset} were not paid{why}"
