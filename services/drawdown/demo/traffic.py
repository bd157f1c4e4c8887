"""What the demo plays: real requests, to which a fixed rule gives customers, features and models.

Arrival times and token counts are those of the Azure trace that comes with Drawdown (`data/`). Who
made a request, with which feature and model, is not in the trace and is synthetic: `assigned` is
the whole rule. `proof.py` states the same rule a second time, on purpose, and shares no code.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import Final

from drawdown.events.numbers import plain_text
from drawdown.events.plans import Fee, PlanGrant
from drawdown.events.pricebook import Meter, PerUnit, Plan, PriceBook, Rate, TokenMap
from drawdown.integrations.litellm import METER, catalogue, import_catalogue, model_prices

TRACE: Final = ("azure-llm-2023", "AzureLLMInferenceTrace_code.csv")
EVENT_TYPE: Final = "llm.completion"
CUSTOMERS: Final = (
    *("alder", "aspen", "beech", "birch", "cedar", "cherry", "cypress", "elm", "fir", "hazel"),
    *("juniper", "larch", "linden", "maple", "oak", "olive", "pine", "rowan", "spruce", "willow"),
)
LOSING: Final = "cedar"
"""The customer that mostly uses the feature that is sold below its cost."""
MODELS: Final = {
    "autocomplete": "gpt-5-mini",
    "chat": "gpt-5",
    "agent": "gemini-2.5-pro",
    "review": "claude-sonnet-4-5",
}
HELD: Final = "agent"
"""The feature whose requests are authorized with a hold."""
MARKUP: Final = Decimal("0.3")
REVIEW_FACTOR: Final = Decimal("0.8")
"""Price of the feature `review`, as a share of its cost."""
CHEAPER_MODEL: Final = "gpt-5"
CHEAPER_FACTOR: Final = Decimal("1.1")
"""Price of that model from the middle instant on, as a share of its cost."""

AGENT_METER: Final = "agent.seconds"
AGENT_PRICE: Final = "0.02"
"""USD a second: what `prepay` plays with."""

PLAN: Final = "studio"
PLAN_FEE: Final = "20"
PLAN_INCLUDED: Final = "5"
"""A plan in USD a month: what `subscribed` plays with."""

INCLUDED: Final = "0.25"
BOUGHT: Final = "0.5"
BOUGHT_BY_LARGE: Final = "2"
LARGE: Final = 5
"""So many customers, the first of the list, buy more."""
TOP_UP: Final = "0.5"
THRESHOLDS: Final = ["0.25", "0.05"]
OUTPUT_ESTIMATE: Final = 64
"""Tokens a request is expected to generate: what is asked for before it runs."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the trace, as it is played."""

    id: str
    customer: str
    feature: str
    agent: str
    model: str
    input: int
    output: int
    offset_ms: int
    """When, in milliseconds from the start of the play."""

    @property
    def held(self) -> bool:
        """Whether its price is set aside while it runs: agents may take long."""
        return self.feature == HELD

    @property
    def dimensions(self) -> dict[str, str]:
        return {"model": self.model, "feature": self.feature, "agent": self.agent}


def requests(seconds: int) -> list[Request]:
    """The trace, its times compressed onto so many seconds, in order."""
    folder, name = TRACE
    text = (files("drawdown.data") / folder / name).read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    times = [_microseconds(row["TIMESTAMP"]) for row in rows]
    first, span = times[0], max(times[-1] - times[0], 1)
    made = []
    for index, (row, at) in enumerate(zip(rows, times, strict=True)):
        customer, feature, agent = assigned(index)
        made.append(
            Request(
                id=f"r{index:04d}",
                customer=customer,
                feature=feature,
                agent=agent,
                model=MODELS[feature],
                input=int(row["ContextTokens"]),
                output=int(row["GeneratedTokens"]),
                offset_ms=(at - first) * seconds * 1000 // span,
            )
        )
    return made


def assigned(index: int) -> tuple[str, str, str]:
    """Customer, feature and agent of a request, by its place in the trace."""
    spread = index * 7919 % 1000
    customer = CUSTOMERS[spread * spread * len(CUSTOMERS) // 1_000_000]
    tenth = index % 10
    if customer == LOSING:
        feature = "review" if tenth < 8 else "chat" if tenth == 8 else "autocomplete"
    else:
        feature = (
            "autocomplete" if tenth < 5 else "chat" if tenth < 8 else "agent"
            if tenth == 8 else "review"
        )  # fmt: skip
    return customer, feature, f"{feature}-{1 + index % 3}"


def _microseconds(text: str) -> int:
    """The trace has seven decimals, the last always 0."""
    at = datetime.fromisoformat(f"{text[:26]}+00:00")
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def bought(customer: str) -> str:
    """What a customer has bought before the play begins, in USD."""
    return BOUGHT_BY_LARGE if CUSTOMERS.index(customer) < LARGE else BOUGHT


def book(version: str, *, cheaper: bool = False) -> PriceBook:
    """The demo's prices: the catalogue + 30 %, but `review` below cost, and from the middle of the
    play on one model `cheaper`."""
    models = catalogue()
    made = import_catalogue(models, version, markup=MARKUP, title="demo: catalogue + 30 %").book
    rates = [
        _rate(rate.id, {"model": CHEAPER_MODEL}, models[CHEAPER_MODEL], CHEAPER_FACTOR)
        if cheaper and rate.match == {"model": CHEAPER_MODEL}
        else rate
        for rate in made.rates
    ]
    model = MODELS["review"]
    match = {"model": model, "feature": "review"}
    rates.append(_rate("review", match, models[model], REVIEW_FACTOR))
    rates.append(
        Rate(
            id="agent",
            meter=AGENT_METER,
            asset="USD",
            price=PerUnit(quantity="seconds", price=AGENT_PRICE),
        )
    )
    agents = Meter(id=AGENT_METER, event_types=[AGENT_METER], fields={"seconds": "seconds"})
    studio = Plan(
        id=PLAN,
        fees=[Fee(id="base", asset="USD", amount=PLAN_FEE)],
        grants=[PlanGrant(id="included", asset="USD", amount=PLAN_INCLUDED)],
    )
    return made.model_copy(
        update={
            "rates": rates,
            "meters": [*made.meters, agents],
            "thresholds": {"USD": THRESHOLDS},
            "plans": [studio],
        }
    )


def _rate(rate_id: str, match: dict[str, str], model: dict[str, object], factor: Decimal) -> Rate:
    prices = {name: plain_text(price * factor) for name, price in model_prices(model).items()}
    return Rate(id=rate_id, meter=METER, match=match, asset="USD", price=TokenMap(prices=prices))
