"""What the demo plays: the trace whole, and the rule that makes it traffic."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from drawdown.demo import proof, traffic
from drawdown.events.pricebook import TokenMap


@pytest.fixture(scope="module")
def played() -> list[traffic.Request]:
    return traffic.requests(20)


def test_all_of_the_trace_is_played_in_its_order(played: list[traffic.Request]) -> None:
    assert len(played) == 8_819
    assert len({request.id for request in played}) == 8_819
    offsets = [request.offset_ms for request in played]
    assert offsets == sorted(offsets)
    assert (offsets[0], offsets[-1]) == (0, 20_000)


def test_the_first_request_is_the_first_line_of_the_csv(played: list[traffic.Request]) -> None:
    assert (played[0].input, played[0].output, played[0].customer) == (4808, 10, "alder")


def test_every_customer_is_there_and_one_mostly_uses_what_loses_money(
    played: list[traffic.Request],
) -> None:
    by_customer = Counter(request.customer for request in played)
    assert set(by_customer) == set(traffic.CUSTOMERS)
    features = Counter(r.feature for r in played if r.customer == traffic.LOSING)
    assert features["review"] * 2 > features.total()


def test_the_proof_states_the_same_rule_with_code_of_its_own(
    played: list[traffic.Request],
) -> None:
    for place, request in enumerate(played):
        assert proof.customer_and_feature(place) == (request.customer, request.feature)
        assert proof.MODEL_OF[request.feature] == request.model


def test_prices_are_the_catalogue_and_thirty_percent_but_for_one_feature_and_one_model() -> None:
    first, second = traffic.book("1"), traffic.book("2", cheaper=True)

    def price(book: object, rate_id: str, side: str = "rates") -> Decimal:
        found = next(rate for rate in getattr(book, side) if rate.id == rate_id)
        assert isinstance(found.price, TokenMap)
        return Decimal(found.price.prices["input"])

    cost = price(first, "gpt-5", "costs")
    assert price(first, "gpt-5") == cost * Decimal("1.3")
    assert price(second, "gpt-5") == cost * Decimal("1.1")
    assert price(second, "gpt-5-mini") == price(first, "gpt-5-mini")
    review = price(first, "claude-sonnet-4-5", "costs")
    assert price(first, "review") == review * Decimal("0.8") < review
