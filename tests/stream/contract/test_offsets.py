"""Offsets in transactions: when they count, who may set them, who waits for them."""

from __future__ import annotations

from functools import partial

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from tests.stream.contract.world import (
    LIMIT_S,
    TRANSACTION_S,
    Actor,
    World,
    error_of,
    kind,
    new_id,
)

from drawdown.stream import ports


def send(
    producer: ports.Producer, topic: str, offset: int, metadata: object, partition: int = 0
) -> None:
    """An offset in a transaction."""
    positions = [TopicPartition(topic, partition, offset)]
    producer.send_offsets_to_transaction(positions, metadata, LIMIT_S)


def refusal(producer: ports.Producer, topic: str, metadata: object) -> tuple[str, list[str]]:
    """How an offset is refused; the transaction is aborted."""
    producer.begin_transaction()
    error = error_of(send, producer, topic, 1, metadata)
    producer.abort_transaction(LIMIT_S)
    return kind(error)


def outsider(world: World, group: str) -> Actor:
    """A consumer that names the group and is not a member."""
    return world.reader(group_id=group)


def test_offsets_count_when_their_transaction_commits(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    assert reader.committed(topic) == -1001
    producer.begin_transaction()
    send(producer, topic, 7, reader.consumer.consumer_group_metadata())
    producer.commit_transaction(LIMIT_S)
    assert reader.committed(topic) == 7


def test_offsets_are_committed_without_a_transaction(world: World) -> None:
    topic, group = world.topic(), new_id()
    reader, member = outsider(world, group), world.member(group, topic)
    world.until(lambda: member.owned == {0}, member)
    member.consumer.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    assert reader.committed(topic) == 7


def test_offsets_of_a_replaced_member_are_refused_without_a_transaction(world: World) -> None:
    topic, group = world.topic(), new_id()
    old = world.member(group, topic, "i")
    world.until(lambda: old.owned == {0}, old)
    new = world.member(group, topic, "i")
    world.until(lambda: new.owned == {0}, new)
    late = partial(old.consumer.commit, offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    assert not error_of(late).retriable()
    assert outsider(world, group).committed(topic) == -1001


def test_offsets_of_an_aborted_transaction_are_forgotten(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    producer.begin_transaction()
    send(producer, topic, 7, reader.consumer.consumer_group_metadata())
    producer.abort_transaction(LIMIT_S)
    assert reader.committed(topic) == -1001


def test_the_last_offset_sent_in_a_transaction_counts(world: World) -> None:
    topic, group = world.topic(2), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    producer.begin_transaction()
    send(producer, topic, 7, reader.consumer.consumer_group_metadata())
    send(producer, topic, 3, reader.consumer.consumer_group_metadata(), partition=1)
    send(producer, topic, 9, reader.consumer.consumer_group_metadata())
    producer.commit_transaction(LIMIT_S)
    assert (reader.committed(topic), reader.committed(topic, 1)) == (9, 3)


def test_pending_offsets_hold_back_who_asks_for_them(world: World) -> None:
    topic, group = world.topic(2), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    producer.begin_transaction()
    send(producer, topic, 7, reader.consumer.consumer_group_metadata())
    error = error_of(reader.committed, topic, 0, 0.3)
    assert kind(error) == ("_TIMED_OUT", [])
    assert reader.committed(topic, 1) == -1001
    producer.commit_transaction(LIMIT_S)
    assert reader.committed(topic) == 7


def test_a_reader_of_uncommitted_records_is_not_held_back(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer = world.producer(new_id())
    reader = world.reader(group_id=group, isolation_level="read_uncommitted")
    producer.begin_transaction()
    send(producer, topic, 7, reader.consumer.consumer_group_metadata())
    assert reader.committed(topic) == -1001


def test_pending_offsets_of_a_dead_producer_wait_for_its_timeout(world: World) -> None:
    topic, group, id = world.topic(), new_id(), new_id()
    dead = world.producer(id, transaction_timeout_ms=round(TRANSACTION_S * 1000))
    reader = outsider(world, group)
    dead.begin_transaction()
    send(dead, topic, 7, reader.consumer.consumer_group_metadata())
    world.until(lambda: not is_pending(reader, topic))
    assert reader.committed(topic) == -1001


def test_a_successor_with_the_same_id_ends_pending_offsets_at_once(world: World) -> None:
    topic, group, id = world.topic(), new_id(), new_id()
    dead, reader = world.producer(id), outsider(world, group)
    dead.begin_transaction()
    send(dead, topic, 7, reader.consumer.consumer_group_metadata())
    world.producer(id)
    assert reader.committed(topic) == -1001


def is_pending(reader: Actor, topic: str) -> bool:
    try:
        reader.committed(topic, timeout_s=0.1)
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError._TIMED_OUT)
    return False


def test_positions_without_an_offset_are_passed_over(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    producer.begin_transaction()
    send(producer, topic, -1001, reader.consumer.consumer_group_metadata())
    producer.commit_transaction(LIMIT_S)
    assert reader.committed(topic) == -1001


def test_an_assigned_partition_begins_at_the_groups_offset(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    producer.begin_transaction()
    for value in (b"a", b"b", b"c"):
        producer.produce(topic, value, b"k", 0)
    send(producer, topic, 1, reader.consumer.consumer_group_metadata())
    producer.commit_transaction(LIMIT_S)
    reader.consumer.assign([TopicPartition(topic, 0)])
    assert reader.read_to(4) == [b"b", b"c"]


def test_an_assigned_partition_waits_for_a_pending_offset(world: World) -> None:
    topic, group = world.topic(), new_id()
    writer, producer = world.producer(new_id()), world.producer(new_id())
    reader = outsider(world, group)
    writer.begin_transaction()
    for value in (b"a", b"b", b"c"):
        writer.produce(topic, value, b"k", 0)
    writer.commit_transaction(LIMIT_S)
    producer.begin_transaction()
    send(producer, topic, 2, reader.consumer.consumer_group_metadata())
    reader.consumer.assign([TopicPartition(topic, 0)])
    world.during(0.3, reader)
    assert (reader.values, reader.names()) == ([], [])
    producer.commit_transaction(LIMIT_S)
    assert reader.read_to(4) == [b"c"]


# Who may


def test_offsets_of_no_member_are_taken_even_while_others_are_members(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer, reader = world.producer(new_id()), outsider(world, group)
    member = world.member(group, topic)
    world.until(lambda: member.owned == {0}, member)
    producer.begin_transaction()
    send(producer, topic, 7, reader.consumer.consumer_group_metadata())
    producer.commit_transaction(LIMIT_S)
    assert reader.committed(topic) == 7


def test_offsets_with_a_generation_gone_by_are_refused(world: World) -> None:
    topic, group = world.topic(2), new_id()
    producer = world.producer(new_id())
    first = world.member(group, topic)
    world.until(lambda: first.owned == {0, 1}, first)
    before = first.consumer.consumer_group_metadata()
    second = world.member(group, topic)
    world.until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    world.during(0.3, first, second)
    assert refusal(producer, topic, before) == ("ILLEGAL_GENERATION", ["must abort"])
    producer.begin_transaction()
    send(producer, topic, 7, first.consumer.consumer_group_metadata())
    producer.commit_transaction(LIMIT_S)


def test_offsets_sent_before_a_rebalance_still_commit_after_it(world: World) -> None:
    topic, group = world.topic(2), new_id()
    producer = world.producer(new_id())
    first = world.member(group, topic)
    world.until(lambda: first.owned == {0, 1}, first)
    producer.begin_transaction()
    send(producer, topic, 7, first.consumer.consumer_group_metadata())
    second = world.member(group, topic)
    world.until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    producer.commit_transaction(LIMIT_S)
    assert outsider(world, group).committed(topic) == 7


def test_offsets_of_a_member_that_left_are_refused(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer = world.producer(new_id())
    member = world.member(group, topic)
    world.until(lambda: member.owned == {0}, member)
    metadata = member.consumer.consumer_group_metadata()
    member.consumer.close()
    assert refusal(producer, topic, metadata) == ("UNKNOWN_MEMBER_ID", ["must abort"])


def test_offsets_of_a_replaced_static_member_are_refused(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer = world.producer(new_id())
    old = world.member(group, topic, "i")
    world.until(lambda: old.owned == {0}, old)
    metadata = old.consumer.consumer_group_metadata()
    new = world.member(group, topic, "i")
    world.until(lambda: new.owned == {0}, new)
    assert refusal(producer, topic, metadata) == ("FENCED_INSTANCE_ID", ["must abort"])


def test_offsets_of_an_instance_that_never_joined_are_refused_once_there_are_members(
    world: World,
) -> None:
    topic, group = world.topic(), new_id()
    producer = world.producer(new_id())
    stranger = world.reader(group_id=group, group_instance_id="i")
    metadata = stranger.consumer.consumer_group_metadata()
    producer.begin_transaction()
    send(producer, topic, 7, metadata)
    producer.commit_transaction(LIMIT_S)
    member = world.member(group, topic)
    world.until(lambda: member.owned == {0}, member)
    assert refusal(producer, topic, metadata) == ("UNKNOWN_MEMBER_ID", ["must abort"])


def test_after_refused_offsets_the_transaction_can_only_be_aborted(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer = world.producer(new_id())
    member = world.member(group, topic)
    world.until(lambda: member.owned == {0}, member)
    metadata = member.consumer.consumer_group_metadata()
    member.consumer.close()
    producer.begin_transaction()
    producer.produce(topic, b"never", b"k", 0)
    producer.flush(LIMIT_S)
    refused = kind(error_of(send, producer, topic, 1, metadata))
    assert kind(error_of(producer.commit_transaction, LIMIT_S)) == refused
    assert kind(error_of(producer.produce, topic, b"v", b"k", 0)) == ("_STATE", [])
    producer.abort_transaction(LIMIT_S)
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0)
    producer.commit_transaction(LIMIT_S)
    assert world.reader((topic, 0, 0)).read_to(4) == [b"a"]
