"""Usage events as they come over HTTP, made into the records of the topic.

CloudEvents in every content mode (structured, batch, binary), plain JSON with the same fields, and
what vendors send. What is missing and can be filled in is: the time of arrival (marked, so that it
is no part of the event's identity). What would make a retry unsafe is not: an event has its id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote_to_bytes

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
from drawdown.web.problems import ProblemError

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = "application/json"
EVENTS_MAX: Final = 1_000
SOURCE_DEFAULT: Final = "api"
LITELLM: Final = "litellm-proxy"
"""The source in the events of LiteLLM's own callback. Its `cost` is a float, tokens or not."""


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
    data_base64: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


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
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_incoming = msgspec.json.Decoder(Incoming).decode


def read_events(
    content_type: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> tuple[list[Taken], list[Refused]]:
    """The events of a request. Raises RecordError where it is no list of events at all, and
    ProblemError 415 where its media type is none of theirs."""
    media = content_type.partition(";")[0].strip().lower() or PLAIN
    if "ce-specversion" in headers and _is_data(media):
        return _sorted_out([headers], now, body)
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
    raise ProblemError(
        415,
        "unsupported_media_type",
        f"{media}: send {STRUCTURED}, {BATCH} or {PLAIN}",
        field="content-type",
    )


def _is_data(media: str) -> bool:
    """Whether a body of this type is an event's data, where the event is in the headers."""
    return media == PLAIN or (media.endswith("+json") and media not in (STRUCTURED, BATCH))


def _binary(headers: Mapping[str, str], body: bytes) -> Incoming:
    """An event in the headers, its data the body: one JSON value and nothing behind it."""
    try:
        data = _decode_raw(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise record_error(error) from None
    return Incoming(
        data=data,
        id=_attribute(headers, "id"),
        source=_attribute(headers, "source"),
        type=_attribute(headers, "type"),
        subject=_attribute(headers, "subject"),
        time=_attribute(headers, "time"),
        specversion=_attribute(headers, "specversion"),
    )


def _attribute(headers: Mapping[str, str], name: str) -> str | None:
    """A CloudEvents attribute from its header: perhaps quoted, UTF-8 percent-encoded."""
    text = headers.get(f"ce-{name}")
    if text is None:
        return None
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise RecordError(Reason.MALFORMED, "is not UTF-8, percent-encoded", f"ce-{name}") from None


def _sorted_out(
    items: Sequence[bytes | Mapping[str, str]], now: datetime, body: bytes = b""
) -> tuple[list[Taken], list[Refused]]:
    """Each event, or what is wrong with it. One that is headers has the body as its data."""
    taken: list[Taken] = []
    refused: list[Refused] = []
    for index, item in enumerate(items):
        found: Incoming | None = None
        try:
            found = _incoming(item) if isinstance(item, bytes) else _binary(item, body)
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
    if found.data_base64 is not msgspec.UNSET:
        raise RecordError(Reason.MALFORMED, "send the JSON itself, as `data`", "data_base64")
    data = bytes(found.data)
    if b"_tokens" in data or found.source == LITELLM:
        content = decode_vendor(data)
        if isinstance(content, dict) and (found.source == LITELLM or is_vendor_usage(content)):
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
