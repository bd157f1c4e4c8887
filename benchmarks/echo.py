"""The peer of the authorize benchmark: an empty decision, over topics just like ours.

Takes what stands on its commands topic, answers each record on its decisions topic, and commits
both with the offsets in one transaction per turn - and decides nothing: no decoding, no rows, no
price, no store. It is what a durable answer through Kafka costs at least from Python.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from confluent_kafka import OFFSET_END, TopicPartition

from benchmarks.world import PARTITIONS
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster

COMMANDS = "echo.commands"
DECISIONS = "echo.decisions"
TURN_MAX = 2_000


def run(bootstrap: str, stop: threading.Event) -> None:
    """Answer until told to stop."""
    cluster = KafkaCluster(bootstrap)
    producer = cluster.producer(kafka.money_producer("echo"))
    producer.init_transactions(30)
    consumer = cluster.consumer(kafka.reader("echo"))
    ends = []
    for number in range(PARTITIONS):
        where = TopicPartition(COMMANDS, number, OFFSET_END)
        _, end = consumer.get_watermark_offsets(where, 10, cached=False)
        ends.append(TopicPartition(COMMANDS, number, end))
    consumer.assign(ends)
    print("ready", flush=True)
    while not stop.is_set():
        first = consumer.poll(0.1)
        if first is None:
            continue
        messages = [m for m in (first, *consumer.consume(TURN_MAX, 0)) if m.error() is None]
        if not messages:
            continue
        offsets: dict[int, int] = {}
        producer.begin_transaction()
        for message in messages:
            partition = message.partition()
            producer.produce(
                DECISIONS, message.value(), message.key(), partition, headers=message.headers()
            )
            offsets[partition] = message.offset() + 1
        producer.send_offsets_to_transaction(
            [TopicPartition(COMMANDS, p, offset) for p, offset in offsets.items()],
            consumer.consumer_group_metadata(),
            30,
        )
        producer.commit_transaction(30)
    consumer.close()


def main() -> int:
    """Parse and run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    told = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run(told.bootstrap, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
