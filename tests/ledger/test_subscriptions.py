"""Plans as vendors sell them: the worked examples of the domain that are subscriptions.

Each is told through `drawdown.pure`, as somebody would who checks a vendor's numbers.
"""

from __future__ import annotations

from typing import Any

from drawdown.pure import Ledger

START = "2027-01-15T08:00:00Z"
NEXT = "2027-02-15T08:00:00Z"


def ledger(*plans: dict[str, Any], **book: Any) -> Ledger:
    """A ledger with these plans; a meter for tokens in USD, and one for each other asset."""
    return Ledger(
        {
            "version": "2027-01",
            "assets": [
                {"code": "USD", "scale": 12},
                {"code": "credit", "scale": 0},
                {"code": "response", "scale": 0},
            ],
            "meters": [
                {"id": "chat", "event_types": ["chat"], "fields": {"credits": "credits"}},
                {"id": "spend", "event_types": ["spend"], "fields": {"usd": "usd"}},
                {"id": "wallets", "event_types": ["active"], "unique": {"wallets": "wallet"}},
                {"id": "payments", "event_types": ["payment"], "fields": {"amount": "amount"}},
            ],
            "rates": [
                rate("chat", "chat", "credit", "credits"),
                rate("spend", "spend", "USD", "usd"),
                *book.pop("rates", []),
            ],
            "plans": list(plans),
            **book,
        },
        at=START,
    )


def rate(id_: str, meter: str, asset: str, quantity: str) -> dict[str, Any]:
    price = {"model": "per_unit", "quantity": quantity, "price": "1"}
    return {"id": id_, "meter": meter, "asset": asset, "price": price}


def left(books: Ledger, customer: str) -> dict[str, str]:
    """What is left of each grant of a plan, by its id there."""
    return {
        grant["id"].partition("/")[2].partition("@")[0]: grant["remaining"]
        for grant in books.wallet(customer)["grants"]
    }


def fees(books: Ledger, customer: str) -> list[tuple[str, str]]:
    """Fees as they were charged and given back."""
    found = [entry["data"]["fee"] for entry in books.entries(customer) if "fee" in entry["data"]]
    return [(fee["fee"], fee["amount"]) for fee in found]


# 2: an allowance that resets, and a top-up that stays


def test_an_allowance_is_used_first_and_resets_while_what_was_bought_stays() -> None:
    books = ledger({"id": "plus", "grants": [grant("included", 10_000)]})
    books.subscribe("ada", "plus", subscription="s")
    books.grant("ada", "5000", asset="credit", grant_id="bought", cost_basis="0.01")
    books.use("ada", "chat", {"credits": 12_000})
    assert books.balance("ada", "credit") == "3000"
    books.advance(NEXT)
    assert {grant["id"]: grant["remaining"] for grant in books.wallet("ada")["grants"]} == {
        f"s/included@{NEXT}": "10000",
        "bought": "3000",
    }


def test_what_is_not_used_of_an_allowance_lapses_at_the_reset() -> None:
    books = ledger({"id": "plus", "grants": [grant("included", 10_000)]})
    books.subscribe("ada", "plus")
    books.use("ada", "chat", {"credits": 4000})
    lapse = books.advance(NEXT)[-1]
    assert (lapse["type"], lapse["data"]["amount"]) == ("drawdown.entry.lapse", "6000")


def grant(id_: str, amount: int, asset: str = "credit", **more: Any) -> dict[str, Any]:
    return {"id": id_, "asset": asset, "amount": amount, **more}


# 3: included use and on-demand use, which a plan allows by a credit limit


CURSOR = {
    "fees": [{"id": "pro", "asset": "USD", "amount": 20, "revenue": "grants"}],
    "grants": [grant("included", 20, "USD", cost_basis="1")],
}


def test_on_demand_off_the_request_above_the_included_use_is_denied() -> None:
    books = ledger({"id": "pro", **CURSOR})
    books.subscribe("ada", "pro")
    for _ in range(166):
        books.use("ada", "spend", {"usd": "0.12"})
    assert books.balance("ada") == "0.08"
    denied = books.authorize("ada", "spend", quantities={"usd": "0.12"})
    assert (denied["reason"], denied["shortfall"]) == ("insufficient_balance", "0.04")


def test_on_demand_on_it_is_paid_on_credit_which_the_next_cycle_does_not_pay_back() -> None:
    books = ledger({"id": "pro", **CURSOR, "terms": {"credit_limits": {"USD": 50}}})
    books.subscribe("ada", "pro")
    for _ in range(200):
        assert books.authorize("ada", "spend", quantities={"usd": "0.12"})["allowed"]
        entry = books.use("ada", "spend", {"usd": "0.12"})
    assert entry["data"]["credit"] == "0.12"
    account = books.wallet("ada")["accounts"][0]
    assert (account["credit_used"], account.get("unspent", "0")) == ("4", "0")
    books.advance(NEXT)
    account = books.wallet("ada")["accounts"][0]
    assert (account["credit_used"], account["unspent"]) == ("4", "20")


def test_the_revenue_of_a_fee_that_pays_for_grants_is_recognized_as_they_are_spent() -> None:
    books = ledger({"id": "pro", **CURSOR})
    books.subscribe("ada", "pro")
    assert books.wallet("ada").get("revenue", "0") == "0"
    books.use("ada", "spend", {"usd": 5})
    assert books.wallet("ada")["revenue"] == "5"
    books.advance(NEXT)
    assert books.wallet("ada")["breakage"] == "15"


def test_an_invoiced_fee_is_paid_in_and_revenue_of_its_statement() -> None:
    fees_ = [{"id": "base", "asset": "USD", "amount": 49}]
    books = ledger({"id": "pro", "fees": fees_, "grants": [grant("included", 10)]})
    books.subscribe("ada", "pro")
    books.advance("2027-02-01T00:00:00Z")
    revenue = books.statement("ada", month="2027-01")["revenue"]
    assert revenue == {"paid_in": "49", "recognized": "49", "margin": "49"}


# 14: credits of one's own, and pooled by seat


PRO = {
    "id": "pro",
    "fees": [{"id": "pro", "asset": "USD", "amount": 10}],
    "grants": [grant("base", 1000), grant("flex", 500)],
}
BUSINESS = {
    "id": "business",
    "fees": [{"id": "seats", "asset": "USD", "amount": 19, "per": "seat"}],
    "grants": [grant("pool", 1900, per="seat")],
}


def test_one_prompt_is_paid_of_both_grants_together() -> None:
    books = ledger(PRO)
    books.subscribe("ada", "pro")
    assert books.balance("ada", "credit") == "1500"
    books.use("ada", "chat", {"credits": 576})
    assert books.balance("ada", "credit") == "924"


def test_seats_pool_their_credits_and_more_seats_add_theirs_at_once() -> None:
    books = ledger(BUSINESS)
    books.subscribe("acme", "business", subscription="s", seats=2)
    assert books.balance("acme", "credit") == "3800"
    books.change_subscription("acme", "s", seats=5)
    assert books.balance("acme", "credit") == "9500"


def test_members_of_a_pool_are_a_dimension_of_its_use() -> None:
    books = ledger(BUSINESS)
    books.subscribe("acme", "business", seats=2)
    for member, credits in (("ada", 3000), ("bea", 700)):
        entry = books.use("acme", "chat", {"credits": credits, "member": member})
        assert entry["data"]["usage"]["dimensions"] == {"member": member}
    assert books.balance("acme", "credit") == "100"
    assert not books.authorize(
        "acme", "chat", quantities={"credits": 101}, dimensions={"member": "ada"}
    )["allowed"]


# 16: a monthly grant that rolls over, and a daily one that lapses


def test_daily_credits_lapse_and_monthly_ones_stay() -> None:
    daily = grant("daily", 5, schedule={"every": "day"}, priority=10)
    monthly = grant("monthly", 100, rollover={"cycles": 1})
    books = ledger({"id": "pro", "grants": [daily, monthly]})
    books.subscribe("ada", "pro", subscription="s")
    books.use("ada", "chat", {"credits": 8})
    assert left(books, "ada") == {"daily": "0", "monthly": "97"}
    books.advance("2027-01-16T08:00:00Z")
    books.use("ada", "chat", {"credits": 2})
    assert left(books, "ada") == {"daily": "3", "monthly": "97"}
    books.advance("2027-01-17T08:00:00Z")
    assert left(books, "ada") == {"daily": "5", "monthly": "97"}


def test_what_rolls_over_is_there_for_one_more_cycle() -> None:
    books = ledger({"id": "pro", "grants": [grant("monthly", 100, rollover={"cycles": 1})]})
    books.subscribe("ada", "pro", subscription="s")
    books.use("ada", "chat", {"credits": 3})
    books.advance(NEXT)
    assert books.balance("ada", "credit") == "197"
    books.advance("2027-03-15T08:00:00Z")
    assert books.balance("ada", "credit") == "200"  # 97 lapse, 100 roll over, 100 are new


# 24: seats that bring credits


def test_a_sixth_seat_brings_its_credits_at_once_into_the_shared_pool() -> None:
    books = ledger({"id": "team", "grants": [grant("credits", 1000, per="seat")]})
    books.subscribe("acme", "team", subscription="s", seats=5)
    books.use("acme", "chat", {"credits": 4200})
    books.change_subscription("acme", "s", seats=6, at="2027-01-30T00:00:00Z")
    assert books.balance("acme", "credit") == "1800"


# 31: postpaid, with a fee at the cycle's end


def test_a_fee_in_arrears_is_due_when_the_cycle_ends() -> None:
    support = {"id": "support", "asset": "USD", "amount": 100, "when": "arrears", "pay": "wallet"}
    books = ledger(
        {"id": "enterprise", "fees": [support], "terms": {"credit_limits": {"USD": 10_000}}},
        rates=[
            {
                "id": "committed",
                "meter": "payments",
                "asset": "USD",
                "price": {
                    "model": "commitment",
                    "base": {"model": "per_unit", "quantity": "amount", "price": "1"},
                    "amount": "1000",
                    "factor": "1.5",
                    "period": "month",
                },
            }
        ],
    )
    books.subscribe("acme", "enterprise", anchor="2027-01-01T00:00:00Z")
    books.use("acme", "payment", {"amount": 700})
    made = books.advance("2027-02-01T00:00:00Z")
    amounts = {
        entry["data"].get("fee", {}).get("fee", "true-up"): entry["data"]["amount"]
        for entry in made
        if entry["type"].endswith(".debit")
    }
    # 16 days and 16 hours of 31 days
    assert amounts == {"support": "53.763440860215", "true-up": "300"}
    assert books.wallet("acme")["accounts"][0]["credit_used"] == "1053.763440860215"
    assert [
        entry["data"]["amount"]
        for entry in books.advance("2027-03-01T00:00:00Z")
        if "fee" in entry["data"]
    ] == ["100"]


# 33: payments, usage and a recurring fee on one wallet


def test_a_fee_a_share_of_payments_and_usage_stand_in_one_statement() -> None:
    monthly = {"id": "monthly", "asset": "USD", "amount": 49, "pay": "wallet"}
    books = ledger(
        {"id": "platform", "fees": [monthly]},
        rates=[
            {
                "id": "share",
                "meter": "payments",
                "asset": "USD",
                "price": {
                    "model": "percentage",
                    "quantity": "amount",
                    "percent": "2.9",
                    "fixed": "0.30",
                },
            }
        ],
    )
    books.grant("ada", "100", grant_id="top-up")
    books.subscribe("ada", "platform")
    assert books.use("ada", "payment", {"amount": "120.00"})["data"]["amount"] == "3.78"
    books.use("ada", "spend", {"usd": "7.22"})
    debits = [
        entry["data"]["amount"]
        for entry in books.entries("ada")
        if entry["type"].endswith(".debit")
    ]
    assert debits == ["49", "3.78", "7.22"]
    assert books.balance("ada") == "40"


# 34: a price per active wallet, the first of them free


def test_fourteen_active_wallets_of_which_ten_are_free_cost_four() -> None:
    tiers = [{"up_to": 10, "price": "0"}, {"price": "1"}]
    books = ledger(
        {"id": "credyt", "entitlements": [{"id": "events", "value": "1000000 free"}]},
        rates=[
            {
                "id": "active",
                "meter": "wallets",
                "asset": "USD",
                "price": {"model": "graduated", "quantity": "wallets", "tiers": tiers},
            }
        ],
    )
    books.grant("ada", "10")
    books.subscribe("ada", "credyt")
    for number in [*range(14), 3, 7]:
        books.use("ada", "active", {"wallet": f"w{number}"})
    assert books.balance("ada") == "6"


# what else a plan says


def test_a_trial_costs_nothing_and_the_paid_phase_begins_at_its_end() -> None:
    books = ledger(
        {
            **BUSINESS,
            "phases": [
                {"id": "trial", "days": 14, "fees": [], "grants": [grant("pool", 100)]},
                {"id": "paid"},
            ],
        }
    )
    books.subscribe("acme", "business", seats=2)
    assert (left(books, "acme"), fees(books, "acme")) == ({"pool": "100"}, [])
    books.advance("2027-01-29T08:00:00Z")
    assert (left(books, "acme"), fees(books, "acme")) == ({"pool": "3800"}, [("seats", "38")])
    (subscription,) = books.subscriptions("acme")
    assert (subscription["phase"], subscription["ends_at"]) == ("paid", "2027-02-28T08:00:00Z")


def test_a_phase_of_cycles_is_followed_by_the_next() -> None:
    def fee(amount: int) -> list[dict[str, Any]]:
        return [{"id": "fee", "asset": "USD", "amount": amount}]

    books = ledger(
        {
            "id": "intro",
            "phases": [{"id": "intro", "cycles": 2, "fees": fee(1)}, {"id": "then"}],
            "fees": fee(9),
        }
    )
    books.subscribe("ada", "intro")
    books.advance("2027-04-16T00:00:00Z")
    assert [amount for _, amount in fees(books, "ada")] == ["1", "1", "9", "9"]


def test_cycles_from_the_last_of_a_month_clamp_and_come_back() -> None:
    books = ledger({"id": "pro", "grants": [grant("monthly", 1)]})
    books.subscribe("ada", "pro", at="2027-01-31T00:00:00Z")
    books.advance("2027-04-01T00:00:00Z")
    begins = [
        e["data"]["grant"]["effective_at"] for e in books.entries("ada") if "grant" in e["data"]
    ]
    assert begins == ["2027-01-31T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"]


def test_a_first_cycle_cut_short_by_its_anchor_pays_its_part_and_gets_its_grants_whole() -> None:
    books = ledger(
        {
            "id": "calendar",
            "cycle": {"anchor": "2027-01-01T00:00:00Z"},
            "fees": [{"id": "fee", "asset": "USD", "amount": 31}],
            "grants": [grant("credits", 100)],
        }
    )
    books.subscribe("ada", "calendar", at="2027-01-21T00:00:00Z")
    assert (left(books, "ada"), fees(books, "ada")) == ({"credits": "100"}, [("fee", "11")])
    books.advance("2027-02-01T00:00:00Z")
    assert fees(books, "ada")[-1] == ("fee", "31")


def test_a_cycle_uses_the_book_of_its_beginning_and_the_next_one_the_next() -> None:
    books = ledger(PRO)
    dearer = {**PRO, "fees": [{"id": "pro", "asset": "USD", "amount": 12}]}
    dearer["grants"] = [grant("base", 1200)]
    books.subscribe("ada", "pro")
    book = {
        "version": "2027-02",
        "assets": [{"code": "USD", "scale": 12}, {"code": "credit", "scale": 0}],
        "meters": [{"id": "chat", "event_types": ["chat"], "fields": {"credits": "credits"}}],
        "plans": [dearer],
    }
    books.publish(book, effective_at="2027-01-20T00:00:00Z")
    books.advance("2027-01-21T00:00:00Z")
    assert books.subscriptions("ada")[0]["book"] == "2027-01"
    books.advance(NEXT)
    assert books.subscriptions("ada")[0]["book"] == "2027-02"
    assert (left(books, "ada"), fees(books, "ada")[-1]) == ({"base": "1200"}, ("pro", "12"))


def test_a_plan_that_a_new_book_lacks_goes_on_as_it_was() -> None:
    books = ledger(PRO)
    books.subscribe("ada", "pro")
    book = {
        "version": "2027-02",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [{"id": "spend", "event_types": ["spend"], "fields": {"usd": "usd"}}],
    }
    books.publish(book, effective_at="2027-01-20T00:00:00Z")
    books.advance(NEXT)
    assert (books.subscriptions("ada")[0]["book"], fees(books, "ada")[-1]) == (
        "2027-01",
        ("pro", "10"),
    )
    assert books.command("subscribe", "bea", plan="pro")["reason"] == "plan_unknown"


def test_terms_of_a_plan_hold_while_it_does_and_other_terms_stay() -> None:
    terms = {"credit_limits": {"USD": 50}, "capture_policy": "cap", "thresholds": {"USD": [5]}}
    books = ledger({"id": "pro", "terms": terms})
    books.command("set_terms", "ada", holds_max=3)
    books.subscribe("ada", "pro", subscription="s")
    wallet = books.wallet("ada")
    assert wallet["accounts"][0]["credit_limit"] == "50"
    assert (wallet["capture_policy"], wallet["holds_max"], wallet["thresholds"]) == (
        "cap",
        3,
        {"USD": ["5"]},
    )
    books.cancel_subscription("ada", "s", when="now")
    wallet = books.wallet("ada")
    assert "credit_limit" not in wallet["accounts"][0]
    assert ("capture_policy" in wallet, wallet["holds_max"]) == (False, 3)


def test_a_decision_ahead_of_the_timer_finds_the_new_cycle() -> None:
    books = ledger(PRO)
    books.subscribe("ada", "pro")
    books.use("ada", "chat", {"credits": 1500})
    assert not books.authorize("ada", "chat", quantities={"credits": 1})["allowed"]
    assert books.authorize("ada", "chat", quantities={"credits": 1500}, at=NEXT)["allowed"]
    entry = books.use("ada", "chat", {"credits": 1})
    assert entry["data"]["after"] == "1499"


def test_a_subscription_may_begin_later() -> None:
    books = ledger(PRO)
    answer = books.subscribe("ada", "pro", subscription="s", start_at="2027-02-01T00:00:00Z")
    assert answer["subscription"]["status"] == "scheduled"
    assert books.wallet("ada")["accounts"] == []
    books.advance("2027-02-01T00:00:00Z")
    assert books.balance("ada", "credit") == "1500"
    assert books.subscriptions("ada")[0]["ends_at"] == "2027-03-01T00:00:00Z"


# metered entitlements


METERED = {
    "id": "metered",
    "grants": [grant("credits", 1000)],
    "entitlements": [
        {"id": "sso"},
        {"id": "members", "value": 25},
        {"id": "chats", "meter": "chat", "quantity": "events", "limit": 2},
        {"id": "credits", "meter": "chat", "quantity": "credits", "limit": 50, "per": "seat"},
    ],
}


def test_rights_can_be_read_with_what_is_left_of_them() -> None:
    books = ledger(METERED)
    books.subscribe("ada", "metered", seats=2)
    books.use("ada", "chat", {"credits": 30})
    assert [
        (each["id"], each.get("value"), each.get("used"), each.get("left"))
        for each in books.entitlements("ada")
    ] == [
        ("sso", True, None, None),
        ("members", 25, None, None),
        ("chats", None, "1", "1"),
        ("credits", None, "30", "70"),
    ]


def test_beyond_a_metered_right_nothing_is_authorized_until_the_next_cycle() -> None:
    books = ledger(METERED)
    books.subscribe("ada", "metered", subscription="s")
    books.authorize("ada", "chat", quantities={"credits": 40}, capture=True)
    denied = books.authorize("ada", "chat", quantities={"credits": 11})
    assert (denied["allowed"], denied["reason"]) == (False, "entitlement_exceeded")
    assert denied["detail"] == (
        "40 of 50 credits of entitlement 'credits' are used, and 11 are wanted; subscription 's'"
        " has more from 2027-02-15T08:00:00Z"
    )
    assert books.authorize("ada", "chat", quantities={"credits": 10})["allowed"]
    books.use("ada", "chat", {"credits": 1})
    assert not books.authorize("ada", "chat", quantities={"credits": 1})["allowed"]
    books.advance(NEXT)
    assert books.authorize("ada", "chat", quantities={"credits": 11})["allowed"]


def test_use_under_a_hold_counts_when_it_is_captured() -> None:
    books = ledger(METERED)
    books.subscribe("ada", "metered")
    books.authorize("ada", "chat", quantities={"credits": 40}, hold="h")
    assert books.entitlements("ada")[3]["used"] == "0"
    books.use("ada", "chat", {"credits": 45, "hold": "h", "final": True})
    assert books.entitlements("ada")[3]["used"] == "45"


def test_late_use_of_a_cycle_that_is_over_does_not_count_in_the_new_one() -> None:
    books = ledger(METERED)
    books.subscribe("ada", "metered")
    books.advance(NEXT)
    books.use("ada", "chat", {"credits": 9}, time="2027-02-15T07:59:59Z")
    assert books.entitlements("ada")[3]["used"] == "0"
