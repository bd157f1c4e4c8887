"""The topic of balances in the in-memory log, for tests of who follows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from drawdown.events.base import KEY_SEPARATOR
from drawdown.events.catalogue import BALANCES, Environment
from drawdown.events.codec import encode
from drawdown.query import Replica
from drawdown.stream import kafka
from drawdown.stream.memory import MemoryCluster
from drawdown.stream.partition import partition_of

ENVIRONMENT: Final = Environment("test")
TOPIC: Final = ENVIRONMENT.topic(BALANCES)
PARTITIONS: Final = 2
NOW_MS: Final = 1_800_000_000_000


class Log:
    """A log in memory with the topic of balances, and the time by which all of it runs."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.cluster = MemoryCluster(lambda: NOW_MS + int(self.seconds * 1000))
        self.cluster.create_topic(
            TOPIC,
            PARTITIONS,
            {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "compact"},
        )
        self._producer = self.cluster.producer(kafka.plain_producer())

    def wallet(self, customer: str, sequence: int, *accounts: Any, **more: Any) -> None:
        """Write a wallet's row. An account is (asset, available) or with `held` third."""
        rows = [
            {"asset": asset, "available": left, "balance": left, **({"held": h[0]} if h else {})}
            for asset, left, *h in accounts
        ]
        row = {
            "row": "wallet",
            "customer": customer,
            "sequence": sequence,
            "accounts": rows,
            **more,
        }
        self.write(customer, customer, encode(row))

    def hold(self, customer: str, name: str, value: bytes | None = b"{}") -> None:
        self.write(customer, KEY_SEPARATOR.join((customer, "hold", name)), value)

    def write(self, customer: str, key: str, value: bytes | None) -> None:
        partition = partition_of(customer.encode(), PARTITIONS)
        self._producer.produce(TOPIC, value, key.encode(), partition)
        assert self._producer.flush(0) == 0

    @contextmanager
    def replica(self, directory: Path | None = None, **how: Any) -> Iterator[Replica]:
        """A replica that has read what there is."""
        replica = Replica(self.cluster, ENVIRONMENT, directory, now=lambda: self.seconds, **how)
        replica.open()
        try:
            self.read(replica)
            yield replica
        finally:
            replica.stop()

    def read(self, replica: Replica) -> None:
        """Let it read to the end, and hear that it is the end."""
        replica.follower.turn()
        self.seconds += 1
        for _ in range(3):
            replica.follower.turn()
