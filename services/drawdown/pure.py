"""The ledger without Kafka: load a price book from plain data, price, grant, hold, use, read.

It is the very code that settles in production, fed by calls instead of topics: for tests of prices,
for planning, and for anybody who wants a vendor's numbers checked. Nothing here reads a clock, a
file or the network; every call says when it happens. Stable: what this module names stays.

Prices are data, as in the file of `drawdown price-book`. Numbers are decimal text, `int` or
`Decimal`; a float is refused, because it is not the number that was written.

>>> from drawdown.pure import Ledger
>>> ledger = Ledger({
...     "version": "2027-01",
...     "assets": [{"code": "USD", "scale": 12}],
...     "meters": [{"id": "egress", "event_types": ["egress"], "fields": {"gb": "gb"}}],
...     "rates": [{
...         "id": "egress", "meter": "egress", "asset": "USD",
...         "price": {"model": "graduated", "quantity": "gb", "period": "month", "tiers": [
...             {"up_to": 100, "price": "0.10"}, {"price": "0.05"}]},
...     }],
... }, at="2027-01-15T08:00:00Z")

Price a use without booking it; then grant, use, and read what is left.

>>> price(ledger.book(), "egress", {"gb": 30}, at="2027-01-15T08:00:00Z").amount
'3'
>>> _ = ledger.grant("ada", "20", grant_id="top-up")
>>> entry = ledger.use("ada", "egress", {"gb": 90})
>>> entry["data"]["amount"], ledger.balance("ada")
('9', '11')
>>> ledger.use("ada", "egress", {"gb": 30})["data"]["running"]["after"]
'120'
>>> ledger.balance("ada")
'9'

Hold before the work, capture after it; what was not used returns.

>>> allowed = ledger.authorize("ada", "egress", quantities={"gb": 100}, hold="run-1")
>>> allowed["allowed"], allowed["amount"], ledger.wallet("ada")["accounts"][0]["available"]
(True, '5', '4')
>>> _ = ledger.use("ada", "egress", {"gb": 60, "hold": "run-1", "final": True})
>>> ledger.balance("ada")
'6'
>>> ledger.authorize("ada", "egress", quantities={"gb": 1000})["shortfall"]
'44'

Time goes on: periods end, holds and grants expire, each as its timer would have it.

>>> ledger.advance("2027-02-01T00:00:00Z")
[]
>>> ledger.use("ada", "egress", {"gb": 10})["data"]["amount"]
'1'
>>> [(e["type"].rpartition(".")[2], e["data"].get("amount")) for e in ledger.entries("ada")]
[('grant', '20'), ('debit', '9'), ('debit', '2'), ('hold', '5'), ('capture', '3'), ('debit', '1')]

A statement sums a period up, line by line; issued, it does not change, and what is used before its
end but arrives later is in the next one.

>>> january = ledger.statement("ada", month="2027-01")
>>> for line in january["assets"][0]["lines"]:
...     print(f"{line['kind']:<9}{line['amount']:>4}")
granted    20
debited   -11
captured   -3
>>> january["assets"][0]["closing"]["balance"], january["revenue"]["deferred_closing"]
('6', '6')
>>> ledger.issue("ada", month="2027-01")["statement"]
1
>>> _ = ledger.use("ada", "egress", {"gb": 10}, time="2027-01-31T23:59:59Z")
>>> february = ledger.statement("ada", month="2027-02")
>>> [(line["kind"], line["amount"], line.get("late")) for line in february["assets"][0]["lines"]]
[('debited', '-1', None), ('debited', '-0.5', '2027-01')]

A use can be priced anew by another version, as a reversal and a new debit; a customer's own rate
wins over those of a plan and those for all.

>>> free = {"id": "ada", "meter": "egress", "asset": "USD", "customer": "ada",
...         "price": {"model": "per_unit", "quantity": "gb", "price": "0"}}
>>> _ = ledger.publish({
...     "version": "2027-03", "assets": [{"code": "USD", "scale": 12}],
...     "meters": [{"id": "egress", "event_types": ["egress"], "fields": {"gb": "gb"}}],
...     "rates": [free],
... }, effective_at="2027-03-01T00:00:00Z")
>>> done = ledger.rerate("ada", 6, run="goodwill", reason="promised", book="2027-03")
>>> done["amount"], ledger.balance("ada"), ledger.entries("ada")[-1]["data"]["price"]["own"]
('0', '5.5', 'customer ada')

Plans are in the book as well: fees, grants and rights, cycle by cycle.

>>> ledger = Ledger({
...     "version": "2027-01",
...     "assets": [{"code": "USD", "scale": 2}, {"code": "credit", "scale": 0}],
...     "meters": [{"id": "chat", "event_types": ["chat"], "fields": {"credits": "credits"}}],
...     "rates": [{"id": "chat", "meter": "chat", "asset": "credit",
...                "price": {"model": "per_unit", "quantity": "credits", "price": 1}}],
...     "plans": [{
...         "id": "team",
...         "phases": [{"id": "trial", "days": 14, "fees": []}, {"id": "paid"}],
...         "fees": [{"id": "seats", "asset": "USD", "amount": 19, "per": "seat"}],
...         "grants": [{"id": "pool", "asset": "credit", "amount": 1900, "per": "seat"}],
...         "entitlements": [{"id": "sso"}, {"id": "chats", "meter": "chat", "limit": 2000}],
...     }],
... }, at="2027-01-01T00:00:00Z")
>>> ledger.subscribe("acme", "team", subscription="main", seats=2)["subscription"]["ends_at"]
'2027-01-15T00:00:00Z'
>>> ledger.balance("acme", "credit")
'3800'
>>> entries = ledger.advance("2027-01-16T00:00:00Z")
>>> [(e["type"].rpartition(".")[2], e["data"].get("amount")) for e in entries]
[('subscription', None), ('fee', None), ('grant', '3800'), ('lapse', '3800')]
>>> entries[1]["data"]["fee"]["amount"]
'38'

More seats mid-cycle: their part of the fee for the rest of it, and what they include at once.

>>> _ = ledger.change_subscription("acme", "main", seats=5, at="2027-01-30T12:00:00Z")
>>> [e["data"]["fee"]["amount"] for e in ledger.entries("acme") if "fee" in e["data"]]
['38', '-19', '47.5']
>>> _ = ledger.use("acme", "chat", {"credits": 1950, "member": "bea"})
>>> ledger.balance("acme", "credit"), ledger.entitlements("acme")[1]["left"]
('7550', '50')
>>> ledger.authorize("acme", "chat", quantities={"credits": 60})["reason"]
'entitlement_exceeded'
>>> _ = ledger.cancel_subscription("acme", "main")
>>> _ = ledger.advance("2027-02-15T00:00:00Z")
>>> ledger.subscriptions("acme")[0]["status"], ledger.balance("acme", "credit")
('ended', '0')

Budgets cap what a team, a key, a session uses; all that a use is in must have room. A block stops a
scope at once.

>>> _ = ledger.grant("acme", 100, asset="credit", cost_basis="0.01")
>>> _ = ledger.set_budget("acme", "team", 50, scope={"team": "a"}, asset="credit")
>>> _ = ledger.set_budget("acme", "keys", 20, scope={"team": "a", "key": "*"}, asset="credit")
>>> _ = ledger.use("acme", "chat", {"credits": 15, "team": "a", "key": "k1"})
>>> asked = {"quantities": {"credits": 10}, "dimensions": {"team": "a", "key": "k1"}}
>>> denied = ledger.authorize("acme", "chat", **asked)
>>> denied["reason"], [(each["budget"], each["left"]) for each in denied["limits"]]
('budget_exceeded', [('keys', '5'), ('team', '35')])
>>> [(each["id"], each.get("parent"), each.get("state", {}).get("used")) for each in
...     ledger.budgets("acme")]
[('keys', 'team', None), ('team', None, '15')]
>>> [(each["scope"], each["used"]) for each in ledger.budget_values("acme", "keys")]
[('key=k1&team=a', '15')]
>>> _ = ledger.block("acme", {"key": "k1"}, reason="leaked")
>>> ledger.authorize("acme", "chat", **asked)["reason"], len(ledger.blocks("acme"))
('blocked', 1)
>>> ledger.unblock("acme", {"key": "k1"})["allowed"], ledger.blocks("acme")
(True, [])
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError

from drawdown.events.base import EPOCH, Timestamp, at_text, milliseconds, moment
from drawdown.events.calendar import ZoneError, bounds_asked, zone_named
from drawdown.events.codec import (
    RecordError,
    decode_command,
    decode_entry,
    decode_usage,
    encode,
    encode_numbers,
)
from drawdown.events.entitled import entitlements_of
from drawdown.events.numbers import amount_text, plain_text, rational_of
from drawdown.events.pricebook import CommitRecord, PriceBook
from drawdown.events.pricemodels import DECIMAL_FIELDS
from drawdown.events.statements import Statement
from drawdown.events.structs import struct_of, to_struct
from drawdown.ledger.book import Book, BookError, Books
from drawdown.ledger.budgets import Budget, Scoped, Spent, budget_key, scope_key, spent_key
from drawdown.ledger.captures import cost_of
from drawdown.ledger.decide import decide_command, decide_timer, refused
from drawdown.ledger.digits import check_digits
from drawdown.ledger.evolve import evolve
from drawdown.ledger.holds import ended
from drawdown.ledger.identity import command_key, usage_key
from drawdown.ledger.journal import Origin
from drawdown.ledger.limit_states import blocked_scope, budget_state, value_state
from drawdown.ledger.margins import Margin, margins
from drawdown.ledger.outcome import Decided, Moment
from drawdown.ledger.prices import UnpricedError
from drawdown.ledger.pricing import Use, charge_of
from drawdown.ledger.rows import Row, row_bytes, subscription_record
from drawdown.ledger.statements import BY_DEFAULT, Period, statement_of, sums_of
from drawdown.ledger.usage import decide_usage
from drawdown.ledger.values import NEVER, Running, Subscription, Wallet, subscription_key

__all__ = ["Book", "BookError", "Ledger", "Price", "RecordError", "load", "price"]

R = TypeVar("R")
_CommitRecord = struct_of(CommitRecord)
_TIME: Final[TypeAdapter[datetime]] = TypeAdapter(Timestamp)
Time = str | int | datetime
"""RFC 3339 text with an offset, Unix milliseconds, or a datetime with a zone."""
NOTHING: Final = "0" * 64


def load(content: Mapping[str, Any], *, effective_at: Time = 0, number: int = 0) -> Book:
    """A price book from plain data: what its file says, as dicts and lists.

    `number` tells versions with the same instant apart: the higher one counts. Raises BookError
    for what cannot be, naming the field.
    """
    try:
        book = PriceBook.model_validate(_exact(content, ()))
    except ValidationError as error:
        first = error.errors()[0]
        raise BookError(".".join(map(str, first["loc"])) or "book", first["msg"]) from None
    made = to_struct(book)
    check_digits(made)
    at = moment(_ms(effective_at))
    commit = _CommitRecord(
        version=book.version,
        upload="pure",
        effective_at=at,
        published_at=at,
        reporting=book.reporting,
        thresholds=book.thresholds,
        lateness_seconds=book.lateness_days * 86_400,
        records=0,
        digest=NOTHING,
        title=book.title,
        drawdown=book.drawdown,
        conversions=made.conversions,
    )
    return Book(commit, number, made.assets, made.meters, made.rates, made.costs, made.plans)


@dataclass(frozen=True)
class Price:
    """What a use would be charged; amounts are decimal text."""

    amount: str | None
    """None where nothing prices it; below zero where it gives back."""
    asset: str | None
    rate: str | None
    match: str | None
    """`exact`, `default`, or the pattern that matched."""
    rounding: str
    """`exact` where nothing was rounded, else mode and places."""
    cost: str | None
    unpriced: str | None
    """Why nothing prices it."""


def price(
    book: Book,
    meter: str,
    data: Mapping[str, Any],
    *,
    at: Time,
    used: str | int = 0,
    customer: str = "",
    plan: str | None = None,
) -> Price:
    """Price a use of a meter, `used` being the running quantity before it in its period; by the
    rates of a customer or a plan where the book has any that match.

    Raises RecordError for data that is no use of the meter, BookError for a meter nobody knows.
    """
    counts = book.meter(meter)
    if counts is None:
        raise BookError("meters", f"no meter counts {meter!r}")
    plain = _exact(data, ())
    quantities, dimensions, _ = counts.measure(plain)
    quote = book.quote(counts, dimensions, customer, plan)
    cost = cost_of(quote, quantities)
    use = Use("", counts.id, quantities, dimensions, _ms(at), cost)
    said = None if cost is None else amount_text(cost)
    try:
        if quote.rate is None:
            raise UnpricedError(quote.missing)
        charge = charge_of(_Used(str(used), quote.rate.asset), quote.rate, use)
    except UnpricedError as missing:
        return Price(None, None, None, None, "exact", said, missing.what)
    return Price(
        amount_text(charge.amount),
        quote.rate.asset,
        quote.rate.id,
        quote.exact.match,
        "exact" if charge.exact else quote.rate.rounding,
        said,
        None,
    )


class Ledger:
    """Wallets of customers under a price book, and their journal.

    Every method takes `at`, the time it happens; without it, the time of the last one. Time never
    goes back. Answers, entries and wallets are dicts, as they stand on topics and HTTP.
    """

    def __init__(self, book: Mapping[str, Any] | Book, *, at: Time) -> None:
        """`book` is in effect from the beginning of time. Raises BookError."""
        self.at_ms = _ms(at)
        self._books = Books([book if isinstance(book, Book) else load(book)], _zone)
        self._rows: dict[str, Row | None] = {}
        self._identities: dict[bytes, bytes] = {}
        self._journal: list[bytes] = []
        self._records = 0

    # prices

    def publish(self, book: Mapping[str, Any], *, effective_at: Time, number: int = 0) -> Book:
        """Another version of the prices, for what is used from an instant on; `number` as of
        `load`, by default the next one. Raises BookError."""
        made = load(book, effective_at=effective_at, number=number or len(self._books))
        self._books = self._books.with_book(made)
        return made

    def book(self, *, at: Time | None = None) -> Book:
        """The version in effect at a time."""
        found = self._books.at(self.at_ms if at is None else _ms(at))
        assert found is not None, "one is in effect from the beginning"
        return found

    # what happens

    def use(
        self,
        customer: str,
        meter: str,
        data: Mapping[str, Any],
        *,
        at: Time | None = None,
        time: Time | None = None,
        id: str | None = None,
        source: str = "pure",
    ) -> dict[str, Any]:
        """Book a usage event; its entry, or that of the same event before. `time` is the event's
        own (default: `at`). Raises RecordError for what would be a dead letter."""
        self._goes_on(at)
        event = {
            "specversion": "1.0",
            "id": id or f"event-{self._records + 1}",
            "source": source,
            "type": meter,
            "subject": customer,
            "time": at_text(self.at_ms if time is None else _ms(time)),
            "data": _exact(data, ()),
        }
        entry: dict[str, Any] = json.loads(self.take_usage(encode_numbers(event)))
        return entry

    def take_usage(
        self, value: bytes, *, at: Time | None = None, position: tuple[int, int] | None = None
    ) -> bytes:
        """Book a usage event as it stands on its topic; its entry, as `use`, as it stands on its
        own. `position` is the event's partition and offset, which the entry states; by default the
        next one."""
        self._goes_on(at)
        event = decode_usage(value)
        key = usage_key(event)
        origin = self._origin("usage-events", position)
        decided = decide_usage(self, event, key, origin, self._books, Moment(self.at_ms))
        if decided.repeated is not None:
            sequence = int(decided.repeated.split(b" ")[0])
            return self._entries(event.subject)[sequence - 1]
        self._apply(key, decided)
        return decided.of_usage.value

    def command(
        self, kind: str, customer: str, *, at: Time | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Give a command of the topic `commands` (`grant`, `authorize`, `capture`, `release`,
        `extend`, `set_terms`, ...) with its fields; the decision, also of a refusal. Raises
        RecordError for what is no command."""
        self._goes_on(at)
        content = {
            "type": kind,
            "id": f"command-{self._records + 1}",
            "customer": customer,
            "time": at_text(self.at_ms),
            **_exact(fields, ()),
        }
        return self.take_command(encode(content))

    def take_command(
        self, value: bytes, *, at: Time | None = None, position: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Take a command as it stands on its topic; as `command`. `position` as of `take_usage`."""
        self._goes_on(at)
        command = decode_command(value)
        key = command_key(command.customer, command.id)
        now = Moment(self.at_ms)
        origin = self._origin("commands", position)
        try:
            decided = decide_command(self, command, key, origin, self._books, now)
        except RecordError as error:
            answer: dict[str, Any] = json.loads(encode(refused(command, error, now)))
            return answer
        self._apply(key, decided)
        found: dict[str, Any] = json.loads(encode(decided.answer))
        return found

    def grant(
        self, customer: str, amount: str | int | Decimal, *, asset: str = "USD", **terms: Any
    ) -> dict[str, Any]:
        """Grant an amount; `terms` are those of the command: grant_id, category, priority,
        expires_at, cost_basis, scope, ..."""
        return self.command("grant", customer, asset=asset, amount=str(amount), **terms)

    def authorize(
        self,
        customer: str,
        meter: str,
        *,
        quantities: Mapping[str, Any] | None = None,
        amount: str | None = None,
        dimensions: Mapping[str, str] | None = None,
        hold: str | None = None,
        capture: bool = False,
        at: Time | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Ask whether a use may run; with `hold`, an id, set its price aside, with `capture` debit
        it at once."""
        estimate: dict[str, Any] = {}
        if quantities is not None:
            estimate["quantities"] = dict(quantities)
        if amount is not None:
            estimate["amount"] = amount
        if hold is not None:
            fields = {"require": "hold", "hold": {"hold_id": hold}, **fields}
        if capture:
            fields["capture"] = True
        return self.command(
            "authorize",
            customer,
            at=at,
            meter=meter,
            dimensions=dict(dimensions or {}),
            estimate=estimate,
            **fields,
        )

    # plans

    def subscribe(
        self,
        customer: str,
        plan: str,
        *,
        subscription: str | None = None,
        seats: int | None = None,
        at: Time | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Subscribe to a plan of the book; `fields` are those of the command: start_at, anchor,
        reason. The decision says the subscription as it is then."""
        named = {"subscription_id": subscription, "seats": seats, **fields}
        return self.command("subscribe", customer, at=at, plan=plan, **_stated(named))

    def change_subscription(
        self,
        customer: str,
        subscription: str,
        *,
        plan: str | None = None,
        seats: int | None = None,
        when: str = "now",
        at: Time | None = None,
    ) -> dict[str, Any]:
        """Another plan, or number of seats: `now`, or from the `cycle_end` on."""
        named = {"plan": plan, "seats": seats, "when": when, "subscription_id": subscription}
        return self.command("change_subscription", customer, at=at, **_stated(named))

    def cancel_subscription(
        self, customer: str, subscription: str, *, when: str = "cycle_end", at: Time | None = None
    ) -> dict[str, Any]:
        """End a subscription: `now`, or at the `cycle_end`."""
        named = {"subscription_id": subscription, "when": when}
        return self.command("cancel_subscription", customer, at=at, **named)

    def resume_subscription(
        self, customer: str, subscription: str, *, at: Time | None = None
    ) -> dict[str, Any]:
        """Let one go on that was to end, or to change, with its cycle."""
        return self.command("resume_subscription", customer, at=at, subscription_id=subscription)

    def subscriptions(self, customer: str) -> list[dict[str, Any]]:
        """The customer's subscriptions, also those that are over, by id."""
        return [json.loads(row_bytes(row)) for row in self._subscriptions(customer)]

    def entitlements(self, customer: str) -> list[dict[str, Any]]:
        """What the customer is entitled to now."""
        rows = [subscription_record(row) for row in self._subscriptions(customer)]
        states: list[dict[str, Any]] = json.loads(encode(entitlements_of(rows)))
        return states

    def _subscriptions(self, customer: str) -> list[Subscription]:
        return self._of(Subscription, subscription_key(customer, ""))

    # limits

    def set_budget(
        self,
        customer: str,
        budget: str,
        cap: str | int | Decimal,
        *,
        reason: str | None = None,
        at: Time | None = None,
        **terms: Any,
    ) -> dict[str, Any]:
        """Set a budget by its id, or change one; `terms` are those of a budget: scope, asset,
        measure, quantity, window, meters, at_cap, alerts, within."""
        named = {"budget": {**terms, "cap": str(cap)}, "reason": reason}
        return self.command("set_budget", customer, at=at, budget_id=budget, **_stated(named))

    def remove_budget(
        self, customer: str, budget: str, *, reason: str | None = None, at: Time | None = None
    ) -> dict[str, Any]:
        """Remove a budget, with what was counted in it."""
        named = _stated({"reason": reason})
        return self.command("remove_budget", customer, at=at, budget_id=budget, **named)

    def block(
        self,
        customer: str,
        scope: Mapping[str, str],
        *,
        reason: str,
        until: Time | None = None,
        at: Time | None = None,
    ) -> dict[str, Any]:
        """Block a scope, such as `{"key": "k1"}`: nothing of it is authorized any more, from the
        next decision on. The empty scope is the customer."""
        until_at = None if until is None else at_text(_ms(until))
        named = _stated({"reason": reason, "until_at": until_at})
        return self.command("block", customer, at=at, scope=dict(scope), **named)

    def unblock(
        self,
        customer: str,
        scope: Mapping[str, str],
        *,
        reason: str | None = None,
        at: Time | None = None,
    ) -> dict[str, Any]:
        """Let a scope that was blocked run again."""
        named = _stated({"reason": reason})
        return self.command("unblock", customer, at=at, scope=dict(scope), **named)

    def budgets(self, customer: str) -> list[dict[str, Any]]:
        """The customer's budgets by id, as they stand now: `state` of each, and its `parent`. One
        with `*` has no state: its values have, see `budget_values`."""
        wallet: Wallet | None = self.row(customer)
        shapes = () if wallet is None else tuple(wallet.scopes)
        found: list[dict[str, Any]] = json.loads(
            encode(
                [
                    budget_state(self, shapes, row, self.at_ms)
                    for row in self._of(Budget, budget_key(customer, ""))
                ]
            )
        )
        return found

    def budget_values(self, customer: str, budget: str) -> list[dict[str, Any]]:
        """How a budget with `*` stands for each value of which anything counts, by scope."""
        row: Budget | None = self.row(budget_key(customer, budget))
        if row is None:
            return []
        spent = self._of(Spent, spent_key(customer, budget, ""))
        states = [value_state(row, each, self.at_ms) for each in spent]
        found: list[dict[str, Any]] = json.loads(encode([each for each in states if each]))
        return found

    def blocks(self, customer: str) -> list[dict[str, Any]]:
        """The scopes that are blocked, with who, why and until when."""
        rows = self._of(Scoped, scope_key(customer, ""))
        blocked = [blocked_scope(row, self.at_ms) for row in rows]
        found: list[dict[str, Any]] = json.loads(encode([each for each in blocked if each]))
        return found

    def _of(self, kind: type[R], first: str) -> list[R]:
        """The rows of a kind whose keys begin so, in their order."""
        keys = sorted(key for key in self._rows if key.startswith(first))
        return [row for key in keys if isinstance(row := self._rows[key], kind)]

    # time

    def reverse(
        self, customer: str, sequence: int, *, reason: str, at: Time | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Book the exact inverse of an entry, by its number."""
        entry = self.entries(customer)[sequence - 1]
        return self.command("reverse", customer, at=at, entry=entry, reason=reason, **fields)

    def rerate(
        self,
        customer: str,
        sequence: int,
        *,
        run: str,
        reason: str,
        book: str | None = None,
        at: Time | None = None,
    ) -> dict[str, Any]:
        """Price a use anew that an entry debited, or that had no price: by another version of the
        book, or the one in effect now."""
        fields = {} if book is None else {"book": book}
        entry = self.entries(customer)[sequence - 1]
        return self.command(
            "rerate", customer, at=at, entry=entry, run=run, reason=reason, **fields
        )

    def advance(self, at: Time) -> list[dict[str, Any]]:
        """Let time go on to `at`: what comes due is done in its order. The entries it made."""
        until_ms = _ms(at)
        first = len(self._journal)
        while True:
            due = [
                (row.due_ms, key)
                for key, row in self._rows.items()
                if row is not None and row.due_ms is not None and row.due_ms <= until_ms
            ]
            if not due:
                break
            due_ms, key = min(due)
            self.at_ms = max(self.at_ms, due_ms)
            self._apply(None, decide_timer(self, key, self._books, Moment(self.at_ms)))
        self._goes_on(at)
        return [json.loads(value) for value in self._journal[first:]]

    # what is there

    def entries(self, customer: str) -> list[dict[str, Any]]:
        """The customer's journal, oldest first."""
        return [json.loads(value) for value in self._entries(customer)]

    def _entries(self, customer: str) -> list[bytes]:
        return [value for value in self._journal if subject_of(value) == customer]

    def journal(self, first: int = 0) -> list[bytes]:
        """All customers' entries as they stand on their topic, oldest first, from one on."""
        return self._journal[first:]

    def rows(self) -> dict[str, bytes]:
        """All rows as they stand on `balances`, by key."""
        return {key: row_bytes(row) for key, row in self._rows.items() if row is not None}

    def wallet(self, customer: str) -> dict[str, Any]:
        """The wallet's row. Raises KeyError for a customer nobody has seen."""
        row = self._rows[customer]
        assert row is not None
        found: dict[str, Any] = json.loads(row_bytes(row))
        return found

    def margins(self, customer: str, dimension: str) -> dict[str, Margin]:
        """What each value of a dimension earned and cost: a task's model calls and its outcome."""
        return margins([decode_entry(value) for value in self._entries(customer)], dimension)

    def balance(self, customer: str, asset: str = "USD") -> str:
        """Unspent grants less credit used and overdrawn."""
        accounts = {account["asset"]: account for account in self.wallet(customer)["accounts"]}
        return str(accounts[asset]["balance"]) if asset in accounts else "0"

    # statements

    def statement(
        self,
        customer: str,
        *,
        month: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        zone: str = "UTC",
        by: tuple[str, ...] = BY_DEFAULT,
    ) -> dict[str, Any]:
        """The statement of a calendar `month` such as 2027-01, or from `start`, included, to `end`,
        not included; usage grouped by meter, rate and dimensions as `by` says. Raises ValueError
        for what is no period."""
        period = _period(month, start, end, zone)
        made = self._statement(customer, period, by)
        found: dict[str, Any] = json.loads(encode(made))
        return found

    def issue(
        self,
        customer: str,
        *,
        month: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        zone: str = "UTC",
        at: Time | None = None,
    ) -> dict[str, Any]:
        """Issue the statement of a period that is over: its sums stand for good. The decision,
        also of a refusal."""
        self._goes_on(at)
        sums = sums_of(self._statement(customer, _period(month, start, end, zone), ()))
        return self.command("issue_statement", customer, statement=json.loads(encode(sums)))

    def _statement(self, customer: str, period: Period, by: tuple[str, ...]) -> Statement:
        book = self._books.at(period.ends_ms - 1)
        assert book is not None, "one is in effect from the beginning"
        values = self._entries(customer)
        return statement_of(customer, lambda: values, period, book.reporting, by)

    # what the ledger reads

    def row(self, key: str) -> Any:
        """A row as it stands, by its key; for the ledger."""
        return self._rows.get(key)

    def identity(self, key: bytes) -> bytes | None:
        """What is remembered of a record, by its key; for the ledger."""
        return self._identities.get(key)

    def _goes_on(self, at: Time | None) -> None:
        if at is not None:
            at_ms = _ms(at)
            if at_ms < self.at_ms:
                raise ValueError(f"at: {at_text(at_ms)} is before {at_text(self.at_ms)}")
            self.at_ms = at_ms

    def _origin(self, topic: str, position: tuple[int, int] | None) -> Origin:
        self._records += 1
        return Origin(topic, *(position or (0, self._records)))

    def _apply(self, key: bytes | None, decided: Decided) -> None:
        for sealed in decided.entries:
            self._rows.update(evolve(self, sealed))
            self._journal.append(sealed.value)
            end = ended(sealed)
            if end is not None:
                self._identities.update([end])
        if key is not None and decided.identity is not None:
            self._identities[key] = decided.identity


class _Subject(msgspec.Struct):
    subject: str


_decode_subject = msgspec.json.Decoder(_Subject).decode


def subject_of(entry: bytes) -> str:
    """The customer of an entry as it stands on its topic."""
    return _decode_subject(entry).subject


class _Used:
    """A customer who used so much of whatever counts."""

    def __init__(self, quantity: str, asset: str) -> None:
        self._quantity = quantity
        self._asset = asset

    def row(self, key: str) -> Any:
        """The running row of any counter."""
        if self._quantity == "0" or "\x1frunning\x1f" not in key:
            return None
        quantity = rational_of(self._quantity)
        return Running(
            "", "", "", self._asset, quantity, 10**30, 0, NEVER, NEVER, 0, None, (), False, 0
        )

    def identity(self, key: bytes) -> bytes | None:  # noqa: ARG002 - the rows a decision reads
        """Nothing is remembered."""
        return None


def _period(month: str | None, start: Time | None, end: Time | None, zone: str) -> Period:
    """The period that is meant. Raises ValueError."""
    starts_ms, ends_ms = (None if at is None else _ms(at) for at in (start, end))
    return Period(*bounds_asked(month, starts_ms, ends_ms, zone), zone, zone_named(zone))


def _stated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in fields.items() if value is not None}


def _zone(name: str) -> tzinfo | None:
    """A time zone by its IANA name; None where there is none."""
    try:
        return zone_named(name)
    except ZoneError:
        return None


def _ms(at: Time) -> int:
    """Unix milliseconds of a time. Raises ValueError."""
    if isinstance(at, int):
        return at
    return milliseconds(_TIME.validate_python(at)) if at else milliseconds(EPOCH)


def _exact(value: Any, path: tuple[str, ...]) -> Any:
    """Plain data with its numbers as records have them. Raises BookError for a float."""
    if isinstance(value, float):
        raise BookError(".".join(path), f"{value!r} is a float: give decimal text or a Decimal")
    if isinstance(value, Mapping):
        return {name: _exact(item, (*path, str(name))) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item, (*path, str(place))) for place, item in enumerate(value)]
    if isinstance(value, Decimal) or (type(value) is int and _is_decimal(path)):
        return plain_text(value)
    return value


def _is_decimal(path: tuple[str, ...]) -> bool:
    """Whether a number of a book stands where there is decimal text."""
    return bool(path) and (path[-1] in DECIMAL_FIELDS or bool(TEXT_MAPS & set(path[:-1])))


TEXT_MAPS: Final = frozenset({"prices", "thresholds", "credit_limits"})
"""Below these, every number is."""
