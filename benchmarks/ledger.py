"""Microseconds per usage event of the pure ledger; no Kafka, no disk, no clock.

    python -m benchmarks ledger --json

Decode the event, decide it, evolve the wallet, encode its row: what an event costs beyond moving
bytes, and steadier than anything measured through a broker. Wallets have two grants; prices are the
demo's (2,818 rates).

`graduated_debits_per_second` is the same for five graduated tiers, whose running quantity is a row
of its own: decided and evolved, from a decoded event to the rows, one core.
`token_map_debits_per_second` and `ten_grants_debits_per_second` are decide, evolve and encode of a
token map, from a decoded event to the wallet's bytes, one core, warm: for wallets of three and of
ten grants, the first of which pays.

`graduated_prices_per_second` is the price alone. `book_load_seconds` reads and compiles a book of
10,000 rates, from its records as they stand on the topic.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from benchmarks.machine import machine
from drawdown.demo import traffic
from drawdown.events.base import EPOCH, timestamp_text
from drawdown.events.codec import decode_command, decode_usage, encode
from drawdown.events.pricebook import PriceBook
from drawdown.events.usage import UsageEvent
from drawdown.ledger.book import Books
from drawdown.ledger.decide import decide_command
from drawdown.ledger.evolve import Row, evolve, evolve_wallet
from drawdown.ledger.identity import command_key, usage_key
from drawdown.ledger.journal import Origin
from drawdown.ledger.outcome import Decided, Moment
from drawdown.ledger.rows import row_bytes
from drawdown.ledger.usage import decide_usage
from drawdown.ledger.values import Wallet
from drawdown.pure import load
from drawdown.settlement.books import read_books
from drawdown.settlement.publish import records_of

ROUNDS = 7
NOW_MS = 1_800_000_000_000
TIME = EPOCH + timedelta(milliseconds=NOW_MS)


class Memory:
    """Rows and identities in dictionaries."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.ids: dict[bytes, bytes] = {}

    def row(self, key: str) -> Row | None:
        return self.rows.get(key)

    def identity(self, key: bytes) -> bytes | None:
        return self.ids.get(key)


def main(arguments: list[str]) -> int:
    """Run it; the last line with `--json` is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ledger", description=__doc__)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args(arguments)
    _, book = records_of(traffic.book("bench"), EPOCH, EPOCH)
    books = Books().with_book(book)
    values = [
        _event(
            request.id,
            request.customer,
            {"input": request.input, "output": request.output, **request.dimensions},
            traffic.EVENT_TYPE,
        )
        for request in traffic.requests(20)
    ]
    figures = [one_round(books, values) for _ in range(ROUNDS)]
    graduated = [graduated_round() for _ in range(ROUNDS)]
    loads = [load_seconds() for _ in range(3)]
    tokens = {grants: [tokens_round(grants) for _ in range(WARM + 5)][WARM:] for grants in (3, 10)}
    result: dict[str, Any] = {
        "machine": machine(),
        "us_per_event": round(statistics.median(figures), 2),
        "us_per_event_best": round(min(figures), 2),
        "token_map_debits_per_second": int(statistics.median(tokens[3])),
        "ten_grants_debits_per_second": int(statistics.median(tokens[10])),
        "graduated_debits_per_second": int(statistics.median(graduated)),
        "graduated_prices_per_second": int(statistics.median(prices_round() for _ in range(3))),
        "book_load_seconds": round(statistics.median(loads), 3),
        "book_load_rates": BOOK_RATES,
        "match_us_of_100_rates": match_us(100),
        "match_us_of_10000_rates": match_us(BOOK_RATES),
        "events": len(values),
        "rounds": ROUNDS,
    }
    for name, value in result.items():
        print(f"{name:<28}{value}", file=sys.stderr)
    if told.json:
        print(json.dumps(result))
    return 0


def _graduated_book() -> Books:
    tiers = [{"up_to": str(10**n), "price": f"0.0{9 - n}"} for n in range(1, 5)]
    price = {"model": "graduated", "quantity": "n", "tiers": [*tiers, {"price": "0.01"}]}
    return Books([load(_content([{"id": "r", "meter": "m", "asset": "USD", "price": price}]))])


def _content(rates: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": "bench",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [{"id": "m", "event_types": ["m"], "fields": {"n": "n"}}],
        "rates": rates,
    }


def graduated_round(events: int = 5000, customers: int = 50) -> float:
    """Debits per second by five graduated tiers."""
    books, memory, now = _graduated_book(), Memory(), Moment(NOW_MS)
    decoded = [
        decode_usage(_event(f"e{number}", f"c{number % customers}", {"n": 1 + number % 97}))
        for number in range(events)
    ]
    with _without_collections():
        began = time.perf_counter()
        for offset, event in enumerate(decoded):
            for sealed in _decided(memory, event, offset, books, now).entries:
                memory.rows.update(evolve(memory, sealed))
        return events / (time.perf_counter() - began)


def tokens_round(grants: int, events: int = 20_000, customers: int = 200) -> float:
    """Debits per second by a token map, of wallets with so many grants."""
    price = {
        "model": "token_map",
        "per": 1_000_000,
        "prices": {"input": "1.25", "cached_input": "0.125", "output": "10"},
    }
    fields = {name: name for name in price["prices"]}
    content = _content([{"id": "gpt-5", "meter": "m", "asset": "USD", "price": price,
                         "match": {"model": "gpt-5"}}])  # fmt: skip
    content["meters"][0]["fields"] = fields
    books, memory, now = Books([load(content)]), Memory(), Moment(NOW_MS)
    for number in range(customers):
        for grant in range(grants):
            _grant(memory, books, now, f"c{number}", f"g{grant}", priority=grant)
    decoded = [
        decode_usage(
            _event(
                f"e{number}",
                f"c{number % customers}",
                {
                    "model": "gpt-5",
                    "feature": "chat",
                    "input": 500 + number % 997,
                    "cached_input": 1500,
                    "output": 100 + number % 89,
                },
            )
        )
        for number in range(events)
    ]
    with _without_collections():
        began = time.perf_counter()
        for offset, event in enumerate(decoded):
            _debit(memory, event, offset, books, now)
        return events / (time.perf_counter() - began)


WARM = 2
"""Rounds before those that count."""


def _grant(
    memory: Memory, books: Books, now: Moment, customer: str, grant_id: str, **terms: Any
) -> None:
    """A grant of 1,000 USD."""
    content = {
        "type": "grant",
        "id": grant_id,
        "customer": customer,
        "time": timestamp_text(TIME),
        "asset": "USD",
        "amount": "1000",
        **terms,
    }
    command = decode_command(encode(content))
    key = command_key(customer, command.id)
    decided = decide_command(memory, command, key, Origin("commands"), books, now)
    for sealed in decided.entries:
        before = memory.rows.get(customer) or Wallet(customer)
        memory.rows[customer] = evolve_wallet(before, sealed)


def prices_round(prices: int = 20_000) -> float:
    """Prices per second by five graduated tiers."""
    book = _graduated_book().at(NOW_MS)
    meter = book.meter("m")
    rate = book.quote(meter, {}).rate
    began = time.perf_counter()
    for number in range(prices):
        rate.charge(number, number + 7)
    return prices / (time.perf_counter() - began)


BOOK_RATES = 10_000


def _rates(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"r{number}",
            "meter": "m",
            "asset": "USD",
            "match": {"model": f"model-{number}"},
            "price": {"model": "per_unit", "quantity": "n", "price": f"0.{number + 1:05d}"},
        }
        for number in range(count)
    ]


def match_us(rates: int, matches: int = 20_000) -> float:
    """Microseconds to find a use's rate in a book of so many, with nothing remembered."""
    book = load(_content(_rates(rates)))
    models = [{"model": f"model-{number * 7919 % rates}"} for number in range(matches)]
    began = time.perf_counter()
    for dimensions in models:
        book.prices.match("m", dimensions)
    return round((time.perf_counter() - began) / matches * 1e6, 2)


def load_seconds() -> float:
    """Seconds to read a book of 10,000 rates from its records, and compile it."""
    values, _ = records_of(PriceBook.model_validate(_content(_rates(BOOK_RATES))), EPOCH, EPOCH)
    gc.collect()
    began = time.perf_counter()
    reader = read_books(enumerate(values))
    took = time.perf_counter() - began
    assert len(reader.books) == 1
    return took


def one_round(books: Books, values: list[bytes]) -> float:
    """Microseconds per event, over all of them once."""
    memory, now = Memory(), Moment(NOW_MS)
    for customer in traffic.CUSTOMERS:
        for number, category in enumerate(("included", "paid")):
            _grant(memory, books, now, customer, f"g{number}", category=category)
    with _without_collections():
        began = time.perf_counter()
        for offset, value in enumerate(values):
            _debit(memory, decode_usage(value), offset, books, now)
        return (time.perf_counter() - began) / len(values) * 1e6


def _event(id_: str, customer: str, data: dict[str, Any], type_: str = "m") -> bytes:
    """A usage event as it stands on its topic."""
    return encode(
        {
            "specversion": "1.0",
            "id": id_,
            "source": "bench",
            "type": type_,
            "subject": customer,
            "time": timestamp_text(TIME),
            "data": data,
        }
    )


def _decided(memory: Memory, event: UsageEvent, offset: int, books: Books, now: Moment) -> Decided:
    key = usage_key(event)
    decided = decide_usage(memory, event, key, Origin("usage-events", 0, offset), books, now)
    memory.ids[key] = decided.identity
    return decided


def _debit(memory: Memory, event: UsageEvent, offset: int, books: Books, now: Moment) -> None:
    """Decide, evolve the wallet, encode its row."""
    decided = _decided(memory, event, offset, books, now)
    wallet = decided.wallet
    for sealed in decided.entries:
        wallet = evolve_wallet(wallet, sealed)
    memory.rows[event.subject] = wallet
    row_bytes(wallet)


@contextmanager
def _without_collections() -> Iterator[None]:
    """What is measured is not interrupted by the collector of garbage."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
