"""LiteLLM's catalogue as a price book: what the vendors charge, and what we charge with a markup.

The catalogue (https://github.com/BerriAI/litellm, MIT) has one JSON object per model, prices per
token, image, second, ... in US dollars. Its numbers are taken as the decimal text that is written
there; no float is on the way. Where it has no price for a kind of token that vendors then bill at
the plain price (a cached read without a discount, reasoning as output), the plain price is taken.

Taken over: what is linear in a quantity. Not taken over: thresholds ("above 200k tokens"), batch,
flex and priority variants, and prices per search or session, which need models of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Any, Final, cast

from drawdown.events.numbers import (
    EXACT,
    PRICE_PLACES_MAX,
    NumberError,
    plain_text,
    vendor_number,
)
from drawdown.events.pricebook import Asset, Meter, PriceBook, Rate, TokenMap

METER: Final = "llm"
EVENT_TYPES: Final = ("llm", "llm.completion", "litellm_tokens")
"""`litellm_tokens` is what LiteLLM's own OpenMeter callback sends."""

FIELDS: Final[Mapping[str, str]] = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_token": "output",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "input_cost_per_image": "images_in",
    "output_cost_per_image": "images",
    "input_cost_per_second": "seconds_in",
    "output_cost_per_second": "seconds",
    "input_cost_per_character": "characters_in",
    "output_cost_per_character": "characters",
    "input_cost_per_query": "queries",
    "input_cost_per_request": "events",
    "ocr_cost_per_page": "pages",
}
"""Field of the catalogue -> quantity of the meter."""

SAME_AS: Final[Mapping[str, str]] = {
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "image_input": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
}
"""A kind of token without a price of its own costs what this one costs."""

PRICE_MAX: Final = 10**20
"""A price is below this, as a book has it."""
QUANTITIES: Final = (*sorted(set(FIELDS.values()) - {"events"}),)


class CatalogueError(Exception):
    """The file is not the catalogue; says where."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A book made from the catalogue, and what was left out."""

    book: PriceBook
    skipped: Mapping[str, str]
    """Model -> why."""


def catalogue(text: str | None = None) -> dict[str, dict[str, Any]]:
    """The catalogue's models; without text, of the one that comes with Drawdown.

    Raises CatalogueError.
    """
    if text is None:
        where = files("drawdown.data") / "litellm-prices" / "model_prices_and_context_window.json"
        text = where.read_text("utf-8")
    try:
        models = json.loads(
            text, parse_float=vendor_number, parse_int=vendor_number, parse_constant=_no_number
        )
    except json.JSONDecodeError as error:
        raise CatalogueError(f"line {error.lineno}: {error.msg}") from None
    except NumberError as error:
        raise CatalogueError(str(error)) from None
    except RecursionError:
        raise CatalogueError("nested too deeply") from None
    if not isinstance(models, dict) or not all(isinstance(m, dict) for m in models.values()):
        raise CatalogueError("expected one JSON object per model")
    models.pop("sample_spec", None)
    return models


def _no_number(text: str) -> None:
    raise NumberError(f"{text} is not a number")


def model_prices(model: Mapping[str, Any]) -> dict[str, Decimal]:
    """Price in dollars per unit of each quantity the catalogue prices for a model."""
    prices: dict[str, Decimal] = {}
    for name, quantity in FIELDS.items():
        value = model.get(name)
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            prices[quantity] = Decimal(value)
    for quantity, other in SAME_AS.items():
        if quantity not in prices and other in prices:
            prices[quantity] = prices[other]
    return prices


def import_catalogue(
    models: Mapping[str, Mapping[str, Any]],
    version: str,
    *,
    markup: Decimal | None = None,
    title: str = "",
) -> Imported:
    """A book whose costs are the catalogue's; with a markup (0.3 is 30 %), its prices too.

    Raises CatalogueError for a price below zero, or finer than a book has it.
    """
    costs: list[Rate] = []
    rates: list[Rate] = []
    skipped: dict[str, str] = {}
    ids: set[str] = set()
    for name, model in models.items():
        prices = model_prices(model)
        if not prices:
            skipped[name] = f"no price the book can express (mode {model.get('mode')})"
            continue
        if "*" in name or not 0 < len(name) <= 200 or not name.isprintable():
            skipped[name] = "its name cannot be matched"
            continue
        if any(price < 0 for price in prices.values()):
            raise CatalogueError(f"{name}: a price below zero")
        rate_id = _id(name, ids)
        costs.append(_rate(rate_id, name, prices))
        if markup is not None:
            factor = EXACT.add(Decimal(1), markup)
            sold = {name: EXACT.multiply(price, factor) for name, price in prices.items()}
            rates.append(_rate(rate_id, name, sold))
    book = PriceBook(
        version=version,
        title=title,
        assets=[Asset(code="USD", scale=12, title="US dollar")],
        meters=[meter()],
        rates=rates,
        costs=costs,
    )
    return Imported(book, skipped)


def meter() -> Meter:
    """The meter of model calls: disjoint quantities, whatever a vendor calls them."""
    return Meter(
        id=METER,
        title="calls of language, image, audio and video models",
        event_types=list(EVENT_TYPES),
        fields={quantity: quantity for quantity in QUANTITIES},
    )


def _rate(rate_id: str, model: str, prices: Mapping[str, Decimal]) -> Rate:
    finest = min(cast(int, price.normalize(EXACT).as_tuple().exponent) for price in prices.values())
    if -finest > PRICE_PLACES_MAX:
        raise CatalogueError(
            f"{model}: a price of {-finest} decimal places; a book has at most {PRICE_PLACES_MAX}:"
            " give a markup with fewer"
        )
    if any(price >= PRICE_MAX for price in prices.values()):
        raise CatalogueError(f"{model}: a price of 10^20 or more")
    return Rate(
        id=rate_id,
        meter=METER,
        match={"model": model},
        asset="USD",
        price=TokenMap(prices={name: plain_text(price) for name, price in prices.items()}),
    )


def _id(name: str, taken: set[str]) -> str:
    """A rate's id from a model's name, which may have characters an id has not."""
    text = re.sub(r"[^A-Za-z0-9_.:/@+-]", "_", name)[:120]
    base = text if re.match(r"[A-Za-z0-9_]", text) else f"_{text}"
    found, number = base, 2
    while found in taken:
        found, number = f"{base}-{number}", number + 1
    taken.add(found)
    return found
