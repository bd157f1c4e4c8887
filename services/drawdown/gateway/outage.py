"""What may run while no decision can be had, by the terms of the customers who have such terms.

The gateway follows `balances` from its beginning and keeps one thing of it: who may run in an
outage, and up to what amount. What it allows it counts here, per customer and in this process, and
counts anew once the customer is decided about again. Who is not known to have such terms is denied.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition
from prometheus_client import Counter

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import BALANCES, Environment
from drawdown.events.codec import encode
from drawdown.events.commands import Authorize
from drawdown.events.decisions import Decision
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.outage")

READY_TIMEOUT_S: Final = 10.0
CUSTOMERS_MAX: Final = 100_000
"""Customers whose terms are kept; who is beyond is denied, as without such terms."""
WAIT_S_MIN: Final = 1.0
"""A decision that did not come within less is late, and that is no outage: allowing it would let a
caller in a hurry run what settlement is about to deny."""
SEPARATOR: Final = KEY_SEPARATOR.encode()

ALLOWED: Final = Counter(
    "drawdown_outage_allowed",
    "Authorizations allowed without a decision, by the customers' terms for an outage. Settlement"
    " or Kafka could not be reached; what these used is overdrawn where nothing is left for it.",
)

_Decision = struct_of(Decision)


class _Open(msgspec.Struct):
    mode: str = "closed"
    amount: str | None = None
    asset: str | None = None


class _Row(msgspec.Struct):
    """What is read of a wallet's row."""

    outage: _Open | None = None


_decode_row = msgspec.json.Decoder(_Row).decode


@dataclass(slots=True)
class Allowance:
    """What a customer may run up to in an outage, and what has been allowed in this one."""

    amount: int
    asset: str
    allowed: int = 0


class NotAllowedError(Exception):
    """It may not run in an outage; says why, where the terms would let something run."""


class Allowances:
    """The customers who may run in an outage. Rows are taken by one thread; the rest is the event
    loop's."""

    def __init__(self, customers_max: int = CUSTOMERS_MAX) -> None:
        self._customers_max = customers_max
        self._of: dict[bytes, Allowance] = {}
        self._told_full = False

    def __len__(self) -> int:
        return len(self._of)

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """A row of `balances`, as it is now."""
        if key is None:
            return
        if value is None or b'"outage"' not in value:
            self._of.pop(key, None)
            return
        if SEPARATOR in key:
            return
        found = _terms_in(key, value)
        if found is None:
            self._of.pop(key, None)
            return
        before = self._of.get(key)
        if before is not None and (before.amount, before.asset) == (found.amount, found.asset):
            return
        if before is None and len(self._of) >= self._customers_max:
            if not self._told_full:
                self._told_full = True
                log.warning(
                    "more than %d customers have terms for an outage: for those beyond, nothing"
                    " runs in one",
                    self._customers_max,
                )
            return
        self._of[key] = found

    def clear(self) -> None:
        """Nothing is known of anybody."""
        self._of.clear()

    def decided(self, customer: str) -> None:
        """The outage is over for this customer."""
        allowance = self._of.get(customer.encode())
        if allowance is not None:
            allowance.allowed = 0

    def allow(self, command: Authorize, wait_s: float) -> bytes:
        """The decision that lets it run although none could be had. Raises NotAllowedError."""
        allowance = self._of.get(command.customer.encode())
        if allowance is None:
            raise NotAllowedError
        if command.capture:
            raise NotAllowedError("what debits at once never runs without a decision")
        if wait_s < WAIT_S_MIN:
            raise NotAllowedError(
                f"the terms for an outage hold once a decision was waited for {WAIT_S_MIN:g} s"
            )
        asset = allowance.asset
        estimate = command.estimate
        worth = 0 if estimate.amount is None else amount_of(estimate.amount)
        if worth <= 0 or estimate.asset != asset:
            raise NotAllowedError(
                "what this is worth is not known here: with `estimate.amount` and"
                f" `estimate.asset` {asset} it could run by the terms for an outage"
            )
        left = allowance.amount - allowance.allowed - worth
        if left < 0:
            there = amount_text(max(0, allowance.amount - allowance.allowed))
            raise NotAllowedError(
                f"of the {amount_text(allowance.amount)} {asset} that may run in an outage"
                f" {there} are left"
            )
        allowance.allowed += worth
        ALLOWED.inc()
        return encode(
            _Decision(
                kind="authorization",
                id=command.id,
                customer=command.customer,
                command="authorize",
                at=datetime.now(UTC),
                allowed=True,
                reason=Reason.OUTAGE_OPEN,
                detail="no decision could be had in time; the terms let it run, nothing is held,"
                f" and of {amount_text(allowance.amount)} {asset} for this outage"
                f" {amount_text(left)} are left at this gateway",
                asset=asset,
                amount=amount_text(worth),
            )
        )


def _terms_in(key: bytes, value: bytes) -> Allowance | None:
    """What a wallet's row says of outages; None where nothing may run."""
    try:
        outage = _decode_row(value).outage
        if outage is None or outage.mode != "open" or not outage.amount or not outage.asset:
            return None
        return Allowance(amount_of(outage.amount), outage.asset)
    except (ValueError, RecursionError) as error:
        log.error("the row of %s is unreadable, nothing runs in an outage: %s", key, error)
        return None


class Outages:
    """The allowances, as `balances` has them, followed in a thread."""

    def __init__(self, cluster: Cluster, environment: Environment) -> None:
        self._cluster = cluster
        self._topic = environment.topic(BALANCES)
        self._unread: set[int] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.allowances = Allowances()
        self.caught_up = threading.Event()
        """Set once every partition was read to its end, and from then on."""

    async def start(self) -> None:
        """Begin to follow. Raises KafkaException where the topic cannot be read."""
        consumer, starts = await asyncio.get_running_loop().run_in_executor(None, self._assigned)
        self._thread = threading.Thread(
            target=self._follow, args=(consumer, starts), name="outages", daemon=True
        )
        self._thread.start()

    def _assigned(self) -> tuple[Any, list[TopicPartition]]:
        consumer = self._cluster.consumer(kafka.reader())
        topic = consumer.list_topics(self._topic, READY_TIMEOUT_S).topics[self._topic]
        if topic.error is not None:
            consumer.close()
            raise KafkaException(topic.error)
        starts = [TopicPartition(self._topic, each, OFFSET_BEGINNING) for each in topic.partitions]
        self._unread = set(topic.partitions)
        consumer.assign(starts)
        return consumer, starts

    async def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join, 5)

    def _follow(self, consumer: Any, starts: list[TopicPartition]) -> None:
        while not self._stop.is_set():
            try:
                first = consumer.poll(0.2)
                if first is not None and self._read([first, *consumer.consume(500, 0)]):
                    log.warning("%s is not what was read before: it is read anew", self._topic)
                    self.allowances.clear()
                    consumer.assign(starts)
                    self._stop.wait(1.0)
            except KafkaException as error:
                log.warning("%s: %s", self._topic, error)
                self._stop.wait(1.0)
        consumer.close()

    def _read(self, messages: Iterable[Any]) -> bool:
        """Take what came. Whether records are gone that were not read."""
        for message in messages:
            error = message.error()
            if error is None:
                self.allowances.take(message.key(), message.value())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._unread.discard(message.partition())
                if not self._unread:
                    self.caught_up.set()
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                return True
            elif not error.retriable():
                log.warning("%s: %s", self._topic, error.str())
        return False
