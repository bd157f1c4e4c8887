"""Exact numbers: amounts as integers inside, decimal text outside, and no float on the way.

An amount of any asset is an integer count of 10^-12 of one unit of that asset ("pico-units"), so
that one scale serves every asset: USD needs 12 places (rule 1 of the domain), and an asset whose
smallest piece is larger (whole tokens, cents) merely has zeros there. Outside, on topics and
HTTP, the same amount is canonical decimal text: no exponent, no trailing zeros, "-0" is "0".

Numbers that arrive untyped (the open `data` of a usage event) are integers or `Decimal`s within
bounds that every store and language of the ecosystem can hold.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction
from typing import Final

PLACES: Final = 12
"""Decimal places of every amount."""
UNIT: Final = 10**PLACES
"""Pico-units in one unit of an asset."""
DIGITS_MAX: Final = 38
"""Digits of an amount or a quantity, before and after the point together."""
INTEGER_DIGITS_MAX: Final = DIGITS_MAX - PLACES
AMOUNT_MAX: Final = 10**DIGITS_MAX - 1
"""The largest amount, in pico-units."""
QUANTITY_PLACES_MAX: Final = 18
QUANTITY_MAX: Final = 10**20
"""A quantity is below this."""
BINARY_DIGITS_SAFE: Final = 15
"""A decimal of up to 15 significant digits survives a binary double (IEEE 754 binary64); a JSON
number with a fraction and more digits is what a float computation left behind."""

AMOUNT_PATTERN: Final = rf"^-?(0|[1-9][0-9]{{0,{INTEGER_DIGITS_MAX - 1}}})(\.[0-9]{{1,{PLACES}}})?$"
AMOUNT_POSITIVE_PATTERN: Final = AMOUNT_PATTERN.replace("-?", "", 1)
DECIMAL_PATTERN: Final = r"^(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"
"""A quantity as text."""
PRICE_PLACES_MAX: Final = 30
PRICE_PATTERN: Final = rf"^-?(0|[1-9][0-9]{{0,19}})(\.[0-9]{{1,{PRICE_PLACES_MAX}}})?$"
"""A price or cost basis as text: finer than amounts, because a rate multiplies before it rounds."""
NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A number as JSON writes it."""
NUMBER_LENGTH_MAX: Final = 64


EXACT: Final = Context(prec=200, traps=[InvalidOperation, Inexact, Overflow])
"""The context for every Decimal operation that has one: the default context rounds to 28 digits
in silence (even `normalize` does); this one raises."""


class NumberError(ValueError):
    """A number outside the bounds; the message says which bound and what to send instead."""


def step_of(places: int) -> int:
    """The smallest piece of an asset with so many places, 0 to 12, in pico-units."""
    return int(10 ** (PLACES - places))


def amount_text(amount: int) -> str:
    """Canonical decimal text of `amount` pico-units.

    >>> amount_text(12_340_000_000_000), amount_text(-5), amount_text(0)
    ('12.34', '-0.000000000005', '0')
    """
    if amount < UNIT:
        if amount <= 0:
            return "-" + amount_text(-amount) if amount else "0"
        return "0." + str(amount).zfill(PLACES).rstrip("0")
    digits = str(amount)
    places = digits[-12:].rstrip("0")
    return f"{digits[:-12]}.{places}" if places else digits[:-12]


def amount_of(text: str) -> int:
    """Pico-units of decimal text that matches AMOUNT_PATTERN (checked by the record's model).

    >>> amount_of("12.34"), amount_of("-0.000000000005")
    (12340000000000, -5)
    """
    units, _, places = text.partition(".")
    return int(units + places.ljust(PLACES, "0"))


def amount_of_decimal(value: Decimal) -> int:
    """Pico-units of `value`; raises NumberError where it is finer than 12 places or too large."""
    if not value.is_finite():
        raise NumberError(f"{value} is not a finite number")
    if value.adjusted() >= INTEGER_DIGITS_MAX:
        raise NumberError(f"more than {DIGITS_MAX} digits")
    pico = value.scaleb(PLACES, EXACT)
    if pico != pico.to_integral_value():
        raise NumberError(f"{value} is finer than {PLACES} decimal places")
    return int(pico)


def untyped_number(text: str) -> int | Decimal:
    """A JSON number of open data that is not a plain integer, exactly; integral ones become int.

    It is the decoder's hook for numbers with a point or an exponent. Bounds are checked here
    because a hook is the only place that still sees the text: 1e400 must never be expanded.
    Raises NumberError.
    """
    value = _bounded_number(text)
    if isinstance(value, Decimal) and len(value.as_tuple().digits) > BINARY_DIGITS_SAFE:
        raise NumberError(
            f"{text} has more than {BINARY_DIGITS_SAFE} significant digits, which a binary float"
            " does not carry exactly; send a rounded number or decimal text in quotes"
        )
    return value


def _bounded_number(text: str) -> int | Decimal:
    if len(text) > NUMBER_LENGTH_MAX:
        raise NumberError(f"a number of {len(text)} characters; at most {NUMBER_LENGTH_MAX}")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise NumberError(f"{text!r} is not a number") from None
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise NumberError(f"{text!r} is not a finite number")
    if len(digits) + max(exponent, 0) > DIGITS_MAX or -exponent > DIGITS_MAX:
        raise NumberError(f"{text} is out of bounds: at most {DIGITS_MAX} digits")
    integral = value.to_integral_value()
    return int(integral) if value == integral else value.normalize(EXACT)


def text_number(text: str) -> int | Decimal:
    """A number as text of open data, written as JSON writes numbers. Raises NumberError.

    What Python's Decimal would read besides - NaN, 1_000, other alphabets' digits - is refused.
    """
    if len(text) <= NUMBER_LENGTH_MAX and not NUMBER.fullmatch(text):
        raise NumberError(f"{text!r} is not a number")
    return _bounded_number(text)


def vendor_number(text: str) -> int | Decimal:
    """As `untyped_number`, but as many digits as a float leaves behind."""
    return _bounded_number(text)


def quantity(value: object) -> int | Decimal:
    """A quantity from open data: an int, a Decimal, or decimal text; never negative.

    Raises NumberError with what is wrong with it.
    """
    if type(value) is int:
        number: int | Decimal = value
    elif isinstance(value, Decimal):
        number = value
    elif isinstance(value, str):
        number = text_number(value)
    else:
        raise NumberError(f"expected a number or decimal text, got {type(value).__name__}")
    if number < 0:
        raise NumberError(f"{number} is negative")
    if number >= QUANTITY_MAX:
        raise NumberError("is 10^20 or more")
    if not isinstance(number, int):
        number = number.normalize(EXACT)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or -exponent > QUANTITY_PLACES_MAX:
            raise NumberError(f"has more than {QUANTITY_PLACES_MAX} decimal places")
    return number


def rational_text(value: int | Fraction) -> str:
    """An exact number as text: decimal where it has an end, else a fraction.

    >>> rational_text(Fraction(5, 2)), rational_text(Fraction(1, 3)), rational_text(7)
    ('2.5', '1/3', '7')
    """
    if isinstance(value, int) or value.denominator == 1:
        return str(int(value))
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).zfill(places + 1)
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:].rstrip('0')}"


def rational_of(text: str) -> int | Fraction:
    """The number whose `rational_text` this is.

    >>> rational_of("2.5"), rational_of("1/3"), rational_of("7")
    (Fraction(5, 2), Fraction(1, 3), 7)
    """
    return int(text) if text.isascii() and text.isdigit() else Fraction(text)


def plain_text(value: Decimal | int) -> str:
    """Decimal text without an exponent.

    >>> plain_text(Decimal("1E-7")), plain_text(Decimal("2.50")), plain_text(3)
    ('0.0000001', '2.5', '3')
    """
    if isinstance(value, int):
        return str(value)
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
