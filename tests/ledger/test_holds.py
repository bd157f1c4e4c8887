"""Holds: what an allow sets aside, and how it is captured, released, extended, or expires."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.till import DAY, HOUR, MINUTE, SECOND, START_MS, Till, decision, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError
from drawdown.events.pricebook import PerUnit, Rate
from drawdown.events.reasons import Reason

NOW = START_MS


def given(*amounts: str, limit: str | None = None, **terms: Any) -> Till:
    """A wallet of ada's with grants g0, g1, ..."""
    till = Till()
    for number, amount in enumerate(amounts):
        till.grant("ada", amount, f"g{number}")
    if limit is not None:
        terms["credit_limits"] = {"USD": limit}
    if terms:
        till.command("set_terms", "ada", **terms)
    return till


def hold(till: Till, units: Any, hold_id: str = "h", **fields: Any) -> Any:
    """Authorize with a hold; the decision."""
    terms = {"hold_id": hold_id, **fields.pop("hold", {})}
    return till.authorize("ada", units, require="hold", hold=terms, **fields)


def moves(till: Till, since: int = 0) -> list[tuple[str, str, str]]:
    """Kind, amount and balance after it."""
    return [(kind, amount, after) for kind, amount, after, _ in till.statement("ada")[since:]]


# --- a hold's life -------------------------------------------------------------------------------


def test_what_is_held_is_not_available_and_comes_back() -> None:
    till = given("10")
    hold(till, 4)
    assert till.account("ada") == {
        "available": "6", "balance": "6", "unspent": "6", "held": "4", "granted": "10",
    }  # fmt: skip
    assert till.authorize("ada", 7).shortfall == "1"
    till.command("release", "ada", hold_id="h")
    assert till.account("ada") == {
        "available": "10", "balance": "10", "unspent": "10", "granted": "10",
    }  # fmt: skip
    assert moves(till) == [("grant", "10", "10"), ("hold", "4", "6"), ("release", "4", "10")]
    assert till.wrongs() == []


LIVES: list[tuple[str, dict[str, Any], list[tuple[str, Any]], list[tuple[str, str, str]]]] = [
    # what, the wallet, what happens, the entries after the grants and terms
    ("captured in full", {"amounts": ["10"]}, [("hold", 4), ("capture", {})],
     [("hold", "4", "6"), ("capture", "4", "6")]),
    ("captured in part", {"amounts": ["10"]}, [("hold", 4), ("capture", {"amount": "1"})],
     [("hold", "4", "6"), ("capture", "1", "9")]),
    ("nothing of it captured", {"amounts": ["10"]}, [("hold", 4), ("capture", {"amount": "0"})],
     [("hold", "4", "6"), ("capture", "0", "10")]),
    ("by quantities", {"amounts": ["10"]},
     [("hold", 4), ("capture", {"quantities": {"units": "2.5"}})],
     [("hold", "4", "6"), ("capture", "2.5", "7.5")]),
    ("piece by piece", {"amounts": ["10"]},
     [("hold", 4), ("capture", {"amount": "1", "final": False}),
      ("capture", {"amount": "2", "final": False}), ("capture", {"amount": "0.5"})],
     [("hold", "4", "6"), ("capture", "1", "6"), ("capture", "2", "6"), ("capture", "0.5", "6.5")]),
    ("all of it, and still open", {"amounts": ["10"]},
     [("hold", 4), ("capture", {"final": False}), ("release", {})],
     [("hold", "4", "6"), ("capture", "4", "6"), ("release", "0", "6")]),
    ("more than was held", {"amounts": ["10"]}, [("hold", 4), ("capture", {"amount": "5"})],
     [("hold", "4", "6"), ("capture", "5", "5")]),
    ("more than was there", {"amounts": ["10"]}, [("hold", 4), ("capture", {"amount": "12"})],
     [("hold", "4", "6"), ("capture", "12", "-2")]),
    ("more than was held, capped", {"amounts": ["10"], "capture_policy": "cap"},
     [("hold", 4), ("capture", {"amount": "5"})],
     [("hold", "4", "6"), ("capture", "4", "6")]),
    ("capped, piece by piece", {"amounts": ["10"], "capture_policy": "cap"},
     [("hold", 4), ("use", {"units": 3}), ("use", {"units": 3}),
      ("use", {"units": 3, "final": True})],
     [("hold", "4", "6"), ("capture", "3", "6"), ("capture", "1", "6"), ("capture", "0", "6")]),
    ("by usage", {"amounts": ["10"]}, [("hold", 4), ("use", {"units": 3, "final": True})],
     [("hold", "4", "6"), ("capture", "3", "7")]),
    ("by a stream of usage", {"amounts": ["10"]},
     [("hold", 4), ("use", {"units": 3}), ("use", {"units": 2}),
      ("use", {"units": 1, "final": True})],
     [("hold", "4", "6"), ("capture", "3", "6"), ("capture", "2", "5"), ("capture", "1", "4")]),
    ("on credit", {"amounts": [], "limit": "5"}, [("hold", 4), ("capture", {"amount": "3"})],
     [("hold", "4", "-4"), ("capture", "3", "-3")]),
    ("partly on credit", {"amounts": ["3"], "limit": "5"},
     [("hold", 6), ("capture", {"amount": "4"})],
     [("hold", "6", "-3"), ("capture", "4", "-1")]),
    ("expired", {"amounts": ["10"]}, [("hold", 4), ("at", 15 * MINUTE)],
     [("hold", "4", "6"), ("expire", "4", "10")]),
    ("extended, then expired", {"amounts": ["10"]},
     [("hold", 4), ("extend", {"expires_in_s": 3600}), ("at", 15 * MINUTE), ("at", HOUR)],
     [("hold", "4", "6"), ("extend", "", ""), ("expire", "4", "10")]),
    ("of nothing", {"amounts": ["10"]}, [("hold", 0), ("capture", {})],
     [("hold", "0", "10"), ("capture", "0", "10")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wallet", "happens", "entries"), [pytest.param(*rest, id=what) for what, *rest in LIVES]
)
def test_the_life_of_a_hold(
    wallet: dict[str, Any], happens: list[tuple[str, Any]], entries: list[tuple[str, str, str]]
) -> None:
    wallet = dict(wallet)
    till = given(*wallet.pop("amounts"), **wallet)
    before = len(till.journal)
    for what, how in happens:
        match what:
            case "hold":
                assert hold(till, how).allowed
            case "use":
                till.use("ada", hold="h", **how)
            case "at":
                till.tick(NOW + how)
            case _:
                till.command(what, "ada", hold_id="h", **how)
        row = till.wallet("ada")
        assert row.get("holds", 0) == (till.held("ada", "h") is not None)
        assert till.wrongs() == []
    assert moves(till, before) == entries
    account = till.account("ada")
    if till.held("ada", "h") is None:
        assert "held" not in account
        assert "credit_held" not in account
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    assert till.replayed().identities == till.identities


def test_the_rest_returns_to_the_very_grants_it_came_from() -> None:
    till = given("1", "2", "3")
    hold(till, 5)
    assert till.left("ada") == {"g0": "0", "g1": "0", "g2": "1"}
    till.use("ada", "0.5", hold="h")
    till.use("ada", "1", hold="h", final=True)
    assert till.left("ada") == {"g1": "1.5", "g2": "3"}
    first, last = till.entries("ada")[-2:]
    assert first["data"]["hold"]["taken"] == [{"grant": "g0", "amount": "0.5"}]
    assert last["data"]["hold"]["taken"] == [
        {"grant": "g0", "amount": "0.5"}, {"grant": "g1", "amount": "0.5"},
    ]  # fmt: skip
    assert last["data"]["hold"]["returned"] == [
        {"grant": "g1", "amount": "1.5"}, {"grant": "g2", "amount": "2"},
    ]  # fmt: skip
    assert till.wrongs() == []


def test_what_is_above_the_hold_comes_from_what_is_free() -> None:
    till = given("1", "2", limit="1")
    hold(till, 2)
    till.use("ada", "4.5", hold="h", final=True)
    last = till.entries("ada")[-1]["data"]
    assert last["allocations"] == [
        {"grant": "g0", "amount": "1", "revenue": "1"},
        {"grant": "g1", "amount": "2", "revenue": "2"},
    ]
    assert (last["credit"], last["overdrawn"]) == ("1", "0.5")
    assert last["hold"]["taken"] == [
        {"grant": "g0", "amount": "1"}, {"grant": "g1", "amount": "1"},
    ]  # fmt: skip
    assert till.wrongs() == []


def test_a_hold_in_another_scope_pays_only_what_its_grants_may_pay_for() -> None:
    till = Till()
    till.grant("ada", "3", "only-work", scope={"meters": ["work"]}, priority=1)
    till.grant("ada", "5", "any")
    hold(till, 4)
    till.use("ada", 2, type="other", hold="h", final=True)
    last = till.entries("ada")[-1]["data"]
    assert last["hold"]["taken"] == [{"grant": "any", "amount": "1"}]
    assert last["allocations"] == [{"grant": "any", "amount": "2", "revenue": "2"}]
    assert till.left("ada") == {"only-work": "3", "any": "3"}
    assert till.wrongs() == []


# --- the decision --------------------------------------------------------------------------------


def test_the_decision_of_an_allow_with_a_hold() -> None:
    till = given("3", limit="5")
    answer = decision(hold(till, 4, id="a1"))
    entry = till.entries("ada")[-1]
    assert answer == {
        "kind": "authorization",
        "id": "a1",
        "customer": "ada",
        "command": "authorize",
        "at": at_text(NOW),
        "allowed": True,
        "reason": "ok",
        "asset": "USD",
        "amount": "4",
        "available": {"USD": "8"},
        "balance": "-1",
        "hold": {
            "id": "h",
            "amount": "4",
            "expires_at": at_text(NOW + 15 * MINUTE),
            "allocations": [{"grant": "g0", "amount": "3"}],
            "credit": "1",
        },
        "rate": "work",
        "book": "v1",
        "book_offset": 11,
        "sequence": 3,
        "digest": entry["digest"],
        "usage_lag_records": 0,
        "usage_lag_ms": 0,
    }
    assert till.held("ada", "h") == {
        "row": "hold",
        "customer": "ada",
        "id": "h",
        "authorization": "a1",
        "asset": "USD",
        "amount": "4",
        "held": "4",
        "allocations": [{"grant": "g0", "amount": "3"}],
        "credit": "1",
        "meter": "work",
        "created_at": at_text(NOW),
        "expires_at": at_text(NOW + 15 * MINUTE),
        "sequence": 3,
    }


def test_a_hold_is_named_by_its_command_unless_it_says_otherwise() -> None:
    till = given("3")
    assert till.authorize("ada", 1, id="a1", require="hold").hold.id == "a1"
    till.command("capture", "ada", hold_id="a1")
    assert till.held("ada", "a1") is None


def test_a_capture_says_what_was_booked_and_what_went_back() -> None:
    till = given("10")
    hold(till, 4)
    answer = till.command("capture", "ada", hold_id="h", amount="3").answer
    assert answer is not None
    assert (answer.amount, answer.balance, answer.reason) == ("3", "7", Reason.OK)
    assert (answer.hold.closed, answer.hold.amount, answer.hold.returned) == (True, "0", "1")


def test_a_capped_capture_says_what_it_left_uncharged() -> None:
    till = given("10", capture_policy="cap")
    hold(till, 4)
    answer = till.command("capture", "ada", hold_id="h", amount="5").answer
    assert answer is not None
    assert (answer.allowed, answer.reason) == (True, Reason.CAPTURE_EXCEEDS_HOLD)
    assert (answer.amount, answer.hold.uncharged) == ("4", "1")


def test_a_price_that_is_known_is_authorized_and_debited_at_once() -> None:
    till = given("10")
    answer = till.authorize("ada", 4, capture=True, id="a1")
    assert (answer.allowed, answer.amount, answer.balance) == (True, "4", "6")
    assert (answer.hold, answer.available) == (None, {"USD": "10"})
    assert till.statement("ada")[-1] == ("debit", "4", "6", {"g0": "4"})
    denied = till.authorize("ada", 7, capture=True)
    assert (denied.allowed, denied.shortfall, len(till.journal)) == (False, "1", 2)
    assert till.wrongs() == []


def test_a_debit_at_once_knows_its_cost_and_its_revenue() -> None:
    cost = Rate(id="c", meter="work", asset="USD", price=PerUnit(quantity="units", price="0.25"))
    till = Till(price_book(costs=[cost]))
    till.grant("ada", "10", "g", cost_basis="0.5")
    till.authorize("ada", 4, capture=True)
    data = till.entries("ada")[-1]["data"]
    assert (data["cost"], data["revenue"], data["price"]["cost_rate"]) == ("1", "2", "c")
    hold(till, 4)
    assert "revenue" not in till.entries("ada")[-1]["data"]
    till.command("capture", "ada", hold_id="h", quantities={"units": 2})
    data = till.entries("ada")[-1]["data"]
    assert (data["cost"], data["revenue"], data["price"]["cost_rate"]) == ("0.5", "1", "c")
    assert till.wrongs() == []


# --- idempotency ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{"require": "hold"}, {"capture": True}])
def test_an_allow_that_changed_something_is_remembered(how: dict[str, Any]) -> None:
    till = given("10")
    first = decision(till.authorize("ada", 6, id="a1", **how))
    entries = len(till.journal)
    till.at_ms += HOUR
    for asked in (till, till.replayed()):
        again = decision(asked.authorize("ada", 6, id="a1", time=at_text(NOW), **how))
        assert again == {**first, "duplicate": True}
        assert len(asked.journal) == entries


@pytest.mark.parametrize("how", [{"require": "hold"}, {"capture": True}])
def test_a_denial_is_decided_again(how: dict[str, Any]) -> None:
    till = given("5")
    assert not till.authorize("ada", 6, id="a1", **how).allowed
    assert till.identities.keys() == given("5").identities.keys()
    till.grant("ada", "5", "more")
    again = till.authorize("ada", 6, id="a1", **how)
    assert (again.allowed, again.duplicate) == (True, False)


@pytest.mark.parametrize("what", ["capture", "release", "extend"])
def test_a_command_about_a_hold_repeated_gets_its_first_answer(what: str) -> None:
    till = given("10")
    hold(till, 6)
    how = {"expires_in_s": 60} if what == "extend" else {}
    first = till.command(what, "ada", hold_id="h", id="c", **how).answer
    entries = len(till.journal)
    again = till.command(what, "ada", hold_id="h", id="c", **how).answer
    assert decision(again) == {**decision(first), "duplicate": True}
    assert len(till.journal) == entries


def test_usage_of_a_hold_repeated_is_captured_once() -> None:
    till = given("10")
    hold(till, 6)
    till.use("ada", 2, id="e1", hold="h")
    assert till.use("ada", 2, id="e1", hold="h").repeated
    with pytest.raises(RecordError) as found:
        till.use("ada", 2, id="e1", hold="other")
    assert found.value.reason == Reason.CONFLICT
    assert moves(till)[1:] == [("hold", "6", "4"), ("capture", "2", "4")]


# --- what cannot be ------------------------------------------------------------------------------


WRONG: list[tuple[str, str, dict[str, Any], Reason, str]] = [
    # what, the command, its fields, the reason, the field that is named
    ("no estimate", "authorize", {"require": "hold"}, Reason.ESTIMATE_MISSING, "estimate"),
    ("no estimate to capture", "authorize", {"capture": True}, Reason.ESTIMATE_MISSING,
     "estimate"),
    ("a negative estimate", "authorize",
     {"require": "hold", "estimate": {"quantities": {"units": -1}}}, Reason.BAD_QUANTITY,
     "estimate.quantities.units"),
    ("an unknown meter", "authorize",
     {"require": "hold", "meter": "fax", "estimate": {"amount": "1"}}, Reason.UNKNOWN_METER,
     "meter"),
    ("both a hold and a debit", "authorize",
     {"require": "hold", "capture": True, "estimate": {"amount": "1"}}, Reason.INVALID, "capture"),
    ("a check with a hold's terms", "authorize",
     {"hold": {"hold_id": "x"}, "estimate": {"amount": "1"}}, Reason.INVALID, "hold"),
    ("too long", "authorize",
     {"require": "hold", "hold": {"expires_in_s": 86_401}, "estimate": {"amount": "1"}},
     Reason.HOLD_TOO_LONG, "hold.expires_in_s"),
    ("too long by a millisecond", "authorize",
     {"require": "hold", "hold": {"expires_at": at_text(NOW + DAY + 1)},
      "estimate": {"amount": "1"}}, Reason.HOLD_TOO_LONG, "hold.expires_at"),
    ("over before it begins", "authorize",
     {"require": "hold", "hold": {"expires_at": at_text(NOW)}, "estimate": {"amount": "1"}},
     Reason.INVALID, "hold.expires_at"),
    ("two ends", "authorize",
     {"require": "hold", "hold": {"expires_at": at_text(NOW + 1), "expires_in_s": 1},
      "estimate": {"amount": "1"}}, Reason.INVALID, "hold.expires_at"),
    ("an open hold's id", "authorize",
     {"require": "hold", "hold": {"hold_id": "h"}, "estimate": {"amount": "1"}},
     Reason.HOLD_EXISTS, "hold.hold_id"),
    ("a closed hold's id", "authorize",
     {"require": "hold", "hold": {"hold_id": "done"}, "estimate": {"amount": "1"}},
     Reason.HOLD_EXISTS, "hold.hold_id"),
    *[(f"{kind}: {state}", kind, {"hold_id": hold_id, **more}, reason, "hold_id")
      for kind, more in [("capture", {}), ("release", {}), ("extend", {"expires_in_s": 5})]
      for state, hold_id, reason in [
          ("unknown", "x", Reason.HOLD_UNKNOWN),
          ("another customer's", "bobs", Reason.HOLD_UNKNOWN),
          ("captured", "done", Reason.HOLD_CLOSED),
          ("released", "freed", Reason.HOLD_CLOSED),
          ("expired", "over", Reason.HOLD_EXPIRED),
          ("expired this instant", "ending", Reason.HOLD_EXPIRED),
      ]],
    ("both amount and quantities", "capture",
     {"hold_id": "h", "amount": "1", "quantities": {"units": 1}}, Reason.INVALID, "amount"),
    ("finer than the asset", "capture", {"hold_id": "credits", "amount": "0.001"}, Reason.INVALID,
     "amount"),
    ("a quantity below zero", "capture", {"hold_id": "h", "quantities": {"units": -1}},
     Reason.BAD_QUANTITY, "quantities.units"),
    ("a quantity nobody prices", "capture", {"hold_id": "h", "quantities": {"pages": 1}},
     Reason.UNPRICED, "quantities"),
    ("more than there are numbers for", "capture", {"hold_id": "h", "amount": "9" * 26},
     Reason.INVALID, "amount"),
    ("extended to no time", "extend", {"hold_id": "h"}, Reason.INVALID, "expires_at"),
    ("extended into the past", "extend", {"hold_id": "h", "expires_at": at_text(NOW)},
     Reason.INVALID, "expires_at"),
    ("extended for too long", "extend", {"hold_id": "h", "expires_at": at_text(NOW + DAY)},
     Reason.HOLD_TOO_LONG, "expires_at"),
    ("used before with other content", "release", {"hold_id": "h", "id": "again"},
     Reason.CONFLICT, "id"),
]  # fmt: skip


def lived() -> Till:
    """A wallet with a hold in every state; it is NOW at its end."""
    till = given("50")
    till.grant("ada", "50", "c", asset="credit", cost_basis="0.01")
    till.grant("bob", "5", "b")
    till.at_ms = NOW - MINUTE
    hold(till, 1, "over", hold={"expires_in_s": 1})
    hold(till, 1, "ending", hold={"expires_in_s": 60})
    hold(till, 1, "done")
    till.command("capture", "ada", hold_id="done")
    hold(till, 1, "freed")
    till.command("release", "ada", hold_id="freed", id="again")
    till.authorize("bob", 1, require="hold", hold={"hold_id": "bobs"})
    hold(till, 1, "credits", dimensions={"in": "credit"})
    hold(till, 5)
    till.tick(NOW - 1)
    till.at_ms = NOW
    return till


@pytest.mark.parametrize(
    ("kind", "fields", "reason", "field"), [pytest.param(*rest, id=what) for what, *rest in WRONG]
)
def test_a_reason_each_and_the_money_unchanged(
    kind: str, fields: dict[str, Any], reason: Reason, field: str
) -> None:
    till = lived()
    for asked in (till, till.replayed()):
        before = asked.bytes_of_rows()
        fields = {"id": "new", **({"meter": "work"} if kind == "authorize" else {}), **fields}
        with pytest.raises(RecordError) as found:
            asked.command(kind, "ada", **fields)
        assert (found.value.reason, found.value.field) == (reason, field)
        assert asked.bytes_of_rows() == before
        assert len(asked.journal) == len(till.journal)
    assert till.wrongs() == []


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nobody's", "hold_unknown"),
        ("bobs", "hold_unknown"),
        ("done", "hold_closed"),
        ("freed", "hold_closed"),
        ("over", "hold_expired"),
        ("credits", "the hold is in credit"),
    ],
)
def test_usage_that_names_no_open_hold_is_debited_as_usual(named: str, reason: str) -> None:
    till = lived()
    held, balance = till.account("ada")["held"], till.balance("ada")
    till.use("ada", 2, hold=named, final=True, team="red")
    last = till.entries("ada")[-1]
    assert last["type"] == "drawdown.entry.debit"
    assert (last["data"]["amount"], last["data"]["reason"]) == ("2", reason)
    assert last["data"]["usage"]["dimensions"] == {"team": "red"}
    assert till.account("ada")["held"] == held
    assert float(till.balance("ada")) == float(balance) - 2
    assert till.wrongs() == []


def test_usage_that_names_a_hold_whose_time_is_over_ends_it_first() -> None:
    till = given("10")
    hold(till, 10, hold={"expires_in_s": 1})
    till.at_ms += SECOND
    decided = till.use("ada", 3, hold="h")
    assert moves(till)[2:] == [("expire", "10", "10"), ("debit", "3", "7")]
    assert decided.overdrawn == 0
    assert till.entries("ada")[-2]["data"]["cause"] == {
        "timer": "hold", "due_at": at_text(NOW + SECOND),
    }  # fmt: skip
    assert till.use("ada", 3, id=till.entries("ada")[-1]["data"]["id"], hold="h").repeated
    till.tick()
    assert len(till.journal) == 4
    assert till.wrongs() == []


@pytest.mark.parametrize("data", [{"hold": 5}, {"hold": ""}, {"hold": "a\x1fb"}, {"hold": None},
                                  {"hold": "h", "final": "true"}, {"hold": "x" * 257}])  # fmt: skip
def test_what_can_be_no_holds_id_is_a_dead_letter(data: dict[str, Any]) -> None:
    till = given("10")
    with pytest.raises(RecordError) as found:
        till.use("ada", 3, **data)
    assert found.value.reason == Reason.INVALID
    assert str(found.value.field).startswith("data.")


def test_final_is_a_dimension_like_any_where_no_hold_is_named() -> None:
    till = given("10")
    till.use("ada", 1, final=True)
    assert till.entries("ada")[-1]["data"]["usage"]["dimensions"] == {"final": "true"}


@pytest.mark.parametrize(
    ("final", "held", "kinds"),
    [(False, "4", ["grant", "hold", "capture", "unpriced"]),
     (True, None, ["grant", "hold", "capture", "release", "unpriced"])],
)  # fmt: skip
def test_usage_without_a_price_releases_its_hold_if_it_is_the_last(
    final: bool, held: str | None, kinds: list[str]
) -> None:
    till = given("10")
    hold(till, 4)
    till.use("ada", type="other", units=0, hold="h", final=False)
    book = price_book("v2", rates=[price_book().rates[0].model_copy(update={"match": {"a": "b"}})])
    till.publish(book, NOW + 1)
    till.at_ms += 2
    till.use("ada", 1, hold="h", final=final)
    assert [line[0] for line in till.statement("ada")] == kinds
    assert till.account("ada").get("held") == held
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()


# --- limits --------------------------------------------------------------------------------------


def test_as_many_holds_as_the_terms_allow() -> None:
    till = given("10", holds_max=2)
    assert hold(till, 1, "a").allowed
    assert hold(till, 1, "b").allowed
    denied = hold(till, 1, "c")
    assert (denied.allowed, denied.reason) == (False, Reason.TOO_MANY_HOLDS)
    assert till.authorize("ada", 1).allowed, "a check needs no hold"
    till.command("release", "ada", hold_id="a")
    assert hold(till, 1, "c").allowed


def test_a_balance_too_far_behind_is_no_balance() -> None:
    from drawdown.events.codec import decode_command
    from drawdown.ledger.decide import decide_command
    from drawdown.ledger.identity import command_key
    from drawdown.ledger.journal import Origin
    from drawdown.ledger.outcome import Moment

    till = given("10")
    command = decode_command(
        f'{{"type":"authorize","id":"a","customer":"ada","time":"{at_text(NOW)}","meter":"work"'
        ',"require":"hold","estimate":{"amount":"1"},"max_usage_lag_ms":500}'.encode()
    )
    for lag_ms, reason in [(500, Reason.OK), (501, Reason.BALANCE_STALE)]:
        now = Moment(NOW, 7, lag_ms)
        decided = decide_command(
            till, command, command_key("ada", "a"), Origin("commands"), till.books, now
        )
        assert decided.answer is not None
        assert (decided.answer.reason, decided.answer.usage_lag_ms) == (reason, lag_ms)
        assert len(decided.entries) == (reason == Reason.OK)


# --- time ----------------------------------------------------------------------------------------


def test_a_hold_ends_at_the_very_instant_it_expires() -> None:
    for at_ms, done in [(NOW + SECOND - 1, True), (NOW + SECOND, False)]:
        till = given("10")
        hold(till, 4, hold={"expires_in_s": 1})
        till.at_ms = at_ms
        if done:
            till.command("capture", "ada", hold_id="h")
        else:
            with pytest.raises(RecordError):
                till.command("capture", "ada", hold_id="h")
        till.tick()
        assert till.balance("ada") == ("6" if done else "10")
        assert till.wrongs() == []


def test_a_hold_may_be_extended_up_to_a_day_after_it_was_made() -> None:
    till = given("10")
    hold(till, 4)
    till.at_ms += 10 * MINUTE
    answer = till.command("extend", "ada", hold_id="h", expires_at=at_text(NOW + DAY)).answer
    assert answer is not None
    assert answer.hold.amount == "4"
    assert at_text(NOW + DAY) == decision(answer)["hold"]["expires_at"]
    till.tick(NOW + DAY - 1)
    assert till.held("ada", "h") is not None
    till.tick(NOW + DAY)
    assert till.held("ada", "h") is None


def test_a_grant_that_expires_while_held_can_still_be_captured() -> None:
    till = Till()
    till.grant("ada", "10", "g", expires_at=NOW + MINUTE)
    hold(till, 4)
    till.tick(NOW + MINUTE)
    assert till.account("ada") == {
        "available": "0", "balance": "0", "held": "4", "granted": "10", "lapsed": "6",
    }  # fmt: skip
    till.command("capture", "ada", hold_id="h", amount="3")
    assert till.account("ada")["available"] == "0", "what returned is over and not to be spent"
    assert not till.authorize("ada", 1).allowed
    till.tick()
    assert moves(till) == [
        ("grant", "10", "10"), ("hold", "4", "6"), ("lapse", "6", "0"), ("capture", "3", "1"),
        ("lapse", "1", "0"),
    ]  # fmt: skip
    assert till.left("ada") == {}
    assert till.wrongs() == []


def test_a_hold_never_takes_a_grant_past_its_expiry_whether_or_not_it_lapsed() -> None:
    till = Till()
    till.grant("ada", "10", "g", expires_at=NOW + MINUTE)
    till.at_ms = NOW + MINUTE
    assert hold(till, 1).reason == Reason.INSUFFICIENT_BALANCE


def test_the_wallets_timer_is_that_of_what_remains_and_not_of_what_is_held() -> None:
    till = Till()
    till.grant("ada", "4", "g", expires_at=NOW + MINUTE)
    till.grant("ada", "4", "later", expires_at=NOW + HOUR)
    due = []
    for step in (
        lambda: hold(till, 4),
        lambda: till.use("ada", 2),
        lambda: till.command("release", "ada", hold_id="h"),
        lambda: till.use("ada", 4),
    ):
        step()
        due.append(till.row("ada").due_ms)
        till.tick(till.at_ms)
    assert due == [NOW + HOUR, NOW + HOUR, NOW + MINUTE, NOW + HOUR]


# --- credit --------------------------------------------------------------------------------------


def test_a_new_grant_pays_no_credit_that_is_only_held() -> None:
    till = given(limit="5")
    till.use("ada", 1)
    hold(till, 3)
    assert till.account("ada") == {
        "available": "1", "balance": "-4", "held": "3", "credit_limit": "5", "credit_used": "4",
        "debited": "1", "credit_held": "3",
    }  # fmt: skip
    till.grant("ada", "10", "g")
    assert till.left("ada") == {"g": "9"}
    till.command("release", "ada", hold_id="h")
    assert till.account("ada") == {
        "available": "14", "balance": "9", "unspent": "9", "credit_limit": "5", "granted": "10",
        "debited": "1",
    }  # fmt: skip
    assert till.wrongs() == []


def test_credit_is_revenue_when_it_is_captured() -> None:
    till = given(limit="5")
    hold(till, 3)
    assert "revenue" not in till.wallet("ada")
    till.command("capture", "ada", hold_id="h", amount="2")
    assert till.wallet("ada")["revenue"] == "2"
    till.grant("ada", "10", "g")
    assert till.left("ada") == {"g": "8"}
    assert till.wallet("ada")["revenue"] == "2"
    assert till.wrongs() == []


# --- alerts --------------------------------------------------------------------------------------


def test_holding_crosses_a_threshold_and_giving_back_arms_it_again() -> None:
    till = given("10", thresholds={"USD": ["5"]})
    crossed = []
    for step in (
        lambda: till.command(
            "authorize", "ada", id="h", meter="work", require="hold", estimate={"amount": "6"}
        ),
        lambda: till.use("ada", 5, hold="h"),
        lambda: till.command("release", "ada", hold_id="h"),
        lambda: till.use("ada", 1),
    ):  # fmt: skip
        crossed.append([crossing.after for crossing in step().crossed])
    assert crossed == [[4 * 10**12], [], [], [4 * 10**12]]


# --- terms ---------------------------------------------------------------------------------------


def test_the_terms_say_what_holds_for_holds_and_outages() -> None:
    till = given("1", capture_policy="cap")
    till.command("set_terms", "ada", outage={"mode": "open", "amount": "5.00"})
    till.command("set_terms", "ada", holds_max=3)
    row = till.wallet("ada")
    outage = {"mode": "open", "amount": "5", "asset": "USD"}
    assert (row["capture_policy"], row["outage"], row["holds_max"]) == ("cap", outage, 3)
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    till.command("set_terms", "ada", outage={"mode": "closed"}, capture_policy="allow")
    row = till.wallet("ada")
    assert (row["capture_policy"], row.get("outage"), row["holds_max"]) == ("allow", None, 3)


@pytest.mark.parametrize(
    ("outage", "field"),
    [
        ({"mode": "open"}, "outage.amount"),
        ({"mode": "closed", "amount": "5"}, "outage.amount"),
        ({"mode": "open", "amount": "5", "asset": "gold"}, "outage.asset"),
        ({"mode": "open", "amount": "0.001", "asset": "credit"}, "outage.amount"),
    ],
)
def test_an_outage_policy_that_cannot_be(outage: dict[str, Any], field: str) -> None:
    with pytest.raises(RecordError) as found:
        given("1").command("set_terms", "ada", outage=outage)
    assert (found.value.reason, found.value.field) == (Reason.INVALID, field)
