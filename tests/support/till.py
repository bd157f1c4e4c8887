"""A till: the ledger alone, for tests that read like statements.

Rows and identities in dicts, a journal in a list, and a clock the test sets. What settlement does
with a decision - apply its entries, remember its identity - is done here in a few lines.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from tests.support import judge

from drawdown.events.base import EPOCH, at_text, moment
from drawdown.events.codec import decode_command, decode_usage, encode
from drawdown.events.pricebook import Asset, Meter, PerUnit, PriceBook, Rate, TokenMap
from drawdown.ledger.book import Books
from drawdown.ledger.decide import decide_command, decide_timer
from drawdown.ledger.evolve import evolve
from drawdown.ledger.holds import ended
from drawdown.ledger.identity import command_key, usage_key
from drawdown.ledger.journal import Origin, Sealed, unseal
from drawdown.ledger.outcome import Decided, Moment
from drawdown.ledger.replay import remembered
from drawdown.ledger.rows import Row, row_bytes
from drawdown.ledger.usage import decide_usage
from drawdown.ledger.values import Wallet, hold_key
from drawdown.settlement.books import BookReader
from drawdown.settlement.publish import records_of

START_MS = 1_800_000_000_000
"""2027-01-15T08:00:00Z: when a till opens."""
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def price_book(version: str = "v1", **changes: Any) -> PriceBook:
    """A book with one meter for anything: `units` at 1 USD, or in credits, tokens, GPU hours."""
    content: dict[str, Any] = {
        "version": version,
        "assets": [
            Asset(code="USD", scale=12),
            Asset(code="credit", scale=2),
            Asset(code="token", scale=0),
            Asset(code="gpu-hour", scale=6),
        ],
        "meters": [
            Meter(id="work", event_types=["work", "work.done"], fields={"units": "units"}),
            Meter(id="other", event_types=["other"], fields={"units": "units"}),
        ],
        "rates": [
            Rate(id="work", meter="work", asset="USD", price=PerUnit(quantity="units", price="1")),
            Rate(
                id="other", meter="other", asset="USD", price=PerUnit(quantity="units", price="1")
            ),
            *(
                Rate(
                    id=f"work-{asset}",
                    meter="work",
                    match={"in": asset},
                    asset=asset,
                    price=PerUnit(quantity="units", price="1"),
                )
                for asset in ("credit", "token", "gpu-hour")
            ),
        ],
        "costs": [],
    }
    return PriceBook(**{**content, **changes})


def tokens(rate_id: str, per_million: dict[str, str], **match: str) -> Rate:
    """A rate of model calls, priced per million tokens."""
    return Rate(
        id=rate_id,
        meter="llm",
        match=match,
        asset="USD",
        price=TokenMap(prices=per_million, per=1_000_000),
    )


LLM = Meter(
    id="llm",
    event_types=["llm"],
    fields={name: name for name in ("input", "cached_input", "cache_write", "output", "reasoning")},
)


def llm_book(*rates: Rate, version: str = "v1", **changes: Any) -> PriceBook:
    """A book of model calls with these rates."""
    content: dict[str, Any] = {
        "version": version,
        "assets": [Asset(code="USD", scale=12)],
        "meters": [LLM],
        "rates": list(rates),
    }
    return PriceBook(**{**content, **changes})


@lru_cache(maxsize=64)
def _records(book: str, effective_at: datetime, published_at: datetime) -> tuple[bytes, ...]:
    values, _ = records_of(PriceBook.model_validate_json(book), effective_at, published_at)
    return tuple(values)


@lru_cache(maxsize=64)
def _compiled(records: tuple[bytes, ...]) -> Books:
    reader = BookReader()
    for offset, value in enumerate(records):
        reader.read(offset, value)
    assert reader.problems == []
    return reader.books


@dataclass
class Till:
    """One ledger and what it wrote."""

    book: PriceBook | None = field(default_factory=price_book)
    at_ms: int = START_MS
    rows: dict[str, Row | None] = field(default_factory=dict)
    identities: dict[bytes, bytes] = field(default_factory=dict)
    journal: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._book_records: tuple[bytes, ...] = ()
        self._record = itertools.count()
        self._ids = itertools.count(1)
        if self.book is not None:
            self.publish(self.book)

    # what the ledger reads

    def row(self, key: str) -> Any:
        return self.rows.get(key)

    def identity(self, key: bytes) -> bytes | None:
        return self.identities.get(key)

    @property
    def books(self) -> Books:
        return _compiled(self._book_records)

    # given

    def publish(self, book: PriceBook, effective_ms: int | None = None) -> None:
        """Another version; in effect from the beginning unless said otherwise."""
        effective: datetime = EPOCH if effective_ms is None else moment(effective_ms)
        self._book_records += _records(book.model_dump_json(), effective, moment(self.at_ms))

    # when

    def use(self, customer: str, units: Any = None, **more: Any) -> Decided:
        """Usage of `work`, or as `more` says: data, and the envelope's type, id, source, time,
        timesource. Raises RecordError."""
        envelope = {
            name: more.pop(name)
            for name in ("id", "type", "source", "time", "timesource")
            if name in more
        }
        data = dict(more) if units is None else {"units": units, **more}
        event = {
            "specversion": "1.0",
            "id": f"e{next(self._ids)}",
            "source": "test",
            "type": "work",
            "subject": customer,
            **envelope,
            "data": data,
        }
        return self.take_event(json.dumps(event).encode())

    def take_event(self, value: bytes) -> Decided:
        """A usage event as it stands on the topic."""
        event = decode_usage(value)
        key = usage_key(event)
        decided = decide_usage(self, event, key, self._origin("usage-events"), self.books, self.now)
        return self._apply(key, decided)

    def command(self, kind: str, customer: str, **fields: Any) -> Decided:
        """A command. Raises RecordError."""
        content = {
            "type": kind,
            "id": f"c{next(self._ids)}",
            "customer": customer,
            "time": at_text(self.at_ms),
            **fields,
        }
        command = decode_command(json.dumps(content).encode())
        key = command_key(customer, command.id)
        origin = self._origin("commands")
        return self._apply(key, decide_command(self, command, key, origin, self.books, self.now))

    def grant(self, customer: str, amount: str, grant_id: str, **terms: Any) -> Decided:
        """A grant of USD unless said otherwise; times in `terms` are milliseconds."""
        for name in ("effective_at", "expires_at"):
            if name in terms:
                terms[name] = at_text(terms[name])
        return self.command(
            "grant", customer, **{"asset": "USD", "amount": amount, "grant_id": grant_id, **terms}
        )

    def authorize(self, customer: str, units: Any = None, **fields: Any) -> Any:
        """The decision about this many units of `work`."""
        if units is not None:
            fields["estimate"] = {"quantities": {"units": units}}
        answer = self.command("authorize", customer, **{"meter": "work", **fields}).answer
        assert answer is not None
        return answer

    def held(self, customer: str, hold_id: str) -> dict[str, Any] | None:
        """The row of a hold as it stands on the topic; None where it is closed."""
        row = self.rows.get(hold_key(customer, hold_id))
        if row is None:
            return None
        found: dict[str, Any] = json.loads(row_bytes(row))
        return found

    def entry(self, customer: str, sequence: int = -1) -> dict[str, Any]:
        """An entry as it stands on the topic: the last one, or the one of this number."""
        entries = self.entries(customer)
        return entries[sequence - 1 if sequence > 0 else sequence]

    def reverse(self, customer: str, sequence: int = -1, **fields: Any) -> Decided:
        """Reverse the last entry, or the one of this number."""
        entry = self.entry(customer, sequence)
        return self.command("reverse", customer, **{"entry": entry, "reason": "wrong", **fields})

    def tick(self, at_ms: int | None = None) -> list[Decided]:
        """Let every timer fire that is due, now or at a later time: soonest first, until none is
        left."""
        self.at_ms = self.at_ms if at_ms is None else at_ms
        fired = []
        while due := sorted(
            (row.due_ms, key)
            for key, row in self.rows.items()
            if row is not None and row.due_ms is not None and row.due_ms <= self.at_ms
        ):
            for _, key in due:
                fired.append(self._apply(None, decide_timer(self, key, self.books, self.now)))
        return fired

    @property
    def now(self) -> Moment:
        return Moment(self.at_ms)

    def _origin(self, topic: str) -> Origin:
        return Origin(topic, 0, next(self._record), actor="k1")

    def _apply(self, key: bytes | None, decided: Decided) -> Decided:
        for sealed in decided.entries:
            self.rows.update(evolve(self, sealed))
            self.journal.append(sealed.value)
            end = ended(sealed)
            if end is not None:
                self.identities.update([end])
        if key is not None and decided.identity is not None:
            self.identities[key] = decided.identity
        return decided

    # then

    def entries(self, customer: str) -> list[dict[str, Any]]:
        """Entries as they stand on the topic."""
        found = [json.loads(value) for value in self.journal]
        return [entry for entry in found if entry["subject"] == customer]

    def statement(self, customer: str) -> list[tuple[str, str, str, dict[str, str]]]:
        """A line per entry: kind, amount, balance after it, and where it came from: grants, and
        `credit` and `overdrawn` where they are not zero."""
        return [line(entry) for entry in self.entries(customer)]

    def wallet(self, customer: str) -> dict[str, Any]:
        """The row as it stands on the topic."""
        row = self.rows[customer]
        assert isinstance(row, Wallet)
        found: dict[str, Any] = json.loads(row_bytes(row))
        return found

    def account(self, customer: str, asset: str = "USD") -> dict[str, str]:
        """An account without what is zero, and without what would be the same as its name."""
        accounts = {account["asset"]: account for account in self.wallet(customer)["accounts"]}
        return {name: value for name, value in accounts[asset].items() if name != "asset"}

    def balance(self, customer: str, asset: str = "USD") -> str:
        return self.account(customer, asset)["balance"]

    def left(self, customer: str) -> dict[str, str]:
        """What is left of each live grant, in drawdown order."""
        return {grant["id"]: grant["remaining"] for grant in self.wallet(customer)["grants"]}

    def wrongs(self) -> list[str]:
        """What the judge finds wrong."""
        return judge.wrongs(
            [(json.loads(value)["subject"].encode(), value) for value in self.journal],
            [(key.encode(), row_bytes(row)) for key, row in self.rows.items() if row is not None],
        )

    def replayed(self) -> Till:
        """A till that knows nothing but this one's journal and price books."""
        other = Till(book=None, at_ms=self.at_ms)
        other._book_records = self._book_records
        for value in self.journal:
            sealed: Sealed = unseal(value)
            other.rows.update(evolve(other, sealed))
            other.journal.append(sealed.value)
            other.identities.update(remembered(sealed))
        return other

    def bytes_of_rows(self) -> dict[str, bytes]:
        return {key: row_bytes(row) for key, row in self.rows.items() if row is not None}


def line(entry: dict[str, Any]) -> tuple[str, str, str, dict[str, str]]:
    """An entry as a line of a statement."""
    data = entry["data"]
    parts = {part["grant"]: part["amount"] for part in data.get("allocations", [])}
    for name in ("credit", "overdrawn"):
        if data.get(name, "0") != "0":
            parts[name] = data[name]
    return entry["type"].rpartition(".")[2], data.get("amount", ""), data.get("after", ""), parts


def decision(answer: Any) -> dict[str, Any]:
    """A decision as it stands on the topic."""
    found: dict[str, Any] = json.loads(encode(answer))
    return found
