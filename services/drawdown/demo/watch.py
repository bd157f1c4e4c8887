"""What the demo sees of itself: the journal, alerts and answers, as any consumer reads them.

One thread, read_committed, on the topics a customer of Drawdown would consume. It measures from the
moment a usage event is handed to Kafka's client to the moment its debit can be read by others.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Message, TopicPartition

from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    Environment,
)
from drawdown.events.codec import decode_decision, decode_entry, decode_low_balance
from drawdown.events.entries import kind_of_type
from drawdown.events.numbers import amount_of
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster

RECENT: Final = 1000
DEBITS: Final = frozenset({"debit", "capture"})


@dataclass(slots=True)
class Margin:
    """Of one customer, in pico-USD."""

    revenue: int = 0
    cost: int = 0


@dataclass
class Seen:
    """What was read so far. Written by the watching thread only."""

    debits: int = 0
    debited: int = 0
    """In pico-USD."""
    sequences: dict[str, int] = field(default_factory=dict)
    margins: dict[str, Margin] = field(default_factory=dict)
    by_feature: dict[str, Margin] = field(default_factory=dict)
    low_balances: int = 0
    last_low: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Of usage whose producer asked for an answer."""
    dead_letters: int = 0
    rates: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Debits by (version of the book, rate)."""


class Watch:
    """Reads until stopped. `sent` is when each event was handed over, in monotonic seconds."""

    def __init__(self, cluster: Cluster, environment: Environment, reply_to: str) -> None:
        self.seen = Seen()
        self.sent: dict[str, float] = {}
        self.lags_s: list[float] = []
        self.recent_s: deque[float] = deque(maxlen=RECENT)
        self.failed: BaseException | None = None
        self._reply_to = ("reply_to", reply_to.encode())
        self._topics = {
            environment.topic(BALANCE_CHANGES): self._entry,
            environment.topic(LOW_BALANCE): self._low_balance,
            environment.topic(DECISIONS): self._decision,
            environment.topic(DEAD_LETTERS): self._dead_letter,
        }
        self._consumer = cluster.consumer(kafka.reader() | {"fetch.wait.max.ms": 10})
        self._pasts: dict[str, list[tuple[float, int]]] = {}
        """Of the customers that are followed: when which balance was seen."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        """Begin at the end of every topic. Blocks up to 10 s a partition."""
        self._consumer.assign(self.ends())
        self._thread.start()

    def follow(self, customer: str) -> None:
        """Remember the balances of a customer from now on."""
        self._pasts[customer] = [(time.monotonic(), 1)]

    def balance_before(self, customer: str, seconds: float) -> int:
        """The balance so long ago, in pico-USD; above zero before anything was seen."""
        then = time.monotonic() - seconds
        past = self._pasts[customer]
        return past[max(bisect_right(past, then, key=lambda mark: mark[0]) - 1, 0)][1]

    async def until_balance(self, customer: str, balance: int) -> None:
        """Wait for a customer's balance to be this. Raises TimeoutError after 30 s."""
        async with asyncio.timeout(30):
            while self._pasts[customer][-1][1] != balance:
                await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def ends(self) -> list[TopicPartition]:
        """The ends of all it reads, now."""
        found = []
        topics = self._consumer.list_topics(timeout=10).topics
        for name in self._topics:
            for partition in topics[name].partitions:
                where = TopicPartition(name, partition)
                _, end = self._consumer.get_watermark_offsets(where, 10, cached=False)
                found.append(TopicPartition(name, partition, end))
        return found

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._consumer.consume(500, 0.02):
                    if message.error() is None:
                        self._topics[str(message.topic())](message, time.monotonic())
        except BaseException as error:
            self.failed = error
            raise
        finally:
            self._consumer.close()

    def _entry(self, message: Message, now_s: float) -> None:
        entry = decode_entry(_value(message))
        seen, data = self.seen, entry.data
        seen.sequences[entry.subject] = data.sequence
        if (past := self._pasts.get(entry.subject)) is not None and data.after is not None:
            past.append((now_s, amount_of(data.after)))
        if data.usage is None or data.id is None or kind_of_type(entry.type) not in DEBITS:
            return
        seen.debits += 1
        seen.debited += amount_of(data.amount or "0")
        revenue, cost = amount_of(data.revenue), amount_of(data.cost)
        feature = data.usage.dimensions.get("feature", "")
        for margins, name in ((seen.margins, entry.subject), (seen.by_feature, feature)):
            margin = margins.setdefault(name, Margin())
            margin.revenue += revenue
            margin.cost += cost
        if data.price is not None and data.price.rate is not None:
            seen.rates[data.price.book, data.price.rate] += 1
        if (sent := self.sent.pop(data.id, None)) is not None:
            self.lags_s.append(now_s - sent)
            self.recent_s.append(now_s - sent)

    def _low_balance(self, message: Message, _: float) -> None:
        notice = decode_low_balance(_value(message))
        self.seen.low_balances += 1
        self.seen.last_low = (
            f"{notice.subject} fell below {notice.data.threshold} {notice.data.asset}"
            f" ({notice.data.available} left)"
        )

    def _decision(self, message: Message, _: float) -> None:
        if self._reply_to not in (message.headers() or ()):
            return
        decision = decode_decision(_value(message))
        if decision.kind == "usage":
            self.seen.outcomes["duplicate" if decision.duplicate else str(decision.reason)] += 1

    def _dead_letter(self, _: Message, __: float) -> None:
        self.seen.dead_letters += 1


def _value(message: Message) -> bytes:
    value: Any = message.value()
    return bytes(value)


def quantile_ms(values_s: list[float], share: float) -> float:
    """A quantile of seconds, in milliseconds with one decimal; 0 where there are none."""
    if not values_s:
        return 0.0
    ordered = sorted(values_s)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 1)
