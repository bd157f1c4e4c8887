"""What there is to judge: records of topics, lines of histories, dumps of stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

TOPICS = ("usage-events", "commands", "balance-changes", "balances", "decisions", "dead-letters")
LIMIT_S = 60.0
PLACES = 12


@dataclass(frozen=True)
class Read:
    """A record as a read_committed reader got it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.value or b"null")
        return found


Records = dict[str, list[Read]]


class NoRecordsError(Exception):
    """A topic could not be read to its end."""


def read_all(bootstrap: str, environment: str) -> Records:
    """Every topic whole. Raises NoRecordsError."""
    return {name: list(read_topic(bootstrap, f"{environment}.{name}")) for name in TOPICS}


def read_topic(bootstrap: str, topic: str) -> Iterator[Read]:
    """A topic from its beginning to its end. Raises NoRecordsError."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "client.id": "judge",
            "group.id": "faults.judge",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 32 << 20,
        }
    )
    try:
        known = consumer.list_topics(topic, LIMIT_S).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in known])
        ended: set[int | None] = set()
        while len(ended) < len(known):
            message = consumer.poll(LIMIT_S)
            if message is None:
                raise NoRecordsError(f"{topic}: nothing came for {LIMIT_S:.0f} s before its end")
            if message.error() is not None:
                ended.add(message.partition())
                continue
            key: Any = message.key()
            headers: Any = message.headers() or []
            yield Read(
                message.partition() or 0,
                message.offset() or 0,
                key,
                message.value(),
                {name: value or b"" for name, value in headers},
            )
    finally:
        consumer.close()


def lines(path: Path) -> list[dict[str, Any]]:
    """Of a JSON-lines file; one that was cut short by a kill is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def exact(text: str) -> int:
    """An amount as an integer of 10^-12. Raises ValueError where it does not fit."""
    scaled = Decimal(text).scaleb(PLACES)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{text} has more than {PLACES} places")
    return int(scaled)
