"""Usage events: the raw fact of use, as CloudEvents 1.0 in structured JSON.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drawdown.events.base import PRINTABLE, CustomerId, Identifier, Open, Record, Timestamp

EventType = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]


class UsageEvent(Record):
    """One use of a product by one customer. The record's key is `subject`."""

    specversion: Literal["1.0"] = Field(description="CloudEvents version")
    id: Identifier = Field(
        description="With `source`, names the event: the same pair again is the same event, and is"
        " debited once within the lateness window"
    )
    source: Identifier = Field(description="Who reports: a service, a gateway, an agent")
    type: EventType = Field(description="Names the meter that counts it")
    subject: CustomerId = Field(description="The customer")
    time: Timestamp | None = Field(
        default=None,
        description="When the use happened; prices of that instant apply. Without it, the time of"
        " arrival",
    )
    datacontenttype: str | None = Field(default=None, description="JSON, whatever is stated")
    timesource: Literal["gateway"] | None = Field(
        default=None,
        description="Set where a gateway filled in `time`: such a time is no part of the event's"
        " identity, so that a retry is not a conflict",
    )
    data: Open = Field(
        description="Quantities and dimensions: the meter names the quantities (numbers or decimal"
        " text); every other text, number or boolean is a dimension; `costs` may report what the"
        " vendors charged; `hold` may name the hold the charge is captured from first, and with it"
        " `final: true` closes that hold"
    )
