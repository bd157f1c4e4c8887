"""What things cost in a campaign: plain data, for the engine and for the judge."""

from __future__ import annotations

from typing import Any

RESPONSE = 12
"""Credits a response costs: what is held before it and captured after it."""


def book(
    version: str, input_price: str, output_price: str, *, video: bool = False
) -> dict[str, Any]:
    """A price book; with `video`, one that also knows what the first did not."""
    meters = [
        {
            "id": "llm",
            "event_types": ["llm.completion"],
            "fields": {"input": "input", "output": "output"},
        },
        {
            "id": "responses",
            "event_types": ["response.sent"],
            "fields": {"responses": "responses"},
        },
    ]
    rates: list[dict[str, Any]] = [
        {
            "id": "gpt-5",
            "meter": "llm",
            "match": {"model": "gpt-5"},
            "asset": "USD",
            "price": {
                "model": "token_map",
                "prices": {"input": input_price, "output": output_price},
                "per": 1_000_000,
            },
        },
        {
            "id": "response",
            "meter": "responses",
            "asset": "credit",
            "price": {"model": "per_unit", "quantity": "responses", "price": str(RESPONSE)},
        },
    ]
    if video:
        meters.append(
            {"id": "video", "event_types": ["video.render"], "fields": {"seconds": "seconds"}}
        )
        rates.append(
            {
                "id": "video",
                "meter": "video",
                "asset": "USD",
                "price": {"model": "per_unit", "quantity": "seconds", "price": "0.01"},
            }
        )
    return {
        "version": version,
        "assets": [{"code": "USD", "scale": 12}, {"code": "credit", "scale": 2}],
        "meters": meters,
        "rates": rates,
    }


FIRST = book("first", "2", "10")
SECOND = book("second", "3", "12", video=True)
