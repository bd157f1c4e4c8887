"""Bytes to records and back, for every topic.

Decoders raise `RecordError` with a reason code, the field and a sentence, for whatever is wrong
with the bytes: bad UTF-8, bad JSON, nesting without end, a number out of bounds, a missing field.
Nothing else escapes them, so that one bad record can never stop a partition.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from drawdown.events.base import NAME, PRINTABLE
from drawdown.events.commands import AnyCommand, EveryCommand
from drawdown.events.deadletters import Redriven
from drawdown.events.decisions import Decision
from drawdown.events.entries import Entry
from drawdown.events.notices import LowBalance, Notice
from drawdown.events.numbers import (
    AMOUNT_PATTERN,
    AMOUNT_POSITIVE_PATTERN,
    DECIMAL_PATTERN,
    DIGITS_MAX,
    INTEGER_DIGITS_MAX,
    PLACES,
    PRICE_PATTERN,
    PRICE_PLACES_MAX,
    NumberError,
    untyped_number,
    vendor_number,
)
from drawdown.events.pricebook import (
    AnyBookRecord,
    AssetRecord,
    CommitRecord,
    MeterRecord,
    PlanRecord,
    RateRecord,
)
from drawdown.events.reasons import Reason
from drawdown.events.rows import (
    AnyRow,
    BudgetRow,
    HoldRow,
    MarginRow,
    PaceRow,
    ReversedRow,
    RunningRow,
    ScopeRow,
    SeenRow,
    SpentRow,
    SubscriptionRow,
    WalletRow,
)
from drawdown.events.settings import AnySetting, ApiKey, CustomerToken, Restore
from drawdown.events.structs import struct_of, union_of
from drawdown.events.topups import TopUpRequestRow, TopUpRow
from drawdown.events.usage import UsageEvent

RECORD_BYTES_MAX: Final = 1 << 20
"""A larger input record is a dead letter: 1 MiB holds any usage there is."""

Command = EveryCommand
BookRecord = AssetRecord | MeterRecord | RateRecord | PlanRecord | CommitRecord
Setting = ApiKey | CustomerToken | Restore


class RecordError(ValueError):
    """Bytes or values that are no such record.

    `field` is a path such as `data.input`, or None where no field can be named.
    """

    def __init__(self, reason: Reason, detail: str, field: str | None = None) -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.detail = detail
        self.field = field


AT_FIELD = re.compile(r"^(?P<detail>.*) - at (?:`key` in )?`\$\.?(?P<field>.*)`$", re.DOTALL)


_PATTERNS: Final = {
    AMOUNT_POSITIVE_PATTERN: "no amount: give decimal text such as 12.5, without a sign",
    AMOUNT_PATTERN: "no amount: give decimal text such as 12.5 or -3",
    DECIMAL_PATTERN: "no quantity: give decimal text such as 0.5, below 10^20",
    PRICE_PATTERN: "no price: give decimal text such as 0.01, with at most"
    f" {PRICE_PLACES_MAX} places",
    NAME: "no name: use letters, digits and _ . : / @ + -, without spaces",
    PRINTABLE: "empty, or has control characters: leave them out",
}
_DIGITS: Final = (
    f", with at most {DIGITS_MAX} digits: {INTEGER_DIGITS_MAX} before the point and {PLACES} behind"
)
RULES: Final = {
    f"Expected `str` matching regex {pattern.removesuffix('$') + chr(92) + 'Z'!r}": "is "
    + words
    + (_DIGITS if "amount" in words else "")
    for pattern, words in _PATTERNS.items()
}
"""What msgspec says of text that does not match a pattern, and what people are told."""


def record_error(error: Exception) -> RecordError:
    """What a decoder's exception means, in the reader's terms."""
    if isinstance(error, RecordError):
        return error
    text = str(error)
    if isinstance(error, NumberError) or isinstance(error.__cause__, NumberError):
        at = AT_FIELD.match(text)
        return RecordError(
            Reason.BAD_QUANTITY, at["detail"] if at else text, at["field"] if at else None
        )
    if isinstance(error, UnicodeDecodeError):
        return RecordError(Reason.MALFORMED, f"not UTF-8: {error.reason} at byte {error.start}")
    if isinstance(error, RecursionError):
        return RecordError(Reason.MALFORMED, "nested too deeply")
    if at := AT_FIELD.match(text):
        detail = RULES.get(at["detail"], at["detail"])
        return RecordError(Reason.MALFORMED, detail, at["field"] or None)
    if found := re.search(r"(?:missing required|contains unknown) field `(?P<field>.*?)`", text):
        return RecordError(Reason.MALFORMED, text, found["field"])
    return RecordError(Reason.MALFORMED, text)


def _decoder(type_: Any, number: Callable[[str], Any] = untyped_number) -> Callable[[bytes], Any]:
    decode = msgspec.json.Decoder(type_, float_hook=number).decode

    def decoded(value: bytes) -> Any:
        if len(value) > RECORD_BYTES_MAX:
            raise RecordError(
                Reason.OVERSIZED, f"{len(value)} bytes; at most {RECORD_BYTES_MAX} (1 MiB)"
            )
        try:
            return decode(value)
        except (ValueError, RecursionError) as error:
            found = record_error(error)
            if found.field and UNNAMED in found.field:
                found.field = _named(value, found.field)
            raise found from None

    return decoded


UNNAMED: Final = "[...]"
"""What msgspec calls any key of a dict or any item of a list."""
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_untyped = msgspec.json.Decoder(Any, float_hook=untyped_number).decode


def _named(value: bytes, field: str) -> str:
    """The path with the key that msgspec leaves unnamed: the one whose value cannot be read."""
    path, _, rest = field.partition(UNNAMED)
    try:
        for name in path.split("."):
            value = bytes(_raw_object(value)[name])
        for key, raw in _raw_object(value).items():
            try:
                _untyped(raw)
            except (ValueError, RecursionError):
                return f"{path}.{key}{rest}"
    except (ValueError, KeyError, RecursionError):
        pass  # no object at all, or too deep to look into: the error already says so
    return field


_decode_usage: Callable[[bytes], UsageEvent] = _decoder(struct_of(UsageEvent, checked=True))
_decode_usage_unescaped: Callable[[bytes], UsageEvent] = msgspec.json.Decoder(
    struct_of(UsageEvent), float_hook=untyped_number
).decode


def decode_usage(value: bytes) -> UsageEvent:
    """A usage event.

    The model's patterns only exclude control characters, which JSON text without an escape cannot
    contain: nearly every event is decoded without them, in a third of the time.
    """
    if len(value) > RECORD_BYTES_MAX or b"\\" in value:
        return _decode_usage(value)
    try:
        return _decode_usage_unescaped(value)
    except (ValueError, RecursionError):
        return _decode_usage(value)  # says what is wrong


decode_command: Callable[[bytes], Command] = _decoder(union_of(AnyCommand))
decode_entry: Callable[[bytes], Entry] = _decoder(struct_of(Entry))
decode_wallet: Callable[[bytes], WalletRow] = _decoder(struct_of(WalletRow))
AnyRowRecord = (
    WalletRow
    | HoldRow
    | RunningRow
    | SeenRow
    | ReversedRow
    | SubscriptionRow
    | BudgetRow
    | ScopeRow
    | SpentRow
    | TopUpRow
    | TopUpRequestRow
    | MarginRow
    | PaceRow
)
decode_row: Callable[[bytes], AnyRowRecord] = _decoder(union_of(AnyRow, checked=False))
decode_decision: Callable[[bytes], Decision] = _decoder(struct_of(Decision))
decode_redriven: Callable[[bytes], Redriven] = _decoder(struct_of(Redriven, checked=True))
decode_low_balance: Callable[[bytes], LowBalance] = _decoder(struct_of(LowBalance))
decode_notice: Callable[[bytes], Notice] = _decoder(struct_of(Notice))
decode_book_record: Callable[[bytes], BookRecord] = _decoder(union_of(AnyBookRecord))
decode_setting: Callable[[bytes], Setting] = _decoder(union_of(AnySetting))
decode_any: Callable[[bytes], Any] = _decoder(Any)
"""Open JSON with exact numbers."""
decode_vendor: Callable[[bytes], Any] = _decoder(Any, vendor_number)
"""Open JSON as vendors write it: a float's noise is for the adapter to round."""

encode: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="string").encode
"""A struct, dict or list as JSON; a Decimal as text, a time as RFC 3339."""
canonical: Callable[[Any], bytes] = msgspec.json.Encoder(
    order="deterministic", decimal_format="string"
).encode
"""JSON with sorted keys: the same content gives the same bytes."""


encode_numbers: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="number").encode
"""JSON with a Decimal as a number: open data on its way through."""


def quoted(text: str) -> str:
    """A JSON string."""
    return encode(text).decode()


def kind_of(record: object) -> str:
    """The tag of a member of a union: a command's `type`, a book record's `record`."""
    return cast(str, record.__struct_config__.tag)  # type: ignore[attr-defined]
