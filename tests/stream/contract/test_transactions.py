"""Transactions: what they write, what readers see of them, how they end, who may not go on."""

from __future__ import annotations

import random
from typing import Any

import pytest
from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from tests.stream.contract.world import (
    FENCED,
    LIMIT_S,
    TRANSACTION_S,
    WRONG_STATE,
    Actor,
    Reports,
    World,
    error_of,
    kind,
    new_id,
)

from drawdown.stream import ports
from drawdown.stream.kafka import RECORD_BYTES_MAX, money_producer

OUT_OF_ORDER = ("OUT_OF_ORDER_SEQUENCE_NUMBER", ["must abort"])
TIMEOUT = {"transaction_timeout_ms": round(TRANSACTION_S * 1000)}


def write(producer: ports.Producer, topic: str, *values: bytes) -> None:
    """Records in an open transaction, sent."""
    for value in values:
        producer.produce(topic, value, b"k", 0)
    assert producer.flush(LIMIT_S) == 0


def commit(producer: ports.Producer, topic: str, *values: bytes) -> None:
    producer.begin_transaction()
    write(producer, topic, *values)
    producer.commit_transaction(LIMIT_S)


def abort(producer: ports.Producer, topic: str, *values: bytes) -> None:
    producer.begin_transaction()
    write(producer, topic, *values)
    producer.abort_transaction(LIMIT_S)


# What they write


def test_a_transaction_takes_one_more_offset_for_its_marker(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    commit(producer, topic, b"a", b"b")
    commit(producer, topic, b"c")
    reader = world.reader((topic, 0, 0))
    assert reader.read_to(5) == [b"a", b"b", b"c"]
    assert reader.offsets == [0, 1, 3]


def test_an_aborted_transaction_takes_offsets_and_is_never_handed_out(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    commit(producer, topic, b"a")
    abort(producer, topic, b"never", b"never")
    commit(producer, topic, b"b")
    reader = world.reader((topic, 0, 0))
    assert reader.read_to(7) == [b"a", b"b"]
    assert reader.offsets == [0, 5]


def test_every_partition_that_a_transaction_wrote_to_gets_a_marker(world: World) -> None:
    topic = world.topic(3)
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0)
    producer.produce(topic, b"b", b"k", 2)
    producer.commit_transaction(LIMIT_S)
    world.settle(topic, 2, 0, 2)


def test_an_empty_transaction_leaves_nothing(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.commit_transaction(LIMIT_S)
    producer.begin_transaction()
    producer.abort_transaction(LIMIT_S)
    assert world.reader().watermarks(topic) == (0, 0)


def test_a_record_comes_out_as_it_went_in(world: World) -> None:
    topic = world.topic(message_timestamp_type="LogAppendTime")
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"v", b"k", 0, headers=[("h", b"1"), ("h", b"2"), ("n", None)])
    producer.produce(topic, None, b"tombstone", 0)
    producer.produce(topic, b"", None, 0)
    producer.commit_transaction(LIMIT_S)
    reader = world.reader((topic, 0, 0))
    reader.read_to(4)
    assert [(m.key(), m.value(), m.headers()) for m in reader.messages] == [
        (b"k", b"v", [("h", b"1"), ("h", b"2"), ("n", None)]),
        (b"tombstone", None, None),
        (None, b"", None),
    ]
    assert [(m.topic(), m.partition(), m.leader_epoch()) for m in reader.messages] == [
        (topic, 0, 0)
    ] * 3


def test_a_record_of_twenty_mebibytes_passes(world: World) -> None:
    topic = world.topic(max_message_bytes=RECORD_BYTES_MAX + (1 << 20))
    producer = world.producer(new_id())
    value = random.Random(1).randbytes(RECORD_BYTES_MAX - 1_000)
    producer.begin_transaction()
    producer.produce(topic, b"small", b"k", 0)
    producer.produce(topic, value, b"k", 0)
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(3) == [b"small", value]


def test_a_message_without_a_value_counts_as_false(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, None, b"k", 0)
    producer.commit_transaction(LIMIT_S)
    reader = world.reader((topic, 0, 0))
    reader.read_to(2)
    assert [bool(message) for message in reader.messages] == [False]


def test_a_timestamp_is_the_brokers_or_the_producers_as_the_topic_says(world: World) -> None:
    appended = world.topic(message_timestamp_type="LogAppendTime")
    created = world.topic(message_timestamp_type="CreateTime")
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(appended, b"", b"k", 0, timestamp=1_600_000_000_000)
    producer.produce(created, b"", b"k", 0, timestamp=1_600_000_000_000)
    producer.commit_transaction(LIMIT_S)
    reader = world.reader((appended, 0, 0), (created, 0, 0))
    world.until(lambda: len(reader.messages) == 2, reader)
    stamps = {message.topic(): message.timestamp() for message in reader.messages}
    kind_appended, at_ms = stamps[appended]
    assert kind_appended == 2
    assert at_ms > 1_600_000_000_000
    assert stamps[created] == (1, 1_600_000_000_000)


# What readers see


def test_a_reader_never_sees_past_an_open_transaction(world: World) -> None:
    topic = world.topic()
    slow, quick = world.producer(new_id()), world.producer(new_id())
    commit(quick, topic, b"before")
    world.settle(topic, 2)
    slow.begin_transaction()
    write(slow, topic, b"open")
    commit(quick, topic, b"after")
    plain = world.producer()
    plain.produce(topic, b"plain", b"k", 0)
    plain.flush(LIMIT_S)
    reader = world.reader((topic, 0, 0))
    assert reader.read_to(2) == [b"before"]
    slow.commit_transaction(LIMIT_S)
    assert reader.read_to(7) == [b"before", b"open", b"after", b"plain"]


def test_a_reader_of_uncommitted_records_sees_open_and_aborted_ones(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    abort(producer, topic, b"aborted")
    producer.begin_transaction()
    write(producer, topic, b"open")
    reader = world.reader((topic, 0, 0), isolation_level="read_uncommitted")
    assert reader.read_to(3) == [b"aborted", b"open"]


def test_the_high_watermark_is_told_to_readers_of_uncommitted_records_only(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    commit(producer, topic, b"a")
    producer.begin_transaction()
    write(producer, topic, b"open", b"open")
    assert world.reader().watermarks(topic) == (0, 2)
    assert world.reader(isolation_level="read_uncommitted").watermarks(topic) == (0, 4)


def test_a_cached_watermark_is_the_high_one_for_every_reader(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    commit(producer, topic, b"a")
    producer.begin_transaction()
    write(producer, topic, b"open", b"open")
    reader = world.reader((topic, 0, 0))
    partition = TopicPartition(topic, 0)
    assert reader.consumer.get_watermark_offsets(partition, cached=True) == (-1001, -1001)
    reader.read_to(2)
    assert reader.consumer.get_watermark_offsets(partition, cached=True) == (0, 4)


# Fencing and time-outs


def a_record_sent(producer: ports.Producer, topic: str) -> None:
    producer.begin_transaction()
    write(producer, topic, b"zombie")


def by_commit(producer: ports.Producer, reader: Actor, topic: str) -> KafkaError:
    return error_of(producer.commit_transaction, LIMIT_S)


def by_abort(producer: ports.Producer, reader: Actor, topic: str) -> KafkaError:
    return error_of(producer.abort_transaction, LIMIT_S)


def by_offsets(producer: ports.Producer, reader: Actor, topic: str) -> KafkaError:
    metadata = reader.consumer.consumer_group_metadata()
    offsets = [TopicPartition(topic, 0, 1)]
    return error_of(producer.send_offsets_to_transaction, offsets, metadata, LIMIT_S)


def by_record(producer: ports.Producer, reader: Actor, topic: str) -> KafkaError:
    producer.produce(topic, b"zombie", b"k", 0)
    return error_of(producer.flush, LIMIT_S)


WAYS_TO_NOTICE = (by_commit, by_abort, by_offsets, by_record)


def test_a_fenced_producer_fails_for_good_whichever_call_it_makes_next(world: World) -> None:
    topic = world.topic()
    ids = [new_id() for _ in WAYS_TO_NOTICE]
    zombies = world.producers(*ids)
    for zombie in zombies:
        a_record_sent(zombie, topic)
    successors = world.producers(*ids)
    for notices, zombie in zip(WAYS_TO_NOTICE, zombies, strict=True):
        assert kind(notices(zombie, world.reader(), topic)) == FENCED
    world.settle(topic, 8)
    commit(successors[0], topic, b"a")
    world.settle(topic, 10)
    reader = world.reader((topic, 0, 0))
    world.until(lambda: bool(reader.ends), reader)
    assert reader.values == [b"a"]


def test_a_producer_fenced_before_its_transaction_fails_at_its_first_record(world: World) -> None:
    topic, id = world.topic(), new_id()
    old = world.producer(id)
    world.producer(id)
    old.begin_transaction()
    assert kind(by_record(old, world.reader(), topic)) == FENCED


def test_a_fenced_producer_that_sent_nothing_notices_nothing(world: World) -> None:
    id = new_id()
    old = world.producer(id)
    world.producer(id)
    old.begin_transaction()
    old.commit_transaction(LIMIT_S)
    old.begin_transaction()
    old.abort_transaction(LIMIT_S)


def test_after_a_fatal_error_every_call_fails_with_it(world: World) -> None:
    topic, id = world.topic(), new_id()
    old = world.producer(id)
    a_record_sent(old, topic)
    world.producer(id)
    assert kind(by_commit(old, world.reader(), topic)) == FENCED
    assert kind(error_of(old.begin_transaction)) == FENCED
    assert kind(error_of(old.abort_transaction, LIMIT_S)) == FENCED
    assert kind(error_of(old.commit_transaction, LIMIT_S)) == FENCED
    assert kind(error_of(old.init_transactions, LIMIT_S)) == FENCED
    assert kind(by_offsets(old, world.reader(), topic)) == FENCED
    assert kind(error_of(old.produce, topic, b"zombie", b"k", 0)) == ("_FATAL", [])


def test_a_fatal_error_is_raised_by_poll_too_but_once(world: World) -> None:
    topic, id = world.topic(), new_id()
    old = world.producer(id)
    a_record_sent(old, topic)
    world.producer(id)
    by_commit(old, world.reader(), topic)
    assert kind(error_of(old.poll, 0)) == FENCED
    assert old.poll(0) == 0
    assert old.flush(LIMIT_S) == 0


def test_init_transactions_aborts_what_the_predecessor_left_open(world: World) -> None:
    topic, id = world.topic(), new_id()
    a_record_sent(world.producer(id), topic)
    new = world.producer(id)
    assert world.reader().watermarks(topic) == (0, 2)
    commit(new, topic, b"a")
    assert world.reader((topic, 0, 0)).read_to(4) == [b"a"]


def test_a_transaction_that_takes_too_long_is_aborted_by_the_broker(world: World) -> None:
    topic = world.topic()
    commit(world.producer(new_id()), topic, b"a")
    a_record_sent(world.producer(new_id(), **TIMEOUT), topic)
    reader = world.reader((topic, 0, 0))
    assert reader.read_to(4) == [b"a"]


def test_a_producer_whose_transaction_took_too_long_is_fenced(world: World) -> None:
    topic, reader = world.topic(), world.reader()
    slow = world.producers(*(new_id() for _ in WAYS_TO_NOTICE), **TIMEOUT)
    for producer in slow:
        a_record_sent(producer, topic)
    world.settle(topic, 8)
    for notices, producer in zip(WAYS_TO_NOTICE, slow, strict=True):
        assert kind(notices(producer, reader, topic)) == FENCED


# Order of calls


def test_calls_out_of_order_are_refused_and_change_nothing(world: World) -> None:
    topic, reader = world.topic(), world.reader()
    metadata = reader.consumer.consumer_group_metadata()
    offsets = [TopicPartition(topic, 0, 1)]
    producer = world.cluster.producer(money_producer(new_id()))
    assert kind(error_of(producer.begin_transaction)) == WRONG_STATE
    assert kind(error_of(producer.produce, topic, b"v", b"k", 0)) == WRONG_STATE
    producer.init_transactions(LIMIT_S)
    assert kind(error_of(producer.init_transactions, LIMIT_S)) == WRONG_STATE
    assert kind(error_of(producer.produce, topic, b"v", b"k", 0)) == WRONG_STATE
    assert kind(error_of(producer.commit_transaction, LIMIT_S)) == WRONG_STATE
    assert kind(error_of(producer.abort_transaction, LIMIT_S)) == WRONG_STATE
    assert (
        kind(error_of(producer.send_offsets_to_transaction, offsets, metadata, LIMIT_S))
        == WRONG_STATE
    )
    producer.begin_transaction()
    assert kind(error_of(producer.begin_transaction)) == WRONG_STATE
    write(producer, topic, b"a")
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(2) == [b"a"]


def test_a_producer_without_a_transactional_id_has_no_transactions(world: World) -> None:
    producer = world.producer()
    for call in (
        producer.init_transactions,
        producer.begin_transaction,
        producer.commit_transaction,
        producer.abort_transaction,
    ):
        assert kind(error_of(call)) == ("_NOT_CONFIGURED", [])


# Records that are refused


def test_a_record_too_large_for_the_producer_is_refused_at_once(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id(), message_max_bytes=2_000)
    producer.begin_transaction()
    error = error_of(producer.produce, topic, bytes(3_000), b"k", 0)
    assert kind(error) == ("MSG_SIZE_TOO_LARGE", [])
    write(producer, topic, b"a")
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(2) == [b"a"]


@pytest.mark.parametrize(
    ("settings", "key", "value", "error"),
    [
        ({"max_message_bytes": "1000"}, b"k", bytes(range(256)) * 8, "MSG_SIZE_TOO_LARGE"),
        ({"cleanup_policy": "compact"}, None, b"v", "INVALID_RECORD"),
    ],
    ids=["too large for the topic", "without a key in a compacted topic"],
)
def test_a_record_the_broker_refuses_spoils_its_transaction_and_the_next(
    world: World, settings: dict[str, Any], key: bytes | None, value: bytes, error: str
) -> None:
    topic = world.topic(**settings)
    producer = world.producer(new_id(), compression_type="none")
    producer.begin_transaction()
    producer.produce(topic, value, key, 0)
    producer.flush(LIMIT_S)
    assert kind(error_of(producer.commit_transaction, LIMIT_S)) == (error, ["must abort"])
    assert kind(error_of(producer.commit_transaction, LIMIT_S)) == (error, ["must abort"])
    assert kind(error_of(producer.produce, topic, b"v", b"k", 0)) == WRONG_STATE
    producer.abort_transaction(LIMIT_S)
    # Its number in the sequence is missing now, and the broker says so once.
    producer.begin_transaction()
    producer.produce(topic, b"v", b"k", 0)
    assert kind(error_of(producer.commit_transaction, LIMIT_S)) == OUT_OF_ORDER
    producer.abort_transaction(LIMIT_S)
    commit(producer, topic, b"a")
    reader = world.reader((topic, 0, 0))
    world.until(lambda: reader.values == [b"a"], reader)


def test_a_partition_that_is_known_not_to_exist_is_refused_at_once(world: World) -> None:
    topic = world.topic(2)
    producer = world.producer(new_id())
    producer.begin_transaction()
    write(producer, topic, b"a")
    error = error_of(producer.produce, topic, b"v", b"k", 2)
    assert kind(error) == ("_UNKNOWN_PARTITION", [])
    producer.commit_transaction(LIMIT_S)


def test_a_record_for_no_partition_at_all_spoils_its_transaction(world: World) -> None:
    topic = world.topic(2)
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"v", b"k", 2)
    producer.flush(LIMIT_S)
    error = error_of(producer.commit_transaction, LIMIT_S)
    assert kind(error) == ("_INCONSISTENT", ["must abort"])
    producer.abort_transaction(LIMIT_S)
    commit(producer, topic, b"a")


def test_a_record_for_an_unknown_topic_spoils_its_transaction(world: World) -> None:
    topic = f"missing-{new_id()}"
    producer = world.producer(new_id(), topic_metadata_propagation_max_ms=200)
    producer.begin_transaction()
    producer.produce(topic, b"v", b"k", 0)
    producer.flush(LIMIT_S)
    error = error_of(producer.commit_transaction, LIMIT_S)
    assert kind(error) == ("_INCONSISTENT", ["must abort"])
    producer.abort_transaction(LIMIT_S)
    producer.begin_transaction()
    assert kind(error_of(producer.produce, topic, b"v", b"k", 0)) == ("_UNKNOWN_TOPIC", [])


# Batches


def test_a_batch_goes_to_the_partition_of_the_call_whatever_its_messages_say(world: World) -> None:
    topic = world.topic(3)
    producer = world.producer(new_id())
    messages = [{"value": b"a", "key": b"k", "partition": 2, "headers": [("h", b"1")]}]
    producer.begin_transaction()
    assert producer.produce_batch(topic, messages, 1) == 1
    producer.commit_transaction(LIMIT_S)
    reader = world.reader((topic, 0, 0), (topic, 1, 0), (topic, 2, 0))
    world.until(lambda: bool(reader.messages), reader)
    assert [(m.partition(), m.headers()) for m in reader.messages] == [(1, None)]


def test_messages_of_a_batch_that_are_not_taken_carry_the_error(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id(), message_max_bytes=2_000)
    messages: list[dict[str, object]] = [{"value": b"a"}, {"value": bytes(3_000)}, {"value": b"b"}]
    producer.begin_transaction()
    assert producer.produce_batch(topic, messages, 0) == 2
    errors = [message.get("_error") for message in messages]
    assert [isinstance(error, KafkaError) and error.name() for error in errors] == [
        False,
        "MSG_SIZE_TOO_LARGE",
        False,
    ]
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(3) == [b"a", b"b"]


def test_a_batch_outside_of_a_transaction_is_not_taken(world: World) -> None:
    topic = world.topic()
    producer = world.producer(new_id())
    messages: list[dict[str, object]] = [{"value": b"a"}]
    assert producer.produce_batch(topic, messages, 0) == 0
    error = messages[0]["_error"]
    assert isinstance(error, KafkaError)
    assert kind(error) == WRONG_STATE


def test_records_without_transactions_are_there_once_flushed(world: World) -> None:
    topic = world.topic()
    producer = world.producer()
    producer.produce(topic, b"a", b"k", 0)
    assert producer.flush(LIMIT_S) == 0
    assert world.reader((topic, 0, 0)).read_to(1) == [b"a"]


# Delivery reports


def test_a_report_tells_where_a_record_is_and_comes_in_a_poll_or_flush(world: World) -> None:
    topic, reports = world.topic(), Reports()
    producer = world.producer()
    producer.produce(topic, b"a", b"k", 0, on_delivery=reports)
    assert reports.told == []
    world.until(lambda: producer.poll(0) == 1)
    assert reports.told == [(None, 0, b"a")]
    producer.produce(topic, b"b", b"k", 0, on_delivery=reports)
    producer.flush(LIMIT_S)
    assert reports.told == [(None, 0, b"a"), (None, 1, b"b")]


def test_a_report_tells_why_a_record_was_refused(world: World) -> None:
    topic, reports = world.topic(max_message_bytes="1000"), Reports()
    producer = world.producer(compression_type="none")
    producer.produce(topic, bytes(2_000), b"k", 0, on_delivery=reports)
    producer.flush(LIMIT_S)
    assert reports.told == [("MSG_SIZE_TOO_LARGE", None, bytes(2_000))]


def test_reports_of_a_transaction_come_in_its_commit(world: World) -> None:
    topic, reports = world.topic(), Reports()
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0, on_delivery=reports)
    producer.produce_batch(topic, [{"value": b"b", "key": b"k", "callback": reports}], 0)
    producer.commit_transaction(LIMIT_S)
    assert reports.told == [(None, 0, b"a"), (None, 1, b"b")]


def test_an_error_is_a_kafka_exception_whose_first_argument_is_the_kafka_error(
    world: World,
) -> None:
    with pytest.raises(KafkaException) as raised:
        world.producer(new_id()).commit_transaction(LIMIT_S)
    assert isinstance(raised.value.args[0], KafkaError)


def test_a_report_tells_by_the_brokers_clock_when_a_record_was_appended_before_it_counts(
    world: World,
) -> None:
    """What the broker's clock says can be known, and the transaction still be aborted."""
    topic = world.topic(message_timestamp_type="LogAppendTime")
    producer = world.producer(new_id())
    told: list[tuple[int, int]] = []

    def landed(error: KafkaError | None, message: Message) -> None:
        assert error is None
        told.append(message.timestamp())

    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0, timestamp=1, on_delivery=landed)
    assert producer.flush(LIMIT_S) == 0
    ((kind_of_time, at_ms),) = told
    assert kind_of_time == TIMESTAMP_LOG_APPEND_TIME
    assert at_ms > 1
    producer.abort_transaction(LIMIT_S)
    commit(producer, topic, b"b")
    assert world.reader((topic, 0, 0)).read_to(4) == [b"b"]
