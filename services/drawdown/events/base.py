"""The ground every record stands on: the model base and the field types the records share.

Pydantic models are the one definition of every record. `structs.struct_of` derives from them the
msgspec structs of the hot path, so the models keep to what both express: the field types here,
`Literal`, optionals, lists, dicts, nested records and unions told apart by a literal field.

Patterns are written `^...$` and mean the whole text, in JSON Schema, pydantic and msgspec alike.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from drawdown.events.numbers import (
    AMOUNT_PATTERN,
    AMOUNT_POSITIVE_PATTERN,
    DECIMAL_PATTERN,
    PRICE_PATTERN,
)

PRINTABLE: Final = r"^[^\x00-\x1f]+$"
"""No control characters: U+001F separates the parts of a row's key. JSON can only write them as
escapes, so text without a backslash has none; `codec` leaves the check out there."""

KEY_SEPARATOR: Final = "\x1f"

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)
FIRST_MS: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
"""Of year 1 and of year 9999: an offset can put a time beyond what UTC has a name for."""


class Value(msgspec.Struct, frozen=True, gc=False):
    """Base of the ledger's immutable values: cheap to make, equal by content."""


class Record(BaseModel):
    """A record of a topic. Readers ignore fields they do not know, so that fields may be added."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, ser_json_inf_nan="strings")


class StrictRecord(Record):
    """A record people write by hand: a field it does not know is a typing error, and refused."""

    model_config = ConfigDict(extra="forbid")


def _timestamp(value: object) -> object:
    # One grammar of time for both kinds of decoder: pydantic alone would take Unix seconds too.
    return msgspec.convert(value, datetime) if isinstance(value, str) else value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time needs its offset: end it in Z or +hh:mm")
    return value


def timestamp_text(value: datetime) -> str:
    """RFC 3339 in UTC with `Z`, as few fraction digits as it needs."""
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        value = moment(milliseconds(value))
    text = value.isoformat()
    return text.removesuffix("+00:00") + "Z"


Timestamp = Annotated[
    datetime,
    BeforeValidator(_timestamp),
    AfterValidator(_aware),
    PlainSerializer(timestamp_text, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 with an offset; a time without one is refused."""

CustomerId = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]
"""The caller's own id of a customer. Key of every customer topic."""
Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=PRINTABLE)]
NAME: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.:/@+-]*$"
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=NAME)]
"""Of a meter, quantity, dimension, rate, asset, plan."""
DimensionName = Annotated[str, Field(max_length=128)]
"""Of a dimension that was used: whatever a producer calls it."""
DimensionValue = Annotated[str, Field(max_length=256)]
Amount = Annotated[str, Field(pattern=AMOUNT_PATTERN)]
"""Decimal text: up to 26 digits before the point and 12 behind it."""
AmountPositive = Annotated[str, Field(pattern=AMOUNT_POSITIVE_PATTERN)]
"""An amount without a sign; zero is refused where it makes no sense, by the ledger."""
QuantityText = Annotated[str, Field(pattern=DECIMAL_PATTERN)]
Rational = Annotated[str, Field(max_length=512, pattern=r"^-?[0-9]+(\.[0-9]+|/[0-9]+)?$")]
"""An exact number: decimal text, or a fraction where it has no end."""
Price = Annotated[str, Field(pattern=PRICE_PATTERN)]
Count = Annotated[int, Field(ge=0, le=2**53)]
"""A count or a position; within what JSON readers in every language hold exactly."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Metadata = Annotated[dict[Name, DimensionValue], Field(max_length=32)]

ContentType = Literal["application/json"]
SPECVERSION: Final = "1.0"


def milliseconds(value: datetime) -> int:
    """Unix milliseconds, rounded down: 23:59:59.9995 is still before midnight.

    Integer arithmetic: `timestamp()` is a float and lands a millisecond off at times.
    """
    return (value - EPOCH) // MILLISECOND


@lru_cache(maxsize=4096)
def moment(at_ms: int) -> datetime:
    """The UTC time of Unix milliseconds; what is before year 1 or after 9999 is its first or last.

    Cached: the records of a batch share few of them.
    """
    return EPOCH + timedelta(milliseconds=min(max(at_ms, FIRST_MS), LAST_MS))


@lru_cache(maxsize=4096)
def at_text(at_ms: int) -> str:
    """RFC 3339 text of Unix milliseconds. Cached like `moment`."""
    return timestamp_text(moment(at_ms))


Open = dict[str, Any]
"""Open data: whatever JSON object a producer sends."""
