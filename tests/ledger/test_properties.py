"""Money, whatever happens in whatever order: nothing is made, lost or counted twice.

Hypothesis plays the customers, the operator and the clock; a plain model of the balance and the
judge, which share no code with the ledger, look over its shoulder.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.till import DAY, HOUR, MINUTE, Till, price_book

from drawdown.events.base import at_text
from drawdown.events.codec import RecordError, encode
from drawdown.events.numbers import amount_of
from drawdown.events.pricebook import PerUnit, Rate
from drawdown.ledger.rows import hold_record, row_bytes, row_of, wallet_record
from drawdown.ledger.values import Hold, Wallet

CUSTOMERS = ("ada", "bob")
ASSETS = ("USD", "credit", "token")
DIMENSIONS = {"USD": {}, "credit": {"in": "credit"}, "token": {"in": "token"}}
PLACES = {"USD": 12, "credit": 2, "token": 0}

BOOK = price_book(
    thresholds={"USD": ["5", "1", "0.000000000001"], "credit": ["3"]},
    rates=[
        # A third of a dollar: every other charge is rounded.
        Rate(id="w", meter="work", asset="USD", price=PerUnit(quantity="units", price="1", per=3)),
        Rate(
            id="team",
            meter="work",
            match={"team": "red"},
            asset="USD",
            price=PerUnit(quantity="units", price="0.0000000000001"),
        ),
        *price_book().rates[1:],
    ],
    costs=[
        Rate(id="c", meter="work", asset="USD", price=PerUnit(quantity="units", price="1", per=7))
    ],
)


def amounts(asset: str) -> st.SearchStrategy[str]:
    places = PLACES[asset]
    return st.integers(1, 20 * 10**places).map(
        lambda number: str(Decimal(number).scaleb(-places)) if places < 7 else _text(number, places)
    )


def _text(number: int, places: int) -> str:
    whole, rest = divmod(number, 10**places)
    return f"{whole}.{rest:0{places}d}"


UNITS = st.integers(0, 30) | st.decimals(0, 30, places=3).map(str)


@st.composite
def grants(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    asset = draw(st.sampled_from(ASSETS))
    category = draw(st.sampled_from(["paid", "promotional", "included"]))
    content: dict[str, Any] = {
        "asset": asset,
        "amount": draw(amounts(asset)),
        "category": category,
        "priority": draw(st.integers(0, 3)),
    }
    if category == "paid" and asset != "USD":
        content["cost_basis"] = draw(st.sampled_from(["0.01", "0.333333333", "0"]))
    start = draw(st.sampled_from([None, -1, 0, 2]))
    end = draw(st.sampled_from([None, 3, 4, 6]))
    if start is not None:
        content["effective_in"] = start
    if end is not None:
        content["expires_in"] = end
    scope = draw(st.sampled_from([{}, {"meters": ["other"]}, {"dimensions": {"team": ["red"]}}]))
    return "grant", {**content, "scope": scope}


@st.composite
def uses(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    return "use", {
        "units": draw(UNITS),
        "type": draw(st.sampled_from(["work", "work", "other"])),
        **DIMENSIONS[draw(st.sampled_from(ASSETS))],
        **draw(st.sampled_from([{}, {"team": "red"}, {"costs": {"v": "0.1"}}])),
    }


HOLDS = st.sampled_from(["h1", "h2", "h3"])


@st.composite
def about_holds(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    named = {"hold_id": draw(HOLDS)}
    match draw(st.sampled_from(["hold", "hold", "use", "use", "capture", "release", "extend"])):
        case "hold":
            return "hold", {
                **named,
                "units": draw(UNITS),
                "seconds": draw(st.sampled_from([60, 3600, DAY // 1000])),
                "dimensions": DIMENSIONS[draw(st.sampled_from(ASSETS))],
            }
        case "use":
            _, used = draw(uses())
            return "use", {**used, "hold": named["hold_id"], "final": draw(st.booleans())}
        case "capture":
            how: dict[str, Any] = draw(
                st.sampled_from([{}, {"amount": "3"}])
                | UNITS.map(lambda units: {"quantities": {"units": units}})
            )
            return "command", {"kind": "capture", **named, **how, "final": draw(st.booleans())}
        case "release":
            return "command", {"kind": "release", **named}
        case _:
            return "command", {"kind": "extend", **named, "expires_in_s": 7200}


LIMITS = st.dictionaries(st.sampled_from(ASSETS), st.sampled_from(["0", "2", "5"]), min_size=1)
STEP = (
    grants()
    | uses()
    | uses()
    | about_holds()
    | about_holds()
    | LIMITS.map(lambda limits: ("terms", {"credit_limits": limits}))
    | st.sampled_from(["allow", "cap"]).map(lambda how: ("terms", {"capture_policy": how}))
    | st.sampled_from([MINUTE, HOUR]).map(lambda ms: ("wait", {"ms": ms}))
    | UNITS.map(lambda units: ("debit", {"units": units}))
    | st.just(("again", {}))
    | st.integers(0, 3).map(lambda days: ("days", {"days": days}))
    | UNITS.map(lambda units: ("ask", {"units": units}))
)
HELD: list[Any] = [
    ("ada", ("grant", {"asset": "USD", "amount": "30", "category": "paid", "priority": 1})),
    ("ada", ("terms", {"credit_limits": {"USD": "5"}})),
] + [
    ("ada", ("hold", {"hold_id": hold_id, "units": units, "seconds": 3600, "dimensions": {}}))
    for hold_id, units in [("h1", 21), ("h2", "80.001")]
]
STEPS = st.lists(st.tuples(st.sampled_from(CUSTOMERS), STEP), max_size=25) | st.lists(
    st.tuples(st.just("ada"), about_holds() | about_holds() | STEP), min_size=6, max_size=30
).map(lambda steps: [*HELD, *steps])
"""Lives of two customers; or of one who has something to hold."""


def play(till: Till, step: tuple[str, tuple[str, dict[str, Any]]]) -> None:
    """One step; what cannot be is refused and must change nothing."""
    customer, (kind, content) = step
    content = dict(content)
    before = dict(till.rows), len(till.journal)
    try:
        match kind:
            case "grant":
                for ours, theirs in (
                    ("effective_in", "effective_at"),
                    ("expires_in", "expires_at"),
                ):
                    if ours in content:
                        days: int = content.pop(ours)
                        content[theirs] = at_text(till.at_ms + days * DAY)
                till.command("grant", customer, **content)
            case "use":
                till.use(customer, **content)
            case "terms":
                till.command("set_terms", customer, **content)
            case "again" if till.journal:
                _send_again(till)
                assert (dict(till.rows), len(till.journal)) == before
            case "hold":
                terms = {"hold_id": content["hold_id"], "expires_in_s": content["seconds"]}
                allowed = till.authorize(
                    customer,
                    content["units"],
                    require="hold",
                    hold=terms,
                    dimensions=content["dimensions"],
                ).allowed
                assert allowed or (dict(till.rows), len(till.journal)) == before
            case "debit":
                till.authorize(customer, content["units"], capture=True)
            case "command":
                till.command(content.pop("kind"), customer, **content)
            case "wait":
                till.tick(till.at_ms + content["ms"])
            case "days":
                till.tick(till.at_ms + content["days"] * DAY)
            case "ask":
                _ask(till, customer, content["units"])
                assert (dict(till.rows), len(till.journal)) == before
    except RecordError:
        assert (dict(till.rows), len(till.journal)) == before


def _send_again(till: Till) -> None:
    """The last usage event, as its entry tells it."""
    for value in reversed(till.journal):
        entry = json.loads(value)
        usage = entry["data"].get("usage")
        if usage and "source" in entry["data"] and "cost" not in entry["data"]:
            meter = usage["meter"]
            till.use(
                entry["subject"],
                id=entry["data"]["id"],
                type=meter,
                **usage["quantities"],
                **usage["dimensions"],
            )
            return


def _ask(till: Till, customer: str, units: Any) -> None:
    """An allow must be affordable, a denial must not; and using it must not overdraw."""
    answer = till.authorize(customer, units)
    if answer.reason == "unknown_customer":
        assert till.rows.get(customer) is None
        return
    trial = till.replayed()
    trial._ids = till._ids  # its events are new ones
    trial.at_ms = till.at_ms
    overdrawn = trial.use(customer, units).overdrawn
    if answer.allowed:
        assert overdrawn == 0
    elif Fraction(str(units)):
        assert overdrawn == amount_of(answer.shortfall)


@given(STEPS)
@settings(max_examples=150)
def test_money_is_conserved_at_every_sequence(steps: list[Any]) -> None:
    till = Till(BOOK)
    balances: dict[tuple[str, str], int] = {}
    seen = 0
    for step in steps:
        play(till, step)
        for value in till.journal[seen:]:
            _check_entry(json.loads(value), balances)
        seen = len(till.journal)
        held = [row for row in till.rows.values() if isinstance(row, Hold)]
        for hold in held:
            assert hold.held == sum(part.amount for part in hold.parts) + hold.credit
        for wallet in till.rows.values():
            if not isinstance(wallet, Wallet):
                continue
            mine = [hold for hold in held if hold.customer == wallet.customer]
            assert wallet.holds == len(mine)
            for account in wallet.accounts.values():
                assert account.imbalance == 0
                assert account.unspent >= 0
                assert account.overdrawn >= 0
                # A limit may be lowered below what is used; nothing else takes more than it.
                assert account.credit_used >= 0
                assert account.balance == balances.get((wallet.customer, account.asset), 0)
                live = [g for g in wallet.grants if g.terms.asset == account.asset]
                assert account.unspent == sum(grant.remaining for grant in live)
                here = [hold for hold in mine if hold.asset == account.asset]
                assert account.held == sum(hold.held for hold in here)
                assert account.credit_held == sum(hold.credit for hold in here)
                assert 0 <= account.credit_held <= account.credit_used
            for grant in wallet.grants:
                assert min(grant.remaining, grant.held) >= 0
                assert 0 < grant.remaining + grant.held <= grant.terms.amount
                parts = [p for hold in mine for p in hold.parts if p.grant == grant.terms.id]
                assert grant.held == sum(part.amount for part in parts)
    assert till.wrongs() == []


def _check_entry(entry: dict[str, Any], balances: dict[tuple[str, str], int]) -> None:
    """Parts sum to the whole; before and after are what a plain sum says."""
    data = entry["data"]
    if "asset" not in data:
        return
    kind = entry["type"].rpartition(".")[2]
    amount = amount_of(data["amount"])
    parts = sum(amount_of(part["amount"]) for part in data.get("allocations", []))
    revenue = sum(amount_of(part.get("revenue", "0")) for part in data.get("allocations", []))
    credit, overdrawn = (amount_of(data.get(name, "0")) for name in ("credit", "overdrawn"))
    key = entry["subject"], data["asset"]
    assert amount_of(data["before"]) == balances.get(key, 0)
    hold = data.get("hold", {})
    returned = _of_hold(hold, "returned")
    if kind == "grant":
        assert (parts, credit <= 0, overdrawn <= 0) == (0, True, True)
        balances[key] = balances.get(key, 0) + amount
    elif kind in ("release", "expire"):
        assert (parts, credit, overdrawn, returned) == (0, 0, 0, amount)
        balances[key] += amount
    elif kind == "capture":
        assert parts + credit + overdrawn == amount
        taken = _of_hold(hold, "taken")
        assert taken <= min(amount_of(hold["before"]), amount)
        assert amount_of(hold["before"]) - taken - returned == amount_of(hold["after"])
        assert not overdrawn or amount > taken
        balances[key] += taken + returned - amount
    else:
        assert parts + credit + overdrawn == amount
        assert all(amount_of(part["amount"]) > 0 for part in data.get("allocations", []))
        balances[key] = balances.get(key, 0) - amount
    assert amount_of(data["after"]) == balances[key]
    if kind == "hold" or (kind == "debit" and "source" not in data):
        assert overdrawn == 0, "what was authorized was there"
    if kind in ("debit", "capture"):
        on_credit = credit if data["asset"] == "USD" else 0
        assert amount_of(data.get("revenue", "0")) == revenue + on_credit


def _of_hold(hold: dict[str, Any], name: str) -> int:
    parts = sum(amount_of(part["amount"]) for part in hold.get(name, []))
    return parts + amount_of(hold.get(f"{name}_credit", "0"))


@given(STEPS)
@settings(max_examples=60)
def test_a_replay_of_the_journal_gives_the_same_bytes(steps: list[Any]) -> None:
    till = Till(BOOK)
    for step in steps:
        play(till, step)
    rebuilt = till.replayed()
    assert rebuilt.bytes_of_rows() == till.bytes_of_rows()
    assert rebuilt.identities == till.identities
    assert rebuilt.journal == till.journal
    for key, row in till.rows.items():
        if row is None:
            continue
        generic = wallet_record(row) if isinstance(row, Wallet) else hold_record(row)
        assert row_bytes(row) == encode(generic)
        read = row_of(row_bytes(row))
        assert read == row, key


@given(STEPS, st.integers(0, 24))
@settings(max_examples=40)
def test_it_does_not_matter_where_a_ledger_was_rebuilt(steps: list[Any], cut: int) -> None:
    """Half the life in one process, half in one that knows only the journal."""
    whole, first = Till(BOOK), Till(BOOK)
    for step in steps:
        play(whole, step)
    for step in steps[:cut]:
        play(first, step)
    second = first.replayed()
    second._ids, second._record = first._ids, first._record
    for step in steps[cut:]:
        play(second, step)
    assert second.journal == whole.journal
    assert second.bytes_of_rows() == whole.bytes_of_rows()


@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=12), st.integers(1, 10**14))
def test_available_is_never_counted_twice(parts: list[int], there: int) -> None:
    """Uses that are each asked about first take exactly what is there, and not a bit more."""
    till = Till(
        price_book(
            rates=[
                Rate(id="w", meter="work", asset="USD", price=PerUnit(quantity="units", price="1"))
            ]
        )
    )
    till.grant("ada", _text(there, 12), "g")
    allowed = 0
    for part in parts:
        text = _text(part, 12)
        assert till.authorize("ada", text).allowed == (allowed + part <= there)
        if allowed + part <= there:
            till.use("ada", text)
            allowed += part
    assert amount_of(till.account("ada").get("debited", "0")) == allowed
    assert "overdrawn" not in till.account("ada")


@given(
    st.integers(1, 30),
    st.integers(0, 40),
    st.integers(1, 10**13),
    st.integers(0, 10**13 - 1),
    st.integers(0, 3),
)
@settings(max_examples=60)
def test_a_balance_worth_k_holds_gives_exactly_k(
    worth: int, more: int, price: int, rest: int, on_credit: int
) -> None:
    """However many ask; and what is captured of them in full leaves the rest, not a bit less."""
    till = Till()
    on_credit = min(on_credit, worth)
    rest %= price
    paid = (worth - on_credit) * price + rest
    if paid:
        till.grant("ada", _text(paid, 12), "g")
    limit = _text(on_credit * price, 12)
    till.command("set_terms", "ada", credit_limits={"USD": limit}, holds_max=10_000)
    answers = [till.authorize("ada", _text(price, 12), require="hold") for _ in range(worth + more)]
    assert [answer.allowed for answer in answers] == [True] * worth + [False] * more
    for answer in answers[:worth]:
        till.command("capture", "ada", hold_id=answer.hold.id)
    account = till.account("ada")
    assert amount_of(account["debited"]) == worth * price
    assert "overdrawn" not in account
    assert amount_of(account["available"]) == rest
    assert till.wrongs() == []


@given(st.integers(-2, 2), st.integers(1, 5))
def test_a_hold_ends_at_its_instant_whoever_comes_first(late_ms: int, units: int) -> None:
    """Timer or usage first: the same money, and the hold expired once."""
    balances = set()
    for timer_first in (True, False):
        till = Till()
        till.grant("ada", "10", "g")
        till.authorize("ada", 4, require="hold", hold={"hold_id": "h", "expires_in_s": 60})
        till.at_ms += MINUTE + late_ms
        if timer_first:
            till.tick()
        till.use("ada", units, hold="h", final=True)
        till.tick()
        kinds = [kind for kind, *_ in till.statement("ada")]
        ended = ["capture"] if late_ms < 0 else ["expire", "debit"]
        assert kinds == ["grant", "hold", *ended]
        assert "held" not in till.account("ada")
        balances.add(till.balance("ada"))
        assert till.wrongs() == []
    assert balances == {str(10 - units)}
