"""Subscriptions that change, end and go on: what the cycle under way is charged, to the cent; and
what is refused, with the field, the rule and the fix, and nothing changed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.till import DAY, START_MS, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.plans import Plan
from drawdown.events.pricebook import Asset
from drawdown.ledger.book import BookError
from drawdown.pure import load

ASSETS = [Asset(code="USD", scale=2), Asset(code="credit", scale=0)]


def plan(id_: str, fee: str = "0", **more: Any) -> dict[str, Any]:
    """A plan of 30 days with a fee in advance, from the wallet."""
    base = {"id": "base", "asset": "USD", "amount": fee, "pay": "wallet"}
    cycle = {"every": "day", "count": 30}
    return {"id": id_, "cycle": cycle, "fees": [base], **more}


def till(*plans: dict[str, Any], balance: str = "1000") -> Till:
    """A wallet of `ada` with so much, and a book with these plans."""
    rates = [price_book().rates[0]]
    found = Till(
        price_book(
            assets=ASSETS, rates=rates, plans=[Plan.model_validate(content) for content in plans]
        )
    )
    found.grant("ada", balance, "money")
    return found


def subscribe(found: Till, plan_id: str, **fields: Any) -> None:
    found.command("subscribe", "ada", plan=plan_id, subscription_id="s", **fields)


def change(found: Till, **fields: Any) -> None:
    found.command("change_subscription", "ada", subscription_id="s", **fields)


def fees(found: Till) -> list[tuple[str, str]]:
    """Fees that were charged, and given back, with the part of the time they are for."""
    facts = [entry["data"]["fee"] for entry in found.entries("ada") if "fee" in entry["data"]]
    return [(fee["amount"], fee.get("part", "1")) for fee in facts]


def credits_of(amount: str, **more: Any) -> list[dict[str, Any]]:
    return [{"id": "credits", "asset": "credit", "amount": amount, **more}]


# what the cycle is charged


def test_an_upgrade_gives_back_the_unused_time_and_charges_the_new_fee_for_it() -> None:
    found = till(plan("small", "10"), plan("large", "40"))
    subscribe(found, "small")
    found.tick(START_MS + 10 * DAY)
    change(found, plan="large")
    assert fees(found) == [("10", "1"), ("-6.67", "2/3"), ("26.67", "2/3")]
    assert found.balance("ada") == "970"
    found.tick(START_MS + 30 * DAY)
    assert fees(found)[-1] == ("40", "1")
    assert found.wrongs() == []


def test_what_is_given_back_returns_to_the_grant_that_paid() -> None:
    found = till(plan("small", "10"), plan("large", "40"), balance="6")
    found.grant("ada", "100", "more", priority=200)
    subscribe(found, "small")  # 6 of the one, 4 of the other
    change(found, plan="large")
    back = [entry for entry in found.entries("ada") if entry["data"].get("amount") == "-10"]
    assert [(part["grant"], part["amount"]) for part in back[0]["data"]["allocations"]] == [
        ("more", "-4"),
        ("given-back:6", "-6"),
    ]
    assert found.balance("ada") == "66"


def test_full_at_once_charges_the_cycle_as_if_it_had_begun_so() -> None:
    found = till(plan("small", "10", proration={"upgrade": "full"}), plan("large", "40"))
    subscribe(found, "small")
    found.tick(START_MS + 10 * DAY)
    change(found, plan="large")
    assert fees(found) == [("10", "1"), ("-10", "1"), ("40", "1")]


def test_none_leaves_the_cycle_to_the_old_fee() -> None:
    found = till(plan("small", "10", proration={"upgrade": "none"}), plan("large", "40"))
    subscribe(found, "small")
    found.tick(START_MS + 10 * DAY)
    change(found, plan="large")
    found.tick(START_MS + 30 * DAY)
    assert fees(found) == [("10", "1"), ("40", "1")]


def test_a_downgrade_counts_from_the_next_cycle_unless_the_plan_says_else() -> None:
    found = till(
        plan("large", "40", grants=credits_of("100")), plan("small", "10", grants=credits_of("20"))
    )
    subscribe(found, "large")
    change(found, plan="small")
    assert (fees(found), found.balance("ada", "credit")) == ([("40", "1")], "100")
    found.tick(START_MS + 30 * DAY)
    assert (fees(found)[-1], found.balance("ada", "credit")) == (("10", "1"), "20")


def test_a_change_at_the_cycles_end_is_one_the_cycle_does_not_feel() -> None:
    found = till(plan("small", "10"), plan("large", "40"))
    subscribe(found, "small")
    change(found, plan="large", when="cycle_end")
    assert fees(found) == [("10", "1")]
    found.tick(START_MS + 30 * DAY)
    assert fees(found) == [("10", "1"), ("40", "1")]


def test_a_plan_with_another_cycle_begins_one_at_once() -> None:
    yearly = {**plan("yearly", "100"), "cycle": {"every": "day", "count": 360}}
    found = till(
        plan("small", "10", grants=credits_of("5")), {**yearly, "grants": credits_of("90")}
    )
    subscribe(found, "small")
    found.use("ada", 2)
    found.tick(START_MS + 15 * DAY)
    change(found, plan="yearly")
    assert fees(found) == [("10", "1"), ("-5", "0.5"), ("100", "1")]
    assert found.balance("ada", "credit") == "90"
    found.tick(START_MS + 374 * DAY)
    assert len(fees(found)) == 3
    found.tick(START_MS + 375 * DAY)
    assert fees(found)[-1] == ("100", "1")


def test_seats_are_charged_and_given_back_by_time() -> None:
    seats = {"id": "base", "asset": "USD", "amount": "9", "per": "seat", "pay": "wallet"}
    found = till({**plan("team"), "fees": [seats]})
    subscribe(found, "team", seats=5)
    found.tick(START_MS + 20 * DAY)
    change(found, seats=6)
    found.tick(START_MS + 25 * DAY)
    change(found, seats=2)
    assert fees(found) == [
        ("45", "1"),
        ("-15", "1/3"),
        ("18", "1/3"),
        ("-9", "0.5"),
        ("3", "1/6"),
    ]


def test_a_part_of_a_fee_in_arrears_is_the_difference_of_two_rounded_totals() -> None:
    after = {"id": "base", "asset": "USD", "amount": "10", "when": "arrears", "per": "seat"}
    found = till({**plan("team"), "fees": [after]})
    subscribe(found, "team", seats=1)
    for day, seats in ((7, 2), (11, 1), (23, 3)):
        found.tick(START_MS + day * DAY)
        change(found, seats=seats)
    found.tick(START_MS + 30 * DAY)
    amounts = [amount for amount, _ in fees(found)]
    # of 10: 0 to 2.33; of 20: 4.67 to 7.33; of 10: 3.67 to 7.67; of 30: 23 to 30
    assert amounts == ["2.33", "2.66", "4", "7"]


def test_fewer_seats_and_more_again_grant_nothing_twice() -> None:
    found = till({**plan("team"), "grants": credits_of("100", per="seat")})
    subscribe(found, "team", seats=3)
    for seats in (1, 3, 1, 3):
        change(found, seats=seats)
    assert found.balance("ada", "credit") == "300"
    change(found, seats=4)
    assert found.balance("ada", "credit") == "400"


def test_grants_become_more_by_time_where_the_plan_says_so() -> None:
    team = plan("team", grants=credits_of("100", per="seat"))
    found = till({**team, "grant_proration": {"seats_more": "time", "seats_fewer": "full"}})
    subscribe(found, "team", seats=1)
    found.tick(START_MS + 20 * DAY)
    change(found, seats=2)
    assert found.balance("ada", "credit") == "133"
    change(found, seats=1)
    assert found.balance("ada", "credit") == "33"
    found.tick(START_MS + 30 * DAY)
    assert found.balance("ada", "credit") == "100"


@pytest.mark.parametrize(
    ("how", "back"), [("none", []), ("time", [("-7.5", "0.75")]), ("full", [("-10", "1")])]
)
def test_canceled_now_the_grants_end_and_the_fee_is_given_back_as_declared(
    how: str, back: list[tuple[str, str]]
) -> None:
    small = plan("small", "10", proration={"cancel": how}, grants=credits_of("50"))
    found = till({**small, "cycle": {"every": "day", "count": 20}})
    subscribe(found, "small")
    found.tick(START_MS + 5 * DAY)
    found.command("cancel_subscription", "ada", subscription_id="s", when="now")
    assert fees(found) == [("10", "1"), *back]
    assert found.balance("ada", "credit") == "0"
    found.tick(START_MS + 100 * DAY)
    assert fees(found) == [("10", "1"), *back]


def test_canceled_at_the_end_it_is_there_until_then_and_may_go_on_after_all() -> None:
    found = till(plan("small", "10", grants=credits_of("50")))
    subscribe(found, "small")
    found.command("cancel_subscription", "ada", subscription_id="s")
    found.command("resume_subscription", "ada", subscription_id="s")
    found.tick(START_MS + 30 * DAY)
    assert found.balance("ada", "credit") == "50"
    found.command("cancel_subscription", "ada", subscription_id="s")
    found.tick(START_MS + 60 * DAY)
    assert (found.balance("ada", "credit"), len(fees(found))) == ("0", 2)
    assert found.wallet("ada").get("subscriptions", []) == []
    assert found.wrongs() == []


def test_what_a_plan_lets_be_kept_outlives_it() -> None:
    bonus = credits_of("7", per="once", kept=True)
    found = till(plan("small", grants=[*bonus, {**credits_of("50")[0], "id": "monthly"}]))
    subscribe(found, "small")
    found.command("cancel_subscription", "ada", subscription_id="s", when="now")
    assert found.balance("ada", "credit") == "7"


def test_a_plans_grants_pay_neither_its_fee_nor_a_debt() -> None:
    money = {"id": "usage", "asset": "USD", "amount": "20"}
    found = till(plan("small", "10", grants=[money]), balance="10")
    subscribe(found, "small")
    found.use("ada", 25)
    assert found.account("ada")["overdrawn"] == "5"
    found.tick(START_MS + 30 * DAY)
    assert found.account("ada") | {"available": "", "granted": "", "debited": ""} == {
        "available": "",
        "balance": "5",
        "unspent": "20",
        "overdrawn": "15",
        "granted": "",
        "debited": "",
    }
    assert found.wrongs() == []


def test_closing_a_wallet_ends_its_subscriptions_without_charge() -> None:
    found = till(plan("small", "10", grants=credits_of("50")))
    subscribe(found, "small")
    found.command("set_state", "ada", state="closed")
    found.tick(START_MS + 90 * DAY)
    assert fees(found) == [("10", "1")]
    assert found.wrongs() == []


def test_a_renewal_that_the_wallet_cannot_pay_is_overdrawn_and_told() -> None:
    found = till(plan("small", "10"), balance="15")
    subscribe(found, "small")
    (decided,) = found.tick(START_MS + 30 * DAY)
    assert decided.overdrawn == 5 * 10**12
    assert found.account("ada")["overdrawn"] == "5"


def test_the_same_command_again_gets_the_first_result() -> None:
    found = till(plan("small", "10"))
    content = {"id": "order-7", "plan": "small", "time": at_text(START_MS)}
    first = found.command("subscribe", "ada", **content).answer
    again = found.command("subscribe", "ada", **content).answer
    assert again is not None and first is not None
    assert (again.duplicate, again.sequence, again.subscription) == (
        True,
        first.sequence,
        first.subscription,
    )
    restored = found.replayed().command("subscribe", "ada", **content).answer
    assert restored == again
    with pytest.raises(RecordError, match="used before with other content"):
        found.command("subscribe", "ada", **{**content, "plan": "large"})


# what is refused


TEAM = plan("team", "10", seats_min=2, seats_max=5)


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("subscribe", {"plan": "pro"}, "plan: price book 'v1' has no plan 'pro'; its plans are"),
        ("subscribe", {"plan": "team", "seats": 1}, "seats: 1 is too few: plan 'team' has 2"),
        ("subscribe", {"plan": "team", "seats": 6}, "seats: 6 is too many: plan 'team' has 5"),
        ("subscribe", {"plan": "team", "subscription_id": "s"}, "subscription_id: ada has a sub"),
        ("subscribe", {"plan": "dear"}, "plan: fee 'base' is 5000 USD, of which 4010 more would"),
        (
            "subscribe",
            {"plan": "team", "start_at": "2027-01-01T00:00:00Z"},
            "start_at: 2027-01-01T00:00:00Z is over: leave it out",
        ),
        ("change_subscription", {"seats": 1}, "seats: 1 is too few: plan 'team' has 2 at least"),
        ("change_subscription", {"seats": 2}, "seats: is plan 'team' with 2 seats already"),
        ("change_subscription", {"plan": "team"}, "plan: is plan 'team' with 2 seats already"),
        ("change_subscription", {"plan": "pro"}, "plan: price book 'v1' has no plan 'pro'"),
        ("change_subscription", {"plan": "dear"}, "plan: fee 'base' is 5000 USD, of which 40"),
        ("change_subscription", {"subscription_id": "t"}, "subscription_id: ada has no sub"),
        ("cancel_subscription", {"subscription_id": "t"}, "subscription_id: ada has no sub"),
        ("resume_subscription", {}, "subscription_id: goes on anyway"),
    ],
)
def test_what_cannot_be_is_refused_with_field_rule_and_fix(
    kind: str, fields: dict[str, Any], said: str
) -> None:
    found = till(TEAM, plan("dear", "5000"))
    subscribe(found, "team")
    before = found.bytes_of_rows()
    known = {} if kind == "subscribe" else {"subscription_id": "s"}
    with pytest.raises(RecordError) as refused:
        found.command(kind, "ada", **{**known, **fields})
    assert str(refused.value).startswith(said)
    assert found.bytes_of_rows() == before


def test_twice_canceled_is_refused_and_so_is_what_comes_after_the_end() -> None:
    found = till(TEAM)
    subscribe(found, "team")
    found.command("cancel_subscription", "ada", subscription_id="s")
    with pytest.raises(RecordError, match="was canceled before, and ends at 2027-02-14"):
        found.command("cancel_subscription", "ada", subscription_id="s")
    with pytest.raises(RecordError, match="is canceled: resume it first"):
        change(found, seats=3)
    found.command("cancel_subscription", "ada", subscription_id="s", when="now")
    for kind in ("cancel_subscription", "resume_subscription", "change_subscription"):
        with pytest.raises(RecordError, match=r"ended at .*: subscribe anew, under another id"):
            found.command(kind, "ada", subscription_id="s")
    with pytest.raises(RecordError, match="ada had a subscription 's'"):
        subscribe(found, "team")


def book(*plans: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 2}, {"code": "credit", "scale": 0}],
        "meters": [{"id": "m", "event_types": ["m"], "fields": {"a": "a", "b": "b"}}],
        "plans": list(plans),
    }


def fee_of(**changes: Any) -> dict[str, Any]:
    return {"id": "p", "fees": [{"id": "f", "asset": "USD", "amount": "1", **changes}]}


def grant_of(**changes: Any) -> dict[str, Any]:
    return {"id": "p", "grants": [{"id": "g", "asset": "credit", "amount": "1", **changes}]}


def right_of(**changes: Any) -> dict[str, Any]:
    return {"id": "p", "entitlements": [{"id": "e", **changes}]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (fee_of(asset="EUR"), "plans.p.fees.f.asset: no asset 'EUR'; the book has USD, credit"),
        (fee_of(amount="0.001"), "plans.p.fees.f.amount: 0.001 is finer than USD, which has 2"),
        (grant_of(amount="0"), "plans.p.grants.g.amount: is zero; grant more than that"),
        (grant_of(category="paid"), "plans.p.grants.g.cost_basis: say what one credit is sold"),
        (grant_of(cost_basis="-1"), "plans.p.grants.g.cost_basis: is negative"),
        (
            grant_of(per="once", schedule={"every": "day"}),
            "plans.p.grants.g.per: granted once, it does not come again: leave schedule out",
        ),
        (
            grant_of(schedule={"every": "year"}),
            "plans.p.grants.g.schedule: is longer than the plan's cycle",
        ),
        (
            grant_of(mode="accumulate", rollover={}),
            "plans.p.grants.g.rollover: accumulate keeps all there is",
        ),
        (
            grant_of(rollover={"min": "3", "max": "2", "cycles": 1}),
            "plans.p.grants.g.rollover.max: is less than min",
        ),
        (right_of(meter="x", limit=1), "plans.p.entitlements.e.meter: no meter 'x'"),
        (right_of(meter="m"), "plans.p.entitlements.e.limit: say how much may be used"),
        (right_of(limit=1), "plans.p.entitlements.e.meter: say of which meter the limit is"),
        (
            right_of(meter="m", limit=1),
            "plans.p.entitlements.e.quantity: None is no quantity of meter 'm': give one of a, b",
        ),
        (
            {"id": "p", "phases": [{"id": "trial"}, {"id": "paid"}]},
            "plans.p.phases.trial: has no end, and another phase follows it: give it days or",
        ),
        (
            {"id": "p", "phases": [{"id": "trial", "days": 14}]},
            "plans.p.phases.trial: is the last phase and has no end: leave days or cycles out",
        ),
        (
            {"id": "p", "phases": [{"id": "t", "days": 1, "cycles": 1}, {"id": "paid"}]},
            "plans.p.phases.t: lasts either days or cycles",
        ),
        (
            {"id": "p", "seats_min": 3, "seats_max": 2},
            "plans.p.seats_max: is less than seats_min, 3",
        ),
        ({"id": "p", "cycle": {"zone": "Mars/One"}}, "plans.p.cycle.zone: 'Mars/One' is no zone"),
        (
            {"id": "p", "terms": {"credit_limits": {"EUR": 1}}},
            "plans.p.terms.credit_limits.asset: no asset 'EUR'",
        ),
        (
            {**fee_of(), "fees": [*fee_of()["fees"], *fee_of()["fees"]]},
            "plans.p.fees.f: stands there twice",
        ),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_its_place_in_the_book(
    content: dict[str, Any], said: str
) -> None:
    with pytest.raises(BookError) as refused:
        load(book(content))
    assert str(refused.value).startswith(said)


def test_two_plans_of_one_id_are_refused() -> None:
    with pytest.raises(BookError, match=r"plans\.p: stands there twice"):
        load(book({"id": "p"}, {"id": "p"}))
