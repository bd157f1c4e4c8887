"""The peer of the authorize benchmark: an empty decision, over topics just like ours.

Takes what stands on its commands topic and writes for each record what a hold writes - an entry,
two rows and the answer, bytes of the same length - and commits all of it with the offsets in one
transaction per turn. And decides nothing: no decoding, no rows, no price, no store. It is what a
durable decision that changes something costs at least, over Kafka and from Python; of the
transaction's time most goes into the number of partitions it touches.
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
JOURNAL = "echo.balance-changes"
ROWS = "echo.balances"
TOPICS = (COMMANDS, DECISIONS, JOURNAL, ROWS)
ENTRY = b"e" * 986
WALLET = b"w" * 498
HOLD = b"h" * 320
"""As long as those of an authorization that holds."""
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
            partition, key = message.partition(), message.key()
            producer.produce(JOURNAL, ENTRY, key, partition)
            producer.produce(ROWS, WALLET, key, partition)
            producer.produce(ROWS, HOLD, b"%s/%d" % (key, message.offset()), partition)
            producer.produce(DECISIONS, message.value(), key, partition, headers=message.headers())
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
