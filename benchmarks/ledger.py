"""Microseconds per usage event of the pure ledger; no Kafka, no disk, no clock.

    python -m benchmarks ledger --json

Decode the event, decide it, evolve the wallet, encode its row: what an event costs beyond moving
bytes, and steadier than anything measured through a broker. Wallets have two grants; prices are the
demo's (2,818 rates).
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from datetime import timedelta
from typing import Any

from benchmarks.machine import machine
from drawdown.demo import traffic
from drawdown.events.base import EPOCH, timestamp_text
from drawdown.events.codec import decode_command, decode_usage, encode
from drawdown.ledger.book import Books
from drawdown.ledger.decide import decide_command
from drawdown.ledger.evolve import Row, evolve_wallet
from drawdown.ledger.identity import command_key, usage_key
from drawdown.ledger.journal import Origin
from drawdown.ledger.outcome import Moment
from drawdown.ledger.rows import row_bytes
from drawdown.ledger.usage import decide_usage
from drawdown.ledger.values import Wallet
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
        encode(
            {
                "specversion": "1.0",
                "id": request.id,
                "source": "bench",
                "type": traffic.EVENT_TYPE,
                "subject": request.customer,
                "time": timestamp_text(TIME),
                "data": {"input": request.input, "output": request.output, **request.dimensions},
            }
        )
        for request in traffic.requests(20)
    ]
    figures = [one_round(books, values) for _ in range(ROUNDS)]
    result: dict[str, Any] = {
        "machine": machine(),
        "us_per_event": round(statistics.median(figures), 2),
        "us_per_event_best": round(min(figures), 2),
        "events": len(values),
        "rounds": ROUNDS,
    }
    for name, value in result.items():
        print(f"{name:<20}{value}", file=sys.stderr)
    if told.json:
        print(json.dumps(result))
    return 0


def one_round(books: Books, values: list[bytes]) -> float:
    """Microseconds per event, over all of them once."""
    memory, now = Memory(), Moment(NOW_MS)
    for customer in traffic.CUSTOMERS:
        for number, category in enumerate(("included", "paid")):
            command = decode_command(
                encode(
                    {
                        "type": "grant",
                        "id": f"g{number}",
                        "customer": customer,
                        "time": timestamp_text(TIME),
                        "asset": "USD",
                        "amount": "1000",
                        "category": category,
                    }
                )
            )
            key = command_key(customer, command.id)
            decided = decide_command(memory, command, key, Origin("commands"), books, now)
            for sealed in decided.entries:
                before = memory.rows.get(customer) or Wallet(customer)
                memory.rows[customer] = evolve_wallet(before, sealed)
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    for offset, value in enumerate(values):
        event = decode_usage(value)
        key = usage_key(event)
        origin = Origin("usage-events", 0, offset)
        decided = decide_usage(memory, event, key, origin, books, now)
        wallet = decided.wallet
        for sealed in decided.entries:
            wallet = evolve_wallet(wallet, sealed)
        memory.rows[event.subject] = wallet
        memory.ids[key] = decided.identity
        row_bytes(wallet)
    took = time.perf_counter() - began
    gc.enable()
    return took / len(values) * 1e6
