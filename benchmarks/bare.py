"""The peer of the throughput benchmark: the cheapest loop that still moves the same records.

Consume, produce one record per event and one row per customer, commit offsets in the transaction,
write RocksDB - and decide nothing: no identity, no prices, no grants, no digest, no validation. It
is what Kafka, the client and RocksDB cost at least in Python; what Drawdown takes beyond it is the
money.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from confluent_kafka.admin import NewTopic
from rocksdict import Options, Rdict, WriteBatch

from benchmarks.world import ENVIRONMENT, PARTITIONS
from drawdown.events.catalogue import USAGE_EVENTS
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster

BATCH = 2000


def run(bootstrap: str, directory: Path, seconds: float) -> float:
    """Events a second over so many seconds, or until the topic's end."""
    cluster = KafkaCluster(bootstrap)
    made = [NewTopic(name, PARTITIONS, 1) for name in ("bare.entries", "bare.rows")]
    admin = cluster.admin()
    for future in admin.create_topics(made).values():
        future.result(15)
    topic = ENVIRONMENT.topic(USAGE_EVENTS)
    producer = cluster.producer(kafka.money_producer("bare"))
    producer.init_transactions(30)
    consumer = cluster.consumer(kafka.reader("bare"))
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    store = Rdict(str(directory), options=options)
    count, began = 0, 0.0
    while not began or time.monotonic() - began < seconds:
        messages = [m for m in consumer.consume(BATCH, 1.0) if m.error() is None]
        if not messages:
            break
        began = began or time.monotonic()
        rows: dict[bytes, tuple[bytes, int]] = {}
        ids, offsets = [], {}
        producer.begin_transaction()
        for message in messages:
            key, value = message.key(), message.value()
            partition = message.partition()
            producer.produce("bare.entries", value, key, partition)
            rows[key] = (value, partition)
            offsets[partition] = message.offset() + 1
            ids.append(value[:48])
        for key, (value, partition) in rows.items():
            producer.produce("bare.rows", value, key, partition)
        producer.send_offsets_to_transaction(
            [TopicPartition(topic, p, offset) for p, offset in offsets.items()],
            consumer.consumer_group_metadata(),
            30,
        )
        producer.commit_transaction(30)
        batch = WriteBatch(raw_mode=True)
        for key, (value, _) in rows.items():
            batch.put(key, value)
        for name in ids:
            batch.put(name, b"")
        store.write(batch)
        count += len(messages)
    took = time.monotonic() - began
    consumer.close()
    store.close()
    shutil.rmtree(directory, ignore_errors=True)
    return count / took


def main() -> int:
    """Parse, run, print the rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    told = parser.parse_args()
    print(run(told.bootstrap, told.directory, told.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
