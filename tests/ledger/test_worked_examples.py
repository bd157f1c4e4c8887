"""The worked examples of domain.md that the ledger can express, by their numbers there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.support.till import DAY, HOUR, START_MS, Till, llm_book, price_book, tokens

from drawdown.events.base import at_text
from drawdown.events.pricebook import Asset, Meter, PerUnit, Rate
from drawdown.integrations.genai import disjoint

NOW = START_MS


def per_event(rate_id: str, asset: str, price: str, meter: str = "work") -> Rate:
    return Rate(id=rate_id, meter=meter, asset=asset, price=PerUnit(quantity="events", price=price))


def used(till: Till, **data: Any) -> str:
    """What this use of a model is debited."""
    till.use("ada", type="llm", **data)
    return str(till.entries("ada")[-1]["data"]["amount"])


def test_1_plain_credits() -> None:
    """12 credits a response, balance 480."""
    till = Till(
        price_book(
            meters=[Meter(id="work", event_types=["work"])],
            rates=[per_event("response", "credit", "12")],
        )
    )
    till.grant("ada", "480", "g", asset="credit", cost_basis="0.01")
    one = {"estimate": {"quantities": {}}}
    assert till.authorize("ada", **one).allowed
    till.use("ada")
    assert till.balance("ada", "credit") == "468"
    assert till.authorize("ada", **one).available == {"credit": "468"}
    till.use("ada")
    assert till.balance("ada", "credit") == "456"
    for _ in range(38):
        assert till.authorize("ada", **one).allowed
        till.use("ada")
    denied = till.authorize("ada", **one)
    assert (denied.allowed, denied.shortfall) == (False, "12")


def test_2_an_allowance_that_resets_and_a_top_up() -> None:
    """Included 10,000 (resets) + bought 5,000; use 12,000; reset. Recurrence itself is not the
    ledger's yet: the next period's grant is given ahead."""
    till = Till()
    reset = NOW + 30 * DAY
    included: dict[str, Any] = {"asset": "token", "category": "included"}
    till.grant("ada", "10000", "january", expires_at=reset, **included)
    till.grant("ada", "10000", "february", effective_at=reset, expires_at=2 * reset, **included)
    till.grant("ada", "5000", "bought", asset="token", cost_basis="0.001")

    till.use("ada", 12_000, **{"in": "token"})
    assert till.left("ada") == {"february": "10000", "bought": "3000"}
    assert till.account("ada", "token")["available"] == "3000"

    till.at_ms = reset
    assert till.authorize("ada", 13_000, dimensions={"in": "token"}).allowed
    assert not till.authorize("ada", 13_001, dimensions={"in": "token"}).allowed


def test_2_what_is_not_used_lapses_at_the_reset() -> None:
    till = Till()
    reset = NOW + 30 * DAY
    till.grant("ada", "10000", "january", asset="token", category="included", expires_at=reset)
    till.use("ada", 4000, **{"in": "token"})
    till.tick(reset)
    assert till.statement("ada")[-1] == ("lapse", "6000", "0", {"january": "6000"})


SONNET = tokens(
    "sonnet-4-5",
    {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "output": "15"},
    model="sonnet-4-5",
)
REQUEST = {
    "model": "sonnet-4-5",
    "input": 12_000,
    "cached_input": 80_000,
    "cache_write": 6_000,
    "output": 2_500,
}


def test_3_cursor_pro() -> None:
    """$20 included at API rates; 166 requests of 0.12 leave 0.08; the 167th."""
    till = Till(llm_book(SONNET))
    till.grant("ada", "20", "included", category="included")
    for _ in range(166):
        assert used(till, **REQUEST) == "0.12"
    assert till.balance("ada") == "0.08"
    quantities = {name: value for name, value in REQUEST.items() if name != "model"}
    question: dict[str, Any] = {
        "meter": "llm",
        "dimensions": {"model": "sonnet-4-5"},
        "estimate": {"quantities": quantities},
    }
    assert till.authorize("ada", **question).shortfall == "0.04"

    till.command("set_terms", "ada", credit_limits={"USD": "100"})
    assert till.authorize("ada", **question).allowed
    used(till, **REQUEST)
    parts = {"included": "0.08", "credit": "0.04"}
    assert till.statement("ada")[-1] == ("debit", "0.12", "-0.04", parts)
    for _ in range(33):
        used(till, **REQUEST)
    assert till.account("ada")["credit_used"] == "4"


def test_5_replit_margin() -> None:
    """Price 0.25, cost 0.16, then 0.285: margins of 36 % and -14 %."""
    till = Till(price_book(rates=[per_event("effort", "USD", "0.25")], meters=[METER_OF_EVENTS]))
    till.grant("ada", "25", "g")
    margins = []
    for cost in ("0.16", "0.285"):
        till.use("ada", costs={"model": cost})
        data = till.entries("ada")[-1]["data"]
        revenue = Decimal(data["revenue"])
        margins.append((revenue - Decimal(data["cost"])) / revenue)
    assert margins == [Decimal("0.36"), Decimal("-0.14")]


METER_OF_EVENTS = Meter(id="work", event_types=["work"])

O1 = tokens("o1", {"input": "15", "cached_input": "7.5", "output": "60"}, model="o1")


def test_7_openai_o1_with_the_cached_tokens_beside_the_input() -> None:
    till = Till(llm_book(O1))
    quantities = {"input": 5_000_000, "cached_input": 1_000_000, "output": 2_000_000}
    assert used(till, model="o1", **quantities) == "202.5"


def test_7_openai_o1_with_the_cached_tokens_inside_the_input_as_openai_reports() -> None:
    till = Till(llm_book(O1))
    reported = {
        "gen_ai.response.model": "o1",
        "gen_ai.usage.input_tokens": 5_000_000,
        "gen_ai.usage.cache_read.input_tokens": 1_000_000,
        "gen_ai.usage.output_tokens": 2_000_000,
    }
    assert used(till, **disjoint(reported)) == "187.5"


def test_8_gpt_5_and_its_batch() -> None:
    prices = {"input": "1.25", "cached_input": "0.125", "output": "10"}
    half = {"input": "0.625", "cached_input": "0.0625", "output": "5"}
    till = Till(
        llm_book(tokens("gpt-5", prices, model="gpt-5"),
                 tokens("gpt-5-batch", half, model="gpt-5", tier="batch"))
    )  # fmt: skip
    call = {"model": "gpt-5", "input": 500, "cached_input": 1_500, "output": 400}
    assert used(till, **call) == "0.0048125"
    assert used(till, **call, tier="batch") == "0.00240625"


def test_11_anthropic_opus_4_5_with_a_cache_write_for_an_hour() -> None:
    prices = {"input": "5", "cached_input": "0.5", "cache_write": "10", "output": "25"}
    till = Till(llm_book(tokens("opus", prices, model="opus-4-5")))
    assert (
        used(
            till,
            model="opus-4-5",
            input=10_000,
            cached_input=100_000,
            cache_write=20_000,
            output=5_000,
        )
        == "0.425"
    )


def test_13_a_price_changes_at_an_instant() -> None:
    """$75 -> $25 per million; late events have the price of their own time."""
    midnight = NOW + 16 * HOUR
    till = Till(llm_book(tokens("opus", {"output": "75"})))
    till.publish(llm_book(tokens("opus", {"output": "25"}), version="v2"), midnight)
    till.at_ms = midnight
    assert used(till, output=1_000, time=at_text(midnight - 1)) == "0.075"
    assert used(till, output=1_000, time=at_text(midnight)) == "0.025"
    till.at_ms = midnight + 9 * DAY
    assert used(till, output=1_000, time=at_text(midnight - 1)) == "0.075"
    assert [e["data"]["price"]["book"] for e in till.entries("ada")] == ["v1", "v2", "v1"]


def test_15_elevenlabs_characters() -> None:
    characters = Meter(id="tts", event_types=["tts"], fields={"characters": "characters"})
    price = PerUnit(quantity="characters", price="0.08", per=1000)
    till = Till(
        price_book(
            meters=[characters], rates=[Rate(id="tts", meter="tts", asset="USD", price=price)]
        )
    )
    till.use("ada", type="tts", characters=12_345)
    assert till.balance("ada") == "-0.9876"


def test_23_stigg_the_order() -> None:
    till = Till()
    till.grant("ada", "50", "A", priority=1)
    till.grant("ada", "20", "B", priority=1, category="promotional")
    till.grant("ada", "100", "C", priority=2, category="promotional")
    till.use("ada", 60)
    assert till.statement("ada")[-1] == ("debit", "60", "110", {"B": "20", "A": "40"})


def test_23_stigg_more_used_than_was_there() -> None:
    till = Till()
    till.grant("ada", "10", "g")
    till.use("ada", 25)
    assert till.account("ada")["overdrawn"] == "15"
    till.grant("ada", "50", "h")
    assert till.left("ada") == {"h": "35"}
    assert till.balance("ada") == "35"


def test_29_one_wallet_of_many_assets() -> None:
    till = Till()
    till.grant("ada", "10", "usd")
    till.grant("ada", "1000", "tok", asset="token", category="included")
    till.grant("ada", "2.5", "gpu", asset="gpu-hour", cost_basis="2.99")
    till.use("ada", "1.25")
    till.use("ada", 700, **{"in": "token"})
    till.use("ada", "0.75", **{"in": "gpu-hour"})
    till.use("ada", 400, **{"in": "token"})
    assert [line[1:3] for line in till.statement("ada")[3:]] == [
        ("1.25", "8.75"),
        ("700", "300"),
        ("0.75", "1.75"),
        ("400", "-100"),
    ]
    assert [e["data"]["sequence"] for e in till.entries("ada")] == list(range(1, 8))
    assert {
        account["asset"]: account["available"] for account in till.wallet("ada")["accounts"]
    } == {"USD": "8.75", "token": "0", "gpu-hour": "1.75"}
    assert till.wrongs() == []


def test_31_an_event_35_days_late_and_one_second_more() -> None:
    till = Till()
    till.use("ada", 1, time=at_text(NOW - 35 * DAY))
    with pytest.raises(ValueError, match="at most 3024000 s"):
        till.use("ada", 1, time=at_text(NOW - 35 * DAY - 1000))


def test_37_promotional_and_paid_credits() -> None:
    """50 promotional + 50 paid at 0.01; 100 used, cost 0.60: revenue 0.50, margin -0.10."""
    credit = Asset(code="credit", scale=2)
    rate = Rate(id="w", meter="work", asset="credit", price=PerUnit(quantity="units", price="1"))
    till = Till(price_book(assets=[Asset(code="USD", scale=12), credit], rates=[rate]))
    till.grant("ada", "50", "promo", asset="credit", category="promotional")
    till.grant("ada", "50", "paid", asset="credit", cost_basis="0.01")
    till.use("ada", 100, costs={"openai": "0.60"})
    wallet = till.wallet("ada")
    revenue, cost = Decimal(wallet["revenue"]), Decimal(wallet["cost"])
    assert (revenue, cost) == (Decimal("0.50"), Decimal("0.60"))
    assert (revenue - cost, (revenue - cost) / revenue) == (Decimal("-0.10"), Decimal("-0.2"))


# --- with holds ----------------------------------------------------------------------------------


def test_4_replit_effort_priced_after_the_work() -> None:
    """$25; debits 0.18 and 0.06; hold 5.00, capture 4.75: 0.25 is back in the same grant."""
    till = Till()
    till.grant("ada", "25", "g")
    till.use("ada", "0.18")
    assert till.balance("ada") == "24.82"
    till.use("ada", "0.06")
    assert till.balance("ada") == "24.76"
    assert till.authorize("ada", 5, require="hold", hold={"hold_id": "h"}).allowed
    assert till.account("ada")["available"] == "19.76"
    till.command("capture", "ada", hold_id="h", amount="4.75")
    assert till.account("ada")["available"] == "20.01"
    assert till.left("ada") == {"g": "20.01"}
    assert till.entries("ada")[-1]["data"]["hold"]["returned"] == [{"grant": "g", "amount": "0.25"}]
    assert till.wrongs() == []


@pytest.mark.parametrize(
    ("ran_s", "policy", "debited", "overdrawn"),
    [(10, "allow", "10", "0"), (9, "allow", "9.9", "0"), (12, "allow", "12", "2"),
     (12, "cap", "10", "0")],
)  # fmt: skip
def test_20_a_hundred_agents_and_ten_dollars(
    ran_s: int, policy: str, debited: str, overdrawn: str
) -> None:
    """Gemini prepay: $10, 100 agents at $0.02 a second, each asking for 10 s at a time. With 10 min
    of lag they could overshoot by 1,200; with holds by what the 50 in flight run beyond theirs."""
    till = Till()
    till.grant("ada", "10", "g")
    till.command("set_terms", "ada", capture_policy=policy)
    in_flight = []
    while running := [
        answer.hold.id
        for _ in range(100)
        if (answer := till.authorize("ada", "0.2", require="hold")).allowed
    ]:
        in_flight.append(len(running))
        till.at_ms += ran_s * 1000
        for hold_id in running:
            till.use("ada", str(Decimal("0.02") * ran_s), hold=hold_id, final=True)
    assert in_flight[0] == 50
    account = till.account("ada")
    assert (account["debited"], account.get("overdrawn", "0")) == (debited, overdrawn)
    assert till.wrongs() == []


def test_22_a_gpu_hour_held_for_a_minute_runs_24_seconds() -> None:
    """GPU-hour 2.99: hold 0.049833..., capture 0.019933..., rounded once each at 12 places."""
    till = Till(
        price_book(
            meters=[Meter(id="work", event_types=["work"], fields={"seconds": "seconds"})],
            rates=[
                Rate(
                    id="gpu",
                    meter="work",
                    asset="USD",
                    price=PerUnit(quantity="seconds", price="2.99", per=3600),
                )
            ],
        )
    )
    till.grant("ada", "1", "g")
    held = till.authorize(
        "ada", require="hold", hold={"hold_id": "h"}, estimate={"quantities": {"seconds": 60}}
    )
    assert held.hold.amount == "0.049833333333"
    till.command("capture", "ada", hold_id="h", quantities={"seconds": 24})
    data = till.entries("ada")[-1]["data"]
    assert data["amount"] == "0.019933333333"
    assert data["price"]["rounding"] == "half_even:12"
    assert data["hold"]["returned"] == [{"grant": "g", "amount": "0.0299"}]
    assert till.balance("ada") == "0.980066666667"
    assert till.wrongs() == []


def test_35_ten_renders_at_once() -> None:
    """A limit of 10 open holds: the eleventh is denied until one ends."""
    till = Till()
    till.grant("ada", "1000", "g")
    till.command("set_terms", "ada", holds_max=10)

    def render(number: int) -> Any:
        terms = {"hold_id": f"render-{number}", "expires_in_s": 600}
        return till.authorize("ada", 10, require="hold", hold=terms)

    assert all(render(number).allowed for number in range(10))
    denied = render(10)
    assert (denied.allowed, denied.reason) == (False, "too_many_holds")
    till.use("ada", 7, hold="render-3", final=True)
    assert render(10).allowed
    assert not render(11).allowed
    till.tick(till.at_ms + 600_000)
    assert render(11).allowed
    assert till.wallet("ada")["holds"] == 1
    assert till.wrongs() == []
