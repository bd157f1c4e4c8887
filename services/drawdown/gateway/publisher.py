"""Sending to Kafka from asyncio: a record is sent when the cluster has it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Final

from confluent_kafka import KafkaError, Message

from drawdown.stream import kafka
from drawdown.stream.ports import Cluster, Headers

IN_FLIGHT_MAX: Final = 20_000
"""Records that wait for the cluster. Their bytes are bounded by the client's own queue."""

Sent = asyncio.Future[tuple[int, int]]
"""The partition and offset a record landed at, once it did."""


class NotSentError(Exception):
    """The record did not reach the cluster in time, or it is not known whether it did."""


class BusyError(Exception):
    """Too many records wait for the cluster: nothing more is taken on."""


class Publisher:
    """One idempotent producer, polled in a thread; delivery is awaited."""

    def __init__(self, cluster: Cluster) -> None:
        self._producer = cluster.producer(kafka.plain_producer())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self.in_flight = 0

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Wait for what is in flight, 10 s at most."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._producer.flush, 10.0)
        self._stop.set()
        await loop.run_in_executor(None, self._thread.join, 5)

    def make_room(self, count: int) -> None:
        """Raises BusyError where so many more would be too much."""
        if self.in_flight + count > IN_FLIGHT_MAX:
            raise BusyError(f"{self.in_flight} records wait for Kafka")

    def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> Sent:
        """Send a record; the future is its partition and offset, or NotSentError.

        Raises BusyError at once where too much is in flight.
        """
        self.make_room(1)
        loop = asyncio.get_running_loop()
        future: Sent = loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._landed, future, error, message)

        try:
            self._producer.produce(topic, value, key, headers=headers, on_delivery=report)
        except BufferError as error:
            raise BusyError(str(error)) from None
        self.in_flight += 1
        return future

    def _landed(
        self, future: asyncio.Future[Any], error: KafkaError | None, message: Message
    ) -> None:
        self.in_flight -= 1
        if future.done():
            return
        if error is not None:
            future.set_exception(NotSentError(error.str()))
        else:
            future.set_result((message.partition(), message.offset()))

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.05)
