"""What came of usage that was reported."""

from __future__ import annotations

import msgspec

from drawdown.events.codec import decode_decision
from drawdown.events.decisions import Decision


class Rejected(msgspec.Struct, frozen=True):
    """An event that was refused, and why."""

    index: int
    code: str
    detail: str
    id: str | None = None
    field: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What one event came to; None where it was not decided in time and will be."""

    index: int
    id: str
    decision: Decision | None


class Report(msgspec.Struct, frozen=True):
    """What became of the events of one report. `outcomes` is empty where nobody waited."""

    accepted: int
    rejected: list[Rejected]
    outcomes: list[Outcome]


class _Outcome(msgspec.Struct):
    index: int
    id: str
    decision: msgspec.Raw


class _Report(msgspec.Struct):
    accepted: int
    rejected: list[Rejected]
    outcomes: list[_Outcome] = []


_decode = msgspec.json.Decoder(_Report).decode


def report_in(body: bytes) -> Report:
    """The report that an answer is."""
    found = _decode(body)
    return Report(
        found.accepted,
        found.rejected,
        [
            Outcome(
                each.index,
                each.id,
                None if bytes(each.decision) == b"null" else decode_decision(bytes(each.decision)),
            )
            for each in found.outcomes
        ],
    )
