"""Usage events as they come over HTTP, made into the records of the topic.

CloudEvents in every content mode (structured, batch, binary), plain JSON with the same fields, and
what vendors send. What is missing and can be filled in is: the time of arrival (marked, so that it
is no part of the event's identity). What would make a retry unsafe is not: an event has its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from drawdown.events.base import timestamp_text
from drawdown.events.codec import (
    RecordError,
    decode_usage,
    decode_vendor,
    encode,
    encode_numbers,
    record_error,
)
from drawdown.events.reasons import Reason
from drawdown.events.usage import UsageEvent
from drawdown.integrations.genai import disjoint, is_vendor_usage

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = "application/json"
EVENTS_MAX: Final = 1_000
SOURCE_DEFAULT: Final = "api"


class Incoming(msgspec.Struct, frozen=True):
    """An event as it came: CloudEvents' fields; `customer` does for `subject`."""

    data: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None
    source: str | None = None
    type: str | None = None
    subject: str | None = None
    customer: str | None = None
    time: str | None = None
    specversion: str | None = None


class Taken(msgspec.Struct, frozen=True):
    """An event on its way to the topic."""

    index: int
    event: UsageEvent
    value: bytes


class Refused(msgspec.Struct, frozen=True):
    """An event that is none."""

    index: int
    id: str | None
    error: RecordError


_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_incoming = msgspec.json.Decoder(Incoming).decode


def read_events(
    content_type: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> tuple[list[Taken], list[Refused]]:
    """The events of a request. Raises RecordError where it is no list of events at all."""
    media = content_type.partition(";")[0].strip().lower() or PLAIN
    if media == PLAIN and "ce-specversion" in headers:
        return _sorted_out([_binary(headers, body)], now)
    if media == BATCH or (media == PLAIN and body.lstrip()[:1] == b"["):
        try:
            items: Sequence[msgspec.Raw] = _decode_list(body)
        except (ValueError, RecursionError) as error:
            raise record_error(error) from None
        if len(items) > EVENTS_MAX:
            raise RecordError(Reason.OVERSIZED, f"{len(items)} events; at most {EVENTS_MAX}")
        return _sorted_out([bytes(item) for item in items], now)
    if media in (STRUCTURED, PLAIN):
        return _sorted_out([body], now)
    raise RecordError(
        Reason.MALFORMED, f"{media}: send {STRUCTURED}, {BATCH} or {PLAIN}", "content-type"
    )


def _binary(headers: Mapping[str, str], body: bytes) -> Incoming:
    """An event in the headers, its data the body."""
    return Incoming(
        data=msgspec.Raw(body),
        id=headers.get("ce-id"),
        source=headers.get("ce-source"),
        type=headers.get("ce-type"),
        subject=headers.get("ce-subject"),
        time=headers.get("ce-time"),
        specversion=headers.get("ce-specversion"),
    )


def _sorted_out(
    items: Sequence[bytes | Incoming], now: datetime
) -> tuple[list[Taken], list[Refused]]:
    taken: list[Taken] = []
    refused: list[Refused] = []
    for index, item in enumerate(items):
        found: Incoming | None = None
        try:
            found = item if isinstance(item, Incoming) else _incoming(item)
            value = _record(found, now)
            taken.append(Taken(index, decode_usage(value), value))
        except RecordError as error:
            refused.append(Refused(index, None if found is None else found.id, error))
    return taken, refused


def _incoming(item: bytes) -> Incoming:
    try:
        return _decode_incoming(item)
    except (ValueError, RecursionError) as error:
        raise record_error(error) from None


def _record(found: Incoming, now: datetime) -> bytes:
    """The event as the topic has it. The data stays as it was sent, byte for byte, unless it is a
    vendor's."""
    data = bytes(found.data)
    if b"_tokens" in data:
        content = decode_vendor(data)
        if isinstance(content, dict) and is_vendor_usage(content):
            data = encode_numbers(disjoint(content))
    fields: dict[str, Any] = {
        "specversion": found.specversion or "1.0",
        "id": found.id,
        "source": found.source or SOURCE_DEFAULT,
        "type": found.type,
        "subject": found.subject or found.customer,
        "time": found.time,
    }
    if found.time is None:
        fields["time"] = timestamp_text(now)
        fields["timesource"] = "gateway"
    for name in ("id", "type", "subject"):
        if fields[name] is None:
            raise RecordError(Reason.MALFORMED, MISSING[name], name)
    fields["datacontenttype"] = PLAIN
    fields["data"] = msgspec.Raw(data)
    return encode(fields)


MISSING: Final = {
    "id": "is missing: a retry is only safe if it repeats the event's own id",
    "type": "is missing: it names the meter that counts the event",
    "subject": "is missing: it is the customer",
}
