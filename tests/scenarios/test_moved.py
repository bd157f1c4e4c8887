"""An environment moves to another cluster: same balances to the byte, and nothing counts twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, _now, seed, until

from drawdown import topics
from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    PRICE_BOOK,
    SETTINGS,
    USAGE_EVENTS,
    Environment,
    Topic,
)
from drawdown.settlement import backup, restoring
from drawdown.settlement.backup import BackupError
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.partition_log import Ends, PartitionLog

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2


def records(
    broker: LocalKafka, environment: Environment, topic: Topic
) -> list[list[tuple[bytes | None, bytes | None]]]:
    """Keys and values of each partition, in order."""
    cluster, name = KafkaCluster(broker.bootstrap), environment.topic(topic)
    ends = Ends(cluster)
    try:
        return [
            [
                (message.key(), message.value())
                for message in PartitionLog(cluster, name, number, *ends.bounds(name, number))
            ]
            for number in range(PARTITIONS if topic.by_customer else 1)
        ]
    finally:
        ends.close()


def no_word(line: str) -> None:
    """Progress is for people."""


def test_moved_with_a_backlog_and_everything_sent_again(broker: LocalKafka, tmp_path: Path) -> None:
    load = Load(seed())
    url = str(tmp_path / "backup")
    with World(broker, tmp_path / "old", PARTITIONS, load) as old:
        settler = old.start()
        old.ready(settler, limit_s=60)
        old.flow(per_second=150)
        time.sleep(2)
        old.dry()
        old.decided(limit_s=60)
        with pytest.raises(BackupError, match="settlement runs"):
            backup.create(old.cluster, old.environment, url, history=True, told=no_word)
        assert settler.stop() == 0
        again = list(load._recent)
        for customer, value in again[:50]:
            old._send(USAGE_EVENTS, customer, value)
        for _ in range(50):
            old._send(USAGE_EVENTS, *load.event(_now()))
        assert old._producer.flush(30.0) == 0

        def copied() -> bool:
            try:
                backup.create(old.cluster, old.environment, url, history=True, told=no_word)
            except BackupError as error:
                assert "settlement runs" in str(error)
                return False
            return True

        until(copied, 60, "not copied")

    with LocalKafka(tmp_path / "kafka") as other:
        environment = Environment("moved")
        cluster = KafkaCluster(other.bootstrap)
        topics.create(cluster.admin(), environment, PARTITIONS)
        backup.restore(cluster, environment, url, told=no_word)
        for topic in (BALANCE_CHANGES, BALANCES, PRICE_BOOK):
            assert records(other, environment, topic) == records(broker, old.environment, topic)
        (settings,) = records(other, environment, SETTINGS)
        assert [settings[1:-1]] == records(broker, old.environment, SETTINGS)
        assert [settings[0][0], settings[-1]] == [restoring.KEY, (restoring.KEY, None)]
        with pytest.raises(BackupError, match=r"is not empty .* nothing was written"):
            backup.restore(cluster, environment, url, told=no_word)

        with World(other, tmp_path / "new", PARTITIONS, load, environment) as new:
            settler = new.start()
            new.ready(settler, limit_s=60)
            for customer, value in again:
                new._send(USAGE_EVENTS, customer, value)
            new.flow(per_second=150)
            time.sleep(1)
            new.dry()
            new.decided(limit_s=90)
            settler.kill()
            settler = new.start()
            new.ready(settler, limit_s=60)
            new.verdict()
            new.verdict_on_stores(settler)
