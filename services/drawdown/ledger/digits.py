"""How many digits a price may have: no more than an amount."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drawdown.events.codec import decode_any, encode
from drawdown.events.numbers import DIGITS_MAX, NUMBER
from drawdown.events.pricebook import PriceBook
from drawdown.ledger.book import BookError


def check_digits(content: PriceBook) -> None:
    """Raises BookError for a price of more digits than an amount has: it is no price that somebody
    means. Versions that were published are taken as they are."""
    for where, rates in (("rates", content.rates), ("costs", content.costs)):
        for rate in rates:
            for named, text in _long_texts("price", decode_any(encode(rate.price))):
                raise BookError(
                    f"{where}.{rate.id}.{named}",
                    f"{text} has {_digits(text)} digits; at most {DIGITS_MAX}: round it",
                )


def _long_texts(field: str, value: object) -> Iterator[tuple[str, str]]:
    """Numbers of more than 38 digits in a price, and where they stand."""
    if isinstance(value, str):
        if len(value) > DIGITS_MAX and NUMBER.fullmatch(value) and _digits(value) > DIGITS_MAX:
            yield field, value
        return
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        yield from _long_texts(f"{field}.{name}", item)


def _digits(text: str) -> int:
    """Digits of a number but for the zero before its point."""
    return len(text.lstrip("-").removeprefix("0.").replace(".", ""))
