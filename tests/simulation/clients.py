"""Who sends: usage and commands as producers and gateways would write them, and again.

Every command asks for an answer and names its attempt, so that each record can be told its own.
"""

from __future__ import annotations

import json
from typing import Any, Final

from tests.simulation.world import ENVIRONMENT, Time, book_records

from drawdown.events.base import at_text
from drawdown.events.catalogue import COMMANDS, DECISIONS, PRICE_BOOK, USAGE_EVENTS
from drawdown.stream import kafka
from drawdown.stream.memory import MemoryCluster
from drawdown.stream.partition import partition_of

USAGE: Final = ENVIRONMENT.topic(USAGE_EVENTS)
ASKED: Final = ENVIRONMENT.topic(COMMANDS)
ANSWERED: Final = ENVIRONMENT.topic(DECISIONS)
BOOKS: Final = ENVIRONMENT.topic(PRICE_BOOK)

DAY_MS: Final = 86_400_000
POISON: Final[dict[str, tuple[bytes | None, Any]]] = {
    "no json": (b"", b"{"),
    "no object": (b"", b"null"),
    "unknown type": (b"", {"type": "nobody's"}),
    "negative": (b"", {"data": {"input": -1}}),
    "not a number": (b"", {"data": {"input": "NaN"}}),
    "too large": (b"", {"data": {"input": "1e400"}}),
    "other's key": (b"nobody", {}),
    "no key": (None, {}),
}
"""Key (empty: the customer's) and what is wrong with the event: bytes, or fields of it."""


class Clients:
    """All that send, and what they remember of what they sent."""

    def __init__(self, cluster: MemoryCluster, time: Time, partitions: int) -> None:
        self._time = time
        self._partitions = partitions
        self._cluster = cluster
        # What is sent while the broker is away arrives when it is back, however long that takes.
        config = {**kafka.plain_producer(), "message.timeout.ms": 86_400_000}
        self._producer = cluster.producer(config)
        self.events: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self.holds: list[tuple[str, str]] = []
        """Customer and id of each hold that was asked for."""
        self.sent = 0
        self.attempts = 0
        self.versions = 0
        self.seen: list[list[bytes]] = [[] for _ in range(partitions)]
        """What whoever waits for answers has been told so far, by partition."""

    # usage

    def use(self, customer: str, tokens: int, back_ms: int = 0, **more: Any) -> dict[str, Any]:
        event = {
            "specversion": "1.0",
            "id": f"e{len(self.events)}",
            "source": "sim",
            "type": "llm",
            "subject": customer,
            "time": at_text(self._time.ms - back_ms),
            "data": {"input": tokens, **more},
        }
        self.events.append(event)
        return event

    def send_usage(self, event: dict[str, Any], astray: bool = False) -> None:
        self._send(USAGE, event["subject"].encode(), encode(event), astray)

    def send_poison(self, customer: str, kind: str) -> None:
        key, wrong = POISON[kind]
        if isinstance(wrong, bytes):
            value = wrong
        else:
            value = encode({**self.use(customer, 1), **wrong})
            self.events.pop()
        key = customer.encode() if key == b"" else key
        self._send(USAGE, key, value, home=customer)

    # commands

    def ask(self, kind: str, customer: str, **fields: Any) -> dict[str, Any]:
        command = {
            "type": kind,
            "id": f"c{len(self.commands)}",
            "customer": customer,
            "time": at_text(self._time.ms),
            **fields,
        }
        self.commands.append(command)
        return command

    def send_command(self, command: dict[str, Any], astray: bool = False) -> None:
        attempt = b"%d" % self.attempts
        headers: list[tuple[str, bytes | None]] = [("reply_to", b"sim"), ("attempt_id", attempt)]
        self.attempts += 1
        self._send(ASKED, command["customer"].encode(), encode(command), astray, headers=headers)

    def look(self) -> None:
        """Take note of every answer that can be read now: it has been acted on."""
        for partition, seen in enumerate(self.seen):
            found = self._cluster.records(ANSWERED, partition)
            seen.extend(message.value() or b"" for message in found[len(seen) :])

    # books

    def publish(self, ahead_ms: int) -> None:
        """The next version; the first is in effect from the beginning."""
        self.versions += 1
        effective_ms = self._time.ms + ahead_ms if self.versions > 1 else 0
        for value in book_records(self.versions, effective_ms):
            self._producer.produce(BOOKS, value, b"book", 0)

    def flush(self) -> None:
        """All that waited for the broker arrives."""
        left = self._producer.flush(1.0)
        assert left == 0, left

    def _send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        astray: bool = False,
        home: str | None = None,
        headers: list[tuple[str, bytes | None]] | None = None,
    ) -> None:
        self.sent += 1
        customer = home.encode() if home is not None else key or b""
        partition = (partition_of(customer, self._partitions) + astray) % self._partitions
        self._producer.produce(topic, value, key, partition, headers=headers)


def encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
