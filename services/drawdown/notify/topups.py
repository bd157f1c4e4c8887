"""One requested top-up, from the notice to the command that settles it: no Kafka, no threads.

Everything the command says comes from the request and the provider's answer, so that whoever does
it again sends the very same command, which settlement knows by its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from drawdown.events.base import milliseconds
from drawdown.events.codec import decode_notice, encode
from drawdown.events.commands import SettleTopup
from drawdown.events.structs import struct_of
from drawdown.notify.payments import Charge, Failed, Nothing, Outcome, Paid, Payments, key_of

REQUESTED: Final = "drawdown.topup.requested"
SPARE_MS: Final = 60_000
"""So long before its deadline a request is not charged any more: the answer would come late."""
ASKED_FOR_MS: Final = 7 * 86_400_000
"""How long after its deadline a provider is still asked what became of a charge."""

_SettleTopup = struct_of(SettleTopup)


@dataclass(frozen=True, slots=True)
class Request:
    """A top-up that settlement requested."""

    id: str
    charge: Charge
    asked_at: datetime
    deadline_ms: int


def request_of(value: bytes, environment: str) -> Request | None:
    """The request a notice tells of; None where it tells of something else. Raises RecordError."""
    notice = decode_notice(value)
    if notice.type != REQUESTED:
        return None
    data, customer = notice.data, notice.subject
    assert data.request is not None
    assert data.asset is not None
    assert data.amount is not None
    assert data.deadline_at is not None
    key = key_of(environment, customer, data.request)
    charge = Charge(key, customer, data.asset, data.amount)
    return Request(data.request, charge, notice.time, milliseconds(data.deadline_at))


def attempt(payments: Payments, request: Request, now_ms: int) -> Outcome | Nothing:
    """Charge a request; or, when its deadline is near or over, only ask what became of it. By then
    settlement may have requested another, and a provider may have forgotten the key. Blocks."""
    if now_ms > request.deadline_ms - SPARE_MS:
        return payments.find(request.charge)
    return payments.charge(request.charge)


def is_given_up(request: Request, now_ms: int) -> bool:
    """Whether it is asked about no more."""
    return now_ms > request.deadline_ms + ASKED_FOR_MS


def command_of(request: Request, outcome: Paid | Failed) -> bytes:
    """The command that settles a request."""
    said: Literal["paid", "failed"] = "paid" if isinstance(outcome, Paid) else "failed"
    return encode(
        _SettleTopup(
            id=f"{request.id}/{said}",
            customer=request.charge.customer,
            time=request.asked_at,
            request_id=request.id,
            outcome=said,
            reference=outcome.reference,
            detail=outcome.detail if isinstance(outcome, Failed) else None,
        )
    )
