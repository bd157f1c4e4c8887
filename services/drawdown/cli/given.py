"""What people give to commands, checked before anything is sent: one line names it and the fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

import typer

from drawdown.cli.outcome import USAGE, CommandError
from drawdown.events.base import NAME, timestamp_text
from drawdown.events.numbers import (
    AMOUNT_POSITIVE_PATTERN,
    INTEGER_DIGITS_MAX,
    PLACES,
    PRICE_PATTERN,
    plain_text,
)

GatewayUrl = Annotated[
    str | None,
    typer.Option("--gateway", metavar="URL", help="Default: DRAWDOWN_GATEWAY, or the local one."),
]
QueryUrl = Annotated[
    str | None,
    typer.Option("--query", metavar="URL", help="Default: DRAWDOWN_QUERY, or the local one."),
]
Customer = Annotated[str, typer.Argument(metavar="CUSTOMER", help="Your own id of the customer.")]

CUSTOMER_LENGTH_MAX: Final = 128
ID_LENGTH_MAX: Final = 256
TEXT_LENGTH_MAX: Final = 256


def customer_id(text: str) -> str:
    """A customer's id."""
    return _printable("CUSTOMER", text, CUSTOMER_LENGTH_MAX)


def identifier(field: str, text: str) -> str:
    """An id of an event, a command or a grant."""
    return _printable(field, text, ID_LENGTH_MAX)


def _printable(field: str, text: str, length_max: int) -> str:
    if not 0 < len(text) <= length_max or min(text) < " " or not _is_unicode(text):
        raise CommandError(
            f"{field}: 1 to {length_max} characters of UTF-8, none of them control characters",
            USAGE,
        )
    return text


def _is_unicode(text: str) -> bool:
    """Whether bytes of the command line were UTF-8: others are lone surrogates in here."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def free_text(field: str, text: str | None) -> str | None:
    """A reason or another remark."""
    if text is not None and (len(text) > TEXT_LENGTH_MAX or not _is_unicode(text)):
        raise CommandError(f"{field}: at most {TEXT_LENGTH_MAX} characters of UTF-8", USAGE)
    return text


def name(field: str, text: str) -> str:
    """A name of an asset, a meter, a dimension, a quantity."""
    if not re.fullmatch(NAME.removesuffix("$"), text) or len(text) > 128:
        raise CommandError(
            f"{field}: {text!r} is no name: use letters, digits and _ . : / @ + -, without spaces",
            USAGE,
        )
    return text


def amount(field: str, text: str) -> str:
    """A positive amount as canonical text."""
    plain = _plain(text)
    if plain is None or not re.fullmatch(AMOUNT_POSITIVE_PATTERN, plain):
        raise CommandError(
            f"{field}: {text!r} is no amount: give a decimal number such as 12.50, without a sign,"
            f" with at most {INTEGER_DIGITS_MAX} digits before the point and {PLACES} behind it",
            USAGE,
        )
    return plain


def price(field: str, text: str) -> str:
    """A price of one unit as canonical text: finer than an amount."""
    plain = _plain(text)
    if plain is None or plain.startswith("-") or not re.fullmatch(PRICE_PATTERN, plain):
        raise CommandError(
            f"{field}: {text!r} is no price: give a decimal number such as 0.01, without a sign,"
            " with at most 30 places",
            USAGE,
        )
    return plain


def quantity(field: str, text: str) -> int | str:
    """A quantity: a whole number, or decimal text."""
    plain = _plain(text)
    if plain is None or plain.startswith("-") or len(plain) > 40:
        raise CommandError(
            f"{field}: {text!r} is no quantity: give a number such as 1200 or 0.5, zero or more",
            USAGE,
        )
    return int(plain) if plain.isdigit() else plain


def _plain(text: str) -> str | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 60:
        return None
    return plain_text(abs(number) if number.is_zero() else number)


def time(field: str, text: str) -> datetime:
    """An instant."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise CommandError(
            f"{field}: {text!r} is no time with its offset, such as 2026-10-01T00:00:00Z", USAGE
        )
    return found


def time_text(field: str, text: str | None) -> str | None:
    """An instant as canonical text; None where none is given."""
    return None if text is None else timestamp_text(time(field, text))


def pair(field: str, text: str) -> tuple[str, str]:
    """`name=value`."""
    left, mark, right = text.partition("=")
    if not mark or not left:
        raise CommandError(f"{field}: {text!r} is not NAME=VALUE", USAGE)
    if not _is_unicode(right) or len(right) > TEXT_LENGTH_MAX:
        raise CommandError(
            f"{field} {left}: at most {TEXT_LENGTH_MAX} characters of UTF-8 as its value", USAGE
        )
    return name(field, left), right


def pairs(field: str, texts: Sequence[str] | None) -> dict[str, str]:
    """`name=value`, each name once."""
    found: dict[str, str] = {}
    for text in texts or ():
        left, right = pair(field, text)
        if found.setdefault(left, right) != right:
            raise CommandError(f"{field}: {left!r} is given twice, as two things", USAGE)
    return found


def lists(field: str, texts: Sequence[str] | None) -> dict[str, list[str]]:
    """`name=value`, a name as often as it has values."""
    found: dict[str, list[str]] = {}
    for text in texts or ():
        left, right = pair(field, text)
        found.setdefault(left, []).append(right)
    return found
