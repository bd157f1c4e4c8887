"""A broker that does not answer: what each call says, what may be called again, what is lost."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, TopicPartition
from tests.stream.contract.world import (
    FENCED,
    LIMIT_S,
    UNANSWERED,
    Reports,
    World,
    error_of,
    kind,
    new_id,
)

from drawdown.stream.kafka import money_producer

CONFLICT = ("_CONFLICT", ["retriable"])
SHORT_S = 0.2

ALONE = True
"""No other test may share the broker."""


def test_an_unanswered_commit_can_only_be_repeated_and_then_counts_once(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0)
    producer.flush(LIMIT_S)
    metadata = world.reader().consumer.consumer_group_metadata()
    offsets = [TopicPartition(topic, 0, 1)]
    with world.broker_away():
        assert kind(error_of(producer.commit_transaction, SHORT_S)) == UNANSWERED
        assert kind(error_of(producer.commit_transaction, SHORT_S)) == UNANSWERED
        assert kind(error_of(producer.abort_transaction, SHORT_S)) == CONFLICT
        assert kind(error_of(producer.begin_transaction)) == CONFLICT
        send = producer.send_offsets_to_transaction
        assert kind(error_of(send, offsets, metadata, SHORT_S)) == CONFLICT
        assert kind(error_of(producer.produce, topic, b"v", b"k", 0)) == ("_STATE", [])
    producer.commit_transaction(LIMIT_S)
    producer.begin_transaction()
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(2) == [b"a"]


def test_an_unanswered_abort_can_only_be_repeated(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"never", b"k", 0)
    producer.flush(LIMIT_S)
    with world.broker_away():
        assert kind(error_of(producer.abort_transaction, SHORT_S)) == UNANSWERED
        assert kind(error_of(producer.commit_transaction, SHORT_S)) == CONFLICT
    producer.abort_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(2) == []


def test_an_unanswered_init_can_only_be_repeated(world: World) -> None:
    producer = world.cluster.producer(money_producer(new_id()))
    with world.broker_away():
        assert kind(error_of(producer.init_transactions, SHORT_S)) == UNANSWERED
        assert kind(error_of(producer.begin_transaction)) == CONFLICT
    producer.init_transactions(LIMIT_S)
    producer.begin_transaction()


def test_unanswered_offsets_may_be_sent_again(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer = world.producer(new_id(), transaction_timeout_ms=10_000, socket_timeout_ms=1_000)
    reader = world.reader(group_id=group)
    metadata = reader.consumer.consumer_group_metadata()
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0)
    producer.flush(LIMIT_S)
    send, offsets = producer.send_offsets_to_transaction, [TopicPartition(topic, 0, 1)]
    with world.broker_away():
        assert kind(error_of(send, offsets, metadata, SHORT_S)) == UNANSWERED
    send(offsets, metadata, LIMIT_S)
    producer.commit_transaction(LIMIT_S)
    assert reader.committed(topic) == 1


def test_a_reader_finds_nothing_and_goes_on_afterwards(world: World) -> None:
    topic = world.topic()
    plain = world.producer()
    plain.produce(topic, b"a", b"k", 0)
    plain.flush(LIMIT_S)
    reader = world.reader((topic, 0, 0))
    reader.read_to(1)
    partition = TopicPartition(topic, 0)
    with world.broker_away():
        world.during(SHORT_S, reader)
        # Which code it is depends on where the request got stuck. No flag is ever set.
        for call, asked in (
            (reader.consumer.committed, [partition]),
            (reader.consumer.get_watermark_offsets, partition),
            (reader.consumer.list_topics, topic),
        ):
            name, flags = kind(error_of(call, asked, SHORT_S))
            assert name in ("_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT")
            assert flags == []
    assert reader.names() == []
    plain.produce(topic, b"b", b"k", 0)
    plain.flush(LIMIT_S)
    world.until(lambda: reader.values == [b"a", b"b"], reader)


def test_records_wait_for_a_broker_that_comes_back_in_time(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0)
    producer.flush(LIMIT_S)
    with world.broker_away():
        producer.produce(topic, b"b", b"k", 0)
        assert producer.flush(SHORT_S) == 1
        assert kind(error_of(producer.commit_transaction, SHORT_S)) == UNANSWERED
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(3) == [b"a", b"b"]


def test_records_that_waited_longer_than_their_transaction_may_take_are_given_up(
    world: World,
) -> None:
    topic = world.topic()
    producer = world.producer(new_id(), transaction_timeout_ms=1_000)
    producer.begin_transaction()
    producer.produce(topic, b"never", b"k", 0)
    producer.flush(LIMIT_S)
    with world.broker_away():
        producer.produce(topic, b"never", b"k", 0)
        world.until(lambda: producer.flush(0.1) == 0)
        name, flags = kind(error_of(producer.commit_transaction, SHORT_S))
        # Which code it is depends on whether the request was on its way when the broker went.
        assert name in ("_TIMED_OUT", "_INCONSISTENT")
        assert flags == ["must abort"]
    # A record that was given up may arrive nevertheless: it is aborted with the others.
    reader = world.reader((topic, 0, 0))
    world.until(lambda: reader.position(topic) >= 2, reader)
    assert reader.values == []
    assert kind(error_of(producer.abort_transaction, LIMIT_S)) == FENCED


def test_the_local_queue_is_bounded(world: World) -> None:
    topic = world.topic()
    producer = world.producer(queue_buffering_max_messages=5)
    producer.produce(topic, b"v", b"k", 0)
    producer.flush(LIMIT_S)
    with world.broker_away():
        for _ in range(5):
            producer.produce(topic, b"v", b"k", 0)
        with pytest.raises(BufferError, match="Queue full"):
            producer.produce(topic, b"v", b"k", 0)
        messages: list[dict[str, object]] = [{"value": b"v"}]
        assert producer.produce_batch(topic, messages, 0) == 0
        error = messages[0]["_error"]
        assert isinstance(error, KafkaError)
        assert kind(error) == ("_QUEUE_FULL", [])
    assert producer.flush(LIMIT_S) == 0


def test_a_report_tells_that_a_record_was_given_up(world: World) -> None:
    topic = world.topic()
    producer = world.producer(message_timeout_ms=300)
    producer.produce(topic, b"a", b"k", 0)
    producer.flush(LIMIT_S)
    reports = Reports()
    with world.broker_away():
        producer.produce(topic, b"b", b"k", 0, on_delivery=reports)
        world.until(lambda: producer.flush(0.1) == 0)
    assert reports.told == [("_MSG_TIMED_OUT", None, b"b")]


def test_purged_records_spoil_their_transaction(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"never", b"k", 0)
    producer.flush(LIMIT_S)
    with world.broker_away():
        producer.produce(topic, b"never", b"k", 0)
        producer.purge()
    assert producer.flush(LIMIT_S) == 0
    assert error_of(producer.commit_transaction, LIMIT_S).txn_requires_abort()
    producer.abort_transaction(LIMIT_S)


def test_a_member_that_hears_nothing_for_a_session_takes_its_partitions_for_lost(
    world: World,
) -> None:
    topic, group = world.topic(2), new_id()
    member = world.member(group, topic, "a")
    world.until(lambda: member.owned == {0, 1}, member)
    with world.broker_away():
        world.until(lambda: not member.owned, member)
    assert member.calls[-1] == ("lost", [0, 1])
    world.until(lambda: member.owned == {0, 1}, member)
