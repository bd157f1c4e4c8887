"""Reading: ends of partitions, positions, seeking, pausing, where a reader starts."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TopicPartition
from tests.stream.contract.world import LIMIT_S, Kind, World, error_of, kind, new_id

RESET_ERROR: Kind = ("_AUTO_OFFSET_RESET", [])


def filled(world: World, *values: bytes, partitions: int = 1) -> str:
    """A topic with one committed transaction of these values in each partition."""
    topic = world.topic(partitions)
    producer = world.producer(new_id())
    producer.begin_transaction()
    for partition in range(partitions):
        for value in values:
            producer.produce(topic, value, b"k", partition)
    producer.commit_transaction(LIMIT_S)
    world.settle(topic, *[len(values) + 1] * partitions)
    return topic


def append(world: World, topic: str, *values: bytes) -> None:
    producer = world.producer()
    for value in values:
        producer.produce(topic, value, b"k", 0)
    assert producer.flush(LIMIT_S) == 0


# Ends


def test_the_end_of_a_partition_is_reported_once_each_time_it_is_reached(world: World) -> None:
    topic = filled(world, b"a", b"b")
    reader = world.reader((topic, 0, 0))
    reader.read_to(3)
    world.during(0.2, reader)
    assert reader.ends == [3]
    append(world, topic, b"c")
    assert reader.read_to(4) == [b"a", b"b", b"c"]
    assert reader.ends == [3, 4]


def test_the_end_of_an_empty_partition_is_reported_too(world: World) -> None:
    reader = world.reader((world.topic(), 0, 0))
    assert reader.read_to(0) == []


def test_the_end_for_a_committed_reader_is_the_first_open_record(world: World) -> None:
    topic = filled(world, b"a")
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"open", b"k", 0)
    producer.flush(LIMIT_S)
    reader = world.reader((topic, 0, 0))
    reader.read_to(2)
    producer.abort_transaction(LIMIT_S)
    assert reader.read_to(4) == [b"a"]
    assert reader.ends == [2, 4]


def test_an_end_is_a_true_message_with_an_error_and_no_record(world: World) -> None:
    reader = world.reader((world.topic(), 0, 0))
    message = reader.consumer.poll(LIMIT_S)
    assert message
    error = message.error()
    assert error is not None
    assert kind(error) == ("_PARTITION_EOF", [])
    assert (message.offset(), message.key(), message.timestamp()) == (0, None, (0, -1))


def test_consume_takes_what_is_there_ends_included(world: World) -> None:
    topic = filled(world, b"a", b"b", b"c")
    reader = world.reader((topic, 0, 0))

    def take() -> bool:
        for message in reader.consumer.consume(2, 0.05):
            reader.take(message)
        return reader.ends == [4]

    world.until(take)
    assert reader.values == [b"a", b"b", b"c"]
    assert reader.consumer.consume(5, 0) == []


def test_all_partitions_have_their_turn(world: World) -> None:
    topic = filled(world, *[b"%d" % number for number in range(200)], partitions=3)
    reader = world.reader(*((topic, partition, 0) for partition in range(3)))
    world.until(lambda: len(reader.messages) == 600, reader)
    for partition in range(3):
        own = [m.value() for m in reader.messages if m.partition() == partition]
        assert own == [b"%d" % number for number in range(200)]


# Positions


def test_a_position_is_unknown_before_the_first_entry(world: World) -> None:
    topic = filled(world, b"a")
    reader = world.reader((topic, 0, 2))
    assert reader.position(topic) == -1001
    reader.read_to(2)
    assert reader.position(topic) == -1001


def test_a_position_is_one_past_the_last_message_and_then_past_the_marker(world: World) -> None:
    topic = filled(world, b"a", b"b")
    reader = world.reader((topic, 0, 0))
    world.until(lambda: reader.values == [b"a"], reader)
    assert reader.position(topic) == 1
    world.until(lambda: reader.values == [b"a", b"b"], reader)
    assert reader.position(topic) == 2
    reader.read_to(3)
    assert reader.position(topic) == 3


def test_a_position_passes_aborted_records_without_a_message(world: World) -> None:
    topic = filled(world, b"a")
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"never", b"k", 0)
    producer.flush(LIMIT_S)
    producer.abort_transaction(LIMIT_S)
    reader = world.reader((topic, 0, 0), enable_partition_eof=False)
    world.until(lambda: reader.position(topic) == 4, reader)
    assert reader.values == [b"a"]


def test_the_position_of_a_partition_that_is_not_assigned_is_unknown(world: World) -> None:
    topic = filled(world, b"a")
    assert world.reader().position(topic) == -1001


# Seeking


def test_a_reader_goes_on_where_it_was_sent(world: World) -> None:
    topic = filled(world, b"a", b"b", b"c")
    reader = world.reader((topic, 0, 0))
    reader.read_to(4)
    reader.consumer.seek(TopicPartition(topic, 0, 1))
    assert reader.position(topic) == -1001
    world.until(lambda: reader.ends == [4, 4], reader)
    assert reader.values == [b"a", b"b", b"c", b"b", b"c"]


def test_a_seek_right_after_the_assignment_counts(world: World) -> None:
    topic = filled(world, b"a", b"b", b"c")
    reader = world.reader((topic, 0, 0))
    reader.consumer.seek(TopicPartition(topic, 0, 2))
    assert reader.read_to(4) == [b"c"]


def test_a_seek_elsewhere_is_refused(world: World) -> None:
    topic = filled(world, b"a", partitions=2)
    reader = world.reader((topic, 0, 0))
    reader.read_to(2)
    error = error_of(reader.consumer.seek, TopicPartition(topic, 1, 0))
    assert kind(error) == ("_STATE", [])
    error = error_of(reader.consumer.seek, TopicPartition("another", 0, 0))
    assert kind(error) == ("_UNKNOWN_PARTITION", [])


def test_an_offset_that_does_not_exist_is_an_error_and_the_partition_stands_still(
    world: World,
) -> None:
    topic = filled(world, b"a", b"b")
    reader = world.reader((topic, 0, 0))
    reader.read_to(3)
    reader.consumer.seek(TopicPartition(topic, 0, 50))
    world.until(lambda: bool(reader.errors), reader)
    assert [kind(error) for error in reader.errors] == [RESET_ERROR]
    # Only a new assignment helps.
    assert kind(error_of(reader.consumer.seek, TopicPartition(topic, 0, 1))) == ("_STATE", [])
    reader.consumer.assign([TopicPartition(topic, 0, 1)])
    world.until(lambda: reader.values == [b"a", b"b", b"b"], reader)


# Pausing


def test_a_paused_partition_is_silent_and_goes_on_where_it_stopped(world: World) -> None:
    topic = filled(world, b"a", b"b", b"c")
    reader = world.reader((topic, 0, 0))
    world.until(lambda: reader.values == [b"a"], reader)
    reader.consumer.pause([TopicPartition(topic, 0)])
    world.during(0.2, reader)
    assert (reader.values, reader.ends) == ([b"a"], [])
    reader.consumer.resume([TopicPartition(topic, 0)])
    assert reader.read_to(4) == [b"a", b"b", b"c"]


def test_the_end_is_reported_again_after_a_pause(world: World) -> None:
    topic = filled(world, b"a")
    reader = world.reader((topic, 0, 0))
    reader.read_to(2)
    reader.consumer.pause([TopicPartition(topic, 0)])
    world.during(0.2, reader)
    assert reader.ends == [2]
    reader.consumer.resume([TopicPartition(topic, 0)])
    world.until(lambda: reader.ends == [2, 2], reader)


def test_a_seek_while_paused_counts_after_it(world: World) -> None:
    topic = filled(world, b"a", b"b")
    reader = world.reader((topic, 0, 0))
    reader.read_to(3)
    reader.consumer.pause([TopicPartition(topic, 0)])
    reader.consumer.seek(TopicPartition(topic, 0, 1))
    reader.consumer.resume([TopicPartition(topic, 0)])
    world.until(lambda: reader.ends == [3, 3], reader)
    assert reader.values == [b"a", b"b", b"b"]


def test_pausing_what_is_not_assigned_is_passed_over(world: World) -> None:
    reader = world.reader()
    reader.consumer.pause([TopicPartition("another", 0)])
    reader.consumer.resume([TopicPartition("another", 0)])


# Where to start


@pytest.mark.parametrize(
    ("offset", "expected"),
    [(OFFSET_BEGINNING, [b"a", b"b", b"c"]), (1, [b"b", b"c"]), (OFFSET_END, [])],
    ids=["beginning", "offset", "end"],
)
def test_a_reader_starts_where_it_was_assigned(
    world: World, offset: int, expected: list[bytes]
) -> None:
    topic = filled(world, b"a", b"b", b"c")
    assert world.reader((topic, 0, offset)).read_to(4) == expected


def test_the_end_to_start_at_is_the_last_stable_offset_for_a_committed_reader(
    world: World,
) -> None:
    topic = filled(world, b"a")
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"open", b"k", 0)
    producer.flush(LIMIT_S)
    reader = world.reader((topic, 0, OFFSET_END))
    reader.read_to(2)
    producer.commit_transaction(LIMIT_S)
    assert reader.read_to(4) == [b"open"]


@pytest.mark.parametrize(
    ("reset", "expected"), [("earliest", [b"a", b"b"]), ("latest", [])], ids=str
)
def test_without_an_offset_a_reader_starts_as_its_reset_says(
    world: World, reset: str, expected: list[bytes]
) -> None:
    topic = filled(world, b"a", b"b")
    reader = world.reader((topic, 0, -1001), auto_offset_reset=reset)
    assert reader.read_to(3) == expected


def test_without_an_offset_a_careful_reader_stands_still(world: World) -> None:
    topic = filled(world, b"a", b"b")
    reader = world.reader((topic, 0, -1001))
    world.until(lambda: bool(reader.errors), reader)
    assert [kind(error) for error in reader.errors] == [RESET_ERROR]
    assert reader.values == []


# Assignments


def test_assignments_grow_and_shrink(world: World) -> None:
    topic = filled(world, b"a", partitions=3)
    reader = world.reader((topic, 0, 0))
    reader.read_to(2)
    reader.consumer.incremental_assign([TopicPartition(topic, 1, 0), TopicPartition(topic, 2, 0)])
    world.until(lambda: len(reader.messages) == 3, reader)
    reader.consumer.incremental_unassign([TopicPartition(topic, 1)])
    assert {p.partition for p in reader.consumer.assignment()} == {0, 2}
    reader.consumer.assign([])
    assert reader.consumer.assignment() == []


def test_what_is_assigned_cannot_be_added_and_what_is_not_cannot_be_taken(world: World) -> None:
    topic = filled(world, b"a", partitions=2)
    reader = world.reader((topic, 0, 0))
    error = error_of(reader.consumer.incremental_assign, [TopicPartition(topic, 0, 0)])
    assert kind(error) == ("_CONFLICT", [])
    error = error_of(reader.consumer.incremental_unassign, [TopicPartition(topic, 1)])
    assert kind(error) == ("_INVALID_ARG", [])


def test_watermarks_of_what_does_not_exist_are_an_error(world: World) -> None:
    topic = filled(world, b"a")
    reader = world.reader()
    for missing in (TopicPartition(topic, 5), TopicPartition(f"missing-{new_id()}", 0)):
        error = error_of(reader.consumer.get_watermark_offsets, missing, LIMIT_S)
        assert kind(error) == ("_UNKNOWN_PARTITION", [])


def test_a_time_is_looked_up_as_the_first_entry_stamped_then_or_later(world: World) -> None:
    topic = world.topic(message_timestamp_type="LogAppendTime")
    append(world, topic, b"a")
    world.elapse(0.05)
    append(world, topic, b"b", b"c")
    reader = world.reader((topic, 0, 0))
    reader.read_to(3)
    first_ms, second_ms, _ = [message.timestamp()[1] for message in reader.messages]

    def found(at_ms: int) -> int:
        return reader.consumer.offsets_for_times([TopicPartition(topic, 0, at_ms)], LIMIT_S)[
            0
        ].offset

    assert found(0) == found(first_ms) == 0
    assert found(first_ms + 1) == found(second_ms) == 1
    assert found(second_ms + 10_000_000) == -1


def test_a_time_is_never_found_in_an_open_transaction_by_a_committed_reader(
    world: World,
) -> None:
    topic = world.topic(message_timestamp_type="LogAppendTime")
    append(world, topic, b"a")
    world.elapse(0.05)
    producer = world.producer(new_id())
    producer.begin_transaction()
    producer.produce(topic, b"open", b"k", 0)
    producer.flush(LIMIT_S)
    committed = world.reader()
    everything = world.reader((topic, 0, 0), isolation_level="read_uncommitted")
    everything.read_to(2)
    asked = [TopicPartition(topic, 0, everything.messages[1].timestamp()[1])]
    assert everything.consumer.offsets_for_times(asked, LIMIT_S)[0].offset == 1
    assert committed.consumer.offsets_for_times(asked, LIMIT_S)[0].offset == -1


def test_a_time_in_what_does_not_exist_is_an_error(world: World) -> None:
    topic = world.topic()
    call = world.reader().consumer.offsets_for_times
    assert kind(error_of(call, [TopicPartition(topic, 5, 0)], LIMIT_S)) == (
        "_UNKNOWN_PARTITION",
        [],
    )


def test_offsets_of_what_does_not_exist_are_unknown(world: World) -> None:
    assert world.reader().committed(f"missing-{new_id()}") == -1001


def test_metadata_tells_partitions_and_what_is_missing(world: World) -> None:
    topic, missing = world.topic(3), f"missing-{new_id()}"
    consumer = world.reader().consumer
    described = consumer.list_topics(topic, LIMIT_S)
    assert sorted(described.topics[topic].partitions) == [0, 1, 2]
    assert described.topics[topic].error is None
    assert described.cluster_id
    lacking = consumer.list_topics(missing, LIMIT_S).topics[missing]
    assert kind(lacking.error) == ("UNKNOWN_TOPIC_OR_PART", [])
    assert lacking.partitions == {}


def test_a_closed_consumer_refuses_everything_but_closing(world: World) -> None:
    consumer = world.reader((world.topic(), 0, 0)).consumer
    consumer.close()
    consumer.close()
    with pytest.raises(RuntimeError, match="Consumer closed"):
        consumer.poll(0)
    with pytest.raises(RuntimeError, match="Consumer closed"):
        consumer.consumer_group_metadata()


def test_a_consumer_needs_a_group(world: World) -> None:
    with pytest.raises(ValueError, match=r"group\.id must be set"):
        world.cluster.consumer({})
