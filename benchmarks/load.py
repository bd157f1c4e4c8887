"""The load, in a process of its own: `python -m benchmarks.load ...`, started by a benchmark.

`grants` opens wallets; `flat` keeps the topic ahead of settlement by a bounded backlog; `paced`
sends at a fixed rate, one customer after the other, and writes when each event was sent; `steady`
sends at a fixed rate to anyone; `pile` sends so many as fast as Kafka takes them.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
import urllib.request
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.world import ENVIRONMENT
from drawdown.demo import traffic
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster

AHEAD_MAX = 150_000
"""Events that may stand on the topic undecided."""


def customer(number: int) -> str:
    """The name of a customer."""
    return f"customer-{number:07d}"


class Sender:
    """Produces usage events whose sizes are the trace's."""

    def __init__(self, bootstrap: str, source: str) -> None:
        role = {**kafka.plain_producer(), "linger.ms": 5, "message.timeout.ms": 120_000}
        self.producer = KafkaCluster(bootstrap).producer(role)
        self._usage = ENVIRONMENT.topic(USAGE_EVENTS)
        made = traffic.requests(20)
        random.Random(1).shuffle(made)
        self._bodies = itertools.cycle(
            [
                f'"data":{{"model":"{r.model}","feature":"{r.feature}","agent":"{r.agent}",'
                f'"input":{r.input},"output":{r.output}}}}}'
                for r in made
            ]
        )
        self._source = source
        self.sent = 0

    def send(self, subject: str, now: str) -> None:
        """Hand one event to the client; waits where its queue is full."""
        value = (
            f'{{"specversion":"1.0","id":"e{self.sent}","source":"{self._source}",'
            f'"type":"llm.completion","subject":"{subject}","time":"{now}",{next(self._bodies)}'
        ).encode()
        self.sent += 1
        self.put(self._usage, subject, value)

    def put(self, topic: str, key: str, value: bytes) -> None:
        """Hand one record to the client; waits where its queue is full."""
        while True:
            try:
                self.producer.produce(topic, value, key.encode())
            except BufferError:
                self.producer.poll(0.05)
            else:
                return


def now_text() -> str:
    """The time, as events carry it."""
    return timestamp_text(datetime.now(UTC))


def grants(sender: Sender, first: int, last: int, reset_at: str) -> None:
    """A grant of 1,000 USD for each customer from `first` up to `last`; with `reset_at`, one that
    comes again whole at that instant and every day after."""
    topic, now = ENVIRONMENT.topic(COMMANDS), now_text()
    again = f',"recurrence":{{"every":"day","anchor":"{reset_at}","cycles":9}}' if reset_at else ""
    for number in range(first, last):
        name = customer(number)
        value = (
            f'{{"type":"grant","id":"g-{name}","customer":"{name}","time":"{now}",'
            f'"asset":"USD","amount":"1000"{again}}}'
        )
        sender.put(topic, name, value.encode())
    sender.producer.flush(120)


def flat(sender: Sender, customers: int, seconds: float, behind: Callable[[], float]) -> None:
    """Keep the topic ahead of settlement for so long."""
    rng, end = random.Random(2), time.monotonic() + seconds
    while time.monotonic() < end:
        room = AHEAD_MAX - behind()
        if room < AHEAD_MAX / 10:
            sender.producer.poll(0)
            time.sleep(0.5)  # asking settlement costs settlement
            continue
        now = now_text()
        for _ in range(min(int(room), 20_000)):
            sender.send(customer(int(rng.random() * customers)), now)
        sender.producer.poll(0)
    sender.producer.flush(60)


def paced(sender: Sender, customers: int, seconds: float, rate: int, times: Path) -> None:
    """So many a second, evenly; customer n's event is the n-th. Times are CLOCK_MONOTONIC."""
    sent = array("d")
    start = time.monotonic() + 0.2
    total = min(int(seconds * rate), customers)
    number = 0
    while number < total:
        due = min(int((time.monotonic() - start) * rate), total)
        if due > number:
            now = now_text()
            while number < due:
                sent.append(time.monotonic())
                sender.send(customer(number), now)
                number += 1
        sender.producer.poll(0)
        time.sleep(0.001)
    sender.producer.flush(60)
    times.write_bytes(sent.tobytes())


def steady(sender: Sender, customers: int, seconds: float, rate: int) -> None:
    """So many a second, evenly, of customers at random."""
    rng, start, sent = random.Random(3), time.monotonic(), 0
    while (passed := time.monotonic() - start) < seconds:
        now = now_text()
        for _ in range(int(passed * rate) - sent):
            sender.send(customer(int(rng.random() * customers)), now)
            sent += 1
        sender.producer.poll(0)
        time.sleep(0.002)
    sender.producer.flush(60)


def pile(sender: Sender, customers: int, events: int) -> None:
    """So many, as fast as Kafka takes them."""
    rng, now = random.Random(4), now_text()
    for number in range(events):
        if number % 5_000 == 0:
            now = now_text()
            sender.producer.poll(0)
        sender.send(customer(int(rng.random() * customers)), now)
    sender.producer.flush(120)


def lag_from(metrics: str, sender: Sender) -> Callable[[], float]:
    """How many events stand undecided: what was sent less what settlement says it decided."""

    def decided() -> float:
        with urllib.request.urlopen(metrics, timeout=5) as response:
            for line in response.read().decode().splitlines():
                if line.startswith('drawdown_records_total{input="usage",result="decided"}'):
                    return float(line.rpartition(" ")[2])
        return 0.0

    before = decided()
    return lambda: sender.sent - (decided() - before)


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("grants", "flat", "paced", "steady", "pile"))
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--metrics", default="")
    parser.add_argument("--times", type=Path)
    parser.add_argument("--source", default="bench")
    parser.add_argument("--reset-at", default="", help="grants come again whole from then on")
    told = parser.parse_args()
    sender = Sender(told.bootstrap, told.source)
    if told.what == "grants":
        grants(sender, told.first, told.customers, told.reset_at)
    elif told.what == "flat":
        flat(sender, told.customers, told.seconds, lag_from(told.metrics, sender))
    elif told.what == "steady":
        steady(sender, told.customers, told.seconds, told.rate)
    elif told.what == "pile":
        pile(sender, told.customers, told.events)
    else:
        paced(sender, told.customers, told.seconds, told.rate, told.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
