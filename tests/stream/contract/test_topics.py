"""Topics that change: retention, compaction, deletion, and where a key belongs."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaException
from tests.stream.contract.world import LIMIT_S, SEGMENT_MS, World, kind, new_id

from drawdown.stream import ports
from drawdown.stream.partition import partition_of


def commit(producer: ports.Producer, topic: str, *records: tuple[bytes, bytes | None]) -> None:
    """A transaction of (key, value)."""
    producer.begin_transaction()
    for key, value in records:
        producer.produce(topic, value, key, 0)
    producer.commit_transaction(LIMIT_S)


# Retention


def test_what_was_trimmed_is_gone_and_offsets_stay(world: World) -> None:
    topic = world.topic()
    commit(world.producer(new_id()), topic, (b"k", b"a"), (b"k", b"b"), (b"k", b"c"))
    world.settle(topic, 4)
    world.trim(topic, 0, 1)
    reader = world.reader((topic, 0, OFFSET_BEGINNING))
    assert reader.read_to(4) == [b"b", b"c"]
    assert reader.offsets == [1, 2]
    assert reader.watermarks(topic) == (1, 4)


def test_a_reader_behind_the_trimmed_part_is_told(world: World) -> None:
    topic = world.topic()
    commit(world.producer(new_id()), topic, (b"k", b"a"), (b"k", b"b"))
    world.settle(topic, 3)
    world.trim(topic, 0, 1)
    reader = world.reader((topic, 0, 0))
    world.until(lambda: bool(reader.errors), reader)
    assert [kind(error) for error in reader.errors] == [("_AUTO_OFFSET_RESET", [])]
    assert reader.values == []


# Compaction

COMPACTED: dict[str, Any] = {
    "cleanup_policy": "compact",
    "segment_ms": str(SEGMENT_MS),
    "min_cleanable_dirty_ratio": "0.01",
}


def test_compaction_keeps_the_last_committed_value_of_each_key_and_its_offset(
    world: World,
) -> None:
    topic = world.topic(**COMPACTED)
    producer = world.producer(new_id())
    commit(producer, topic, (b"x", b"old"), (b"y", b"only"), (b"z", b"old"))
    commit(producer, topic, (b"x", b"new"), (b"z", None))
    producer.begin_transaction()
    producer.produce(topic, b"aborted", b"y", 0)
    producer.flush(LIMIT_S)
    producer.abort_transaction(LIMIT_S)
    world.compact(topic, until_gone=0)
    reader = world.reader((topic, 0, OFFSET_BEGINNING))
    world.until(lambda: bool(reader.ends), reader)
    kept = [(m.offset(), m.key(), m.value()) for m in reader.messages if (m.offset() or 0) < 9]
    assert kept == [(1, b"y", b"only"), (4, b"x", b"new"), (5, b"z", None)]
    assert reader.watermarks(topic)[0] == 0


def test_compaction_never_reaches_into_an_open_transaction(world: World) -> None:
    topic = world.topic(**COMPACTED)
    slow, quick = world.producers(new_id(), new_id())
    commit(quick, topic, (b"x", b"old"))
    commit(quick, topic, (b"x", b"stable"))
    world.settle(topic, 4)
    world.end_segment()
    slow.begin_transaction()
    slow.produce(topic, b"open", b"x", 0)
    slow.flush(LIMIT_S)
    commit(quick, topic, (b"x", b"later"))
    world.compact(topic, until_gone=0)
    reader = world.reader((topic, 0, OFFSET_BEGINNING))
    assert reader.read_to(4) == [b"stable"]
    slow.commit_transaction(LIMIT_S)
    world.until(lambda: b"later" in reader.values, reader)
    assert reader.values[:3] == [b"stable", b"open", b"later"]
    assert reader.offsets[:3] == [2, 4, 5]


# Deletion


def test_a_deleted_topic_is_silent_and_a_new_one_of_its_name_is_another(world: World) -> None:
    topic = world.topic(2)
    producer = world.producer(new_id())
    commit(producer, topic, (b"k", b"a"), (b"k", b"b"))
    reader = world.reader((topic, 0, 0))
    reader.read_to(3)
    world.delete(topic)
    world.during(0.2, reader)
    assert reader.names() == []
    world.create(topic, 3, {})
    fresh = world.reader((topic, 0, 0))
    assert fresh.read_to(0) == []
    assert sorted(fresh.consumer.list_topics(topic, LIMIT_S).topics[topic].partitions) == [0, 1, 2]
    # The old reader's position means nothing here, and only because it is too high it is told.
    world.until(lambda: bool(reader.errors), reader)
    assert reader.names() == ["_AUTO_OFFSET_RESET"]


# Keys


KEYS = [b"cus_%d" % number for number in range(200)] + [
    b"",
    b"a",
    b"ab",
    b"abc",
    "ключ".encode(),
    bytes(range(256)),
    b"k" * 300,
]


def test_a_key_goes_to_the_partition_that_java_would_choose(world: World) -> None:
    topic = world.topic(7)
    producer = world.producer()
    for number, key in enumerate(KEYS):
        producer.produce(topic, b"%d" % number, key)
    producer.flush(LIMIT_S)
    reader = world.reader(*((topic, partition, 0) for partition in range(7)))
    world.until(lambda: len(reader.messages) == len(KEYS), reader)
    where = {int(m.value() or b""): m.partition() for m in reader.messages}
    assert [where[number] for number in range(len(KEYS))] == [partition_of(k, 7) for k in KEYS]


def test_the_default_of_other_clients_is_another_partition(world: World) -> None:
    """Why a record may lie where its key does not belong."""
    topic = world.topic(7)
    stranger = world.cluster.producer({"partitioner": "consistent_random"})
    for number, key in enumerate(KEYS[:20]):
        stranger.produce(topic, b"%d" % number, key)
    stranger.flush(LIMIT_S)
    reader = world.reader(*((topic, partition, 0) for partition in range(7)))
    world.until(lambda: len(reader.messages) == 20, reader)
    where = {int(m.value() or b""): m.partition() for m in reader.messages}
    assert [where[number] for number in range(20)] == [crc32(key) % 7 for key in KEYS[:20]]


def test_records_without_a_key_go_anywhere(world: World) -> None:
    topic = world.topic(3)
    producer = world.producer()
    for _ in range(5):
        producer.produce(topic, b"v", None)
    producer.flush(LIMIT_S)
    reader = world.reader(*((topic, partition, 0) for partition in range(3)))
    world.until(lambda: len(reader.messages) == 5, reader)
    with pytest.raises(KafkaException):
        producer.produce(topic, b"v", None, 3)
