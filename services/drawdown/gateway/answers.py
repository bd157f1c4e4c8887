"""Answers: decisions that this gateway instance waits for.

It reads every partition of `decisions` from its end on - all of them are assigned before the
gateway is ready, so that no answer can be missed - and drops by header, before decoding, what is
addressed to other instances.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import OFFSET_END, KafkaException, TopicPartition

from drawdown.events.catalogue import DECISIONS, Environment
from drawdown.gateway.publisher import BusyError
from drawdown.stream import kafka
from drawdown.stream.ports import Cluster

log = logging.getLogger("drawdown.answers")

READY_TIMEOUT_S: Final = 10.0
WAITING_MAX: Final = 20_000
"""Decisions waited for at once: memory for them is bounded, a few kilobytes each."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One decision that is waited for."""

    id: str
    """The attempt's."""
    answer: asyncio.Future[bytes]


class Answers:
    """The decisions addressed to one instance, handed to whoever waits for them."""

    def __init__(self, cluster: Cluster, environment: Environment, instance: str) -> None:
        self._cluster = cluster
        self._topic = environment.topic(DECISIONS)
        self._instance = instance.encode()
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ready = False

    async def start(self) -> None:
        """Be ready to receive. Raises KafkaException where the topic cannot be read."""
        self._loop = asyncio.get_running_loop()
        consumer = await self._loop.run_in_executor(None, self._assigned)
        self._thread = threading.Thread(
            target=self._follow, args=(consumer,), name="answers", daemon=True
        )
        self._thread.start()
        self.ready = True

    def _assigned(self) -> Any:
        consumer = self._cluster.consumer(kafka.reader())
        topic = consumer.list_topics(self._topic, READY_TIMEOUT_S).topics[self._topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        ends = []
        for partition in topic.partitions:
            where = TopicPartition(self._topic, partition, OFFSET_END)
            _, end = consumer.get_watermark_offsets(where, READY_TIMEOUT_S, cached=False)
            ends.append(TopicPartition(self._topic, partition, end))
        consumer.assign(ends)
        return consumer

    async def stop(self) -> None:
        self.ready = False
        self._stop.set()
        if self._thread is not None and self._loop is not None:
            await self._loop.run_in_executor(None, self._thread.join, 5)

    @contextmanager
    def expecting(self, count: int) -> Iterator[list[Asked]]:
        """So many decisions to come, each with an id of its own to be asked under; begin to expect
        before anything is sent. Raises BusyError where too many are waited for."""
        if len(self._waiting) + count > WAITING_MAX:
            raise BusyError(f"{len(self._waiting)} decisions are waited for")
        loop = asyncio.get_running_loop()
        name = secrets.token_hex(8)
        asked = [Asked(f"{name}.{number}", loop.create_future()) for number in range(count)]
        keys = [each.id.encode() for each in asked]
        self._waiting.update(zip(keys, (each.answer for each in asked), strict=True))
        try:
            yield asked
        finally:
            for key in keys:
                del self._waiting[key]

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return len(self._waiting)

    def _follow(self, consumer: Any) -> None:
        while not self._stop.is_set():
            try:
                first = consumer.poll(0.1)
            except KafkaException as error:
                log.warning("decisions: %s", error)
                self._stop.wait(0.5)
                continue
            if first is None:
                continue
            mine: list[tuple[bytes, bytes]] = []
            for message in [first, *consumer.consume(500, 0)]:
                if message.error() is not None:
                    continue
                headers = message.headers()
                if headers is None or ("reply_to", self._instance) not in headers:
                    continue
                attempt = next((value for name, value in headers if name == "attempt_id"), None)
                if attempt is not None:
                    mine.append((attempt, message.value()))
            if mine and self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._hand_over, mine)
        consumer.close()

    def _hand_over(self, answers: list[tuple[bytes, bytes]]) -> None:
        for attempt, value in answers:
            future = self._waiting.get(attempt)
            if future is not None and not future.done():
                future.set_result(value)
