"""Membership: who holds which partition, when it moves, and what a member is told.

Two members never hold one partition at once as long as both live; a process that is gone or asleep
is found out by its session, and one that comes back is told that it lost what it held.
"""

from __future__ import annotations

from confluent_kafka import OFFSET_BEGINNING, KafkaError, TopicPartition
from tests.stream.contract.world import (
    LIMIT_S,
    POLL_INTERVAL_S,
    SESSION_S,
    Actor,
    World,
    error_of,
    kind,
    member_config,
    new_id,
)

from drawdown.stream import ports

ALL = {0, 1, 2, 3}


def settled(*members: Actor) -> bool:
    """All four partitions are held, evenly, each by one."""
    held = [partition for member in members for partition in member.owned]
    sizes = [len(member.owned) for member in members]
    return sorted(held) == sorted(ALL) and max(sizes) - min(sizes) <= 1


def quiet(world: World, *members: Actor) -> None:
    """Let the last, empty, calls of a rebalance come in."""
    world.during(0.3, *members)


def alone(world: World, group: str, topic: str, instance: str | None = None) -> Actor:
    """A member that holds everything."""
    member = world.member(group, topic, instance)
    world.until(lambda: member.owned == ALL, member)
    return member


def told(member: Actor) -> list[tuple[str, list[str]]]:
    """Its errors, but for the one that these groups have no offsets."""
    return [kind(e) for e in member.errors if e.code() != KafkaError._AUTO_OFFSET_RESET]


def test_the_only_member_is_assigned_everything(world: World) -> None:
    topic, group = world.topic(4), new_id()
    member = alone(world, group, topic)
    assert member.calls == [("assigned", [0, 1, 2, 3])]
    assert {p.partition for p in member.consumer.assignment()} == ALL


def test_a_second_member_gets_its_share_only_after_the_first_gave_it_up(world: World) -> None:
    topic, group = world.topic(4), new_id()
    first = alone(world, group, topic)
    second = world.member(group, topic)
    # Callbacks run inside poll only: who does not poll gives up nothing.
    world.until(lambda: ("assigned", []) in second.calls, second)
    assert (first.owned, second.owned) == (ALL, set())

    def moved() -> bool:
        assert not first.owned & second.owned
        return settled(first, second)

    world.until(moved, first, second)
    quiet(world, first, second)
    _, given = first.calls[1]
    assert first.calls[1:] == [("revoked", given), ("assigned", []), ("assigned", [])]
    assert [(call, sorted(partitions)) for call, partitions in second.calls] == [
        ("assigned", []),
        ("assigned", sorted(given)),
    ]


def test_partitions_that_stay_keep_their_place(world: World) -> None:
    topic, group = world.topic(4), new_id()
    producer = world.producer(new_id())
    producer.begin_transaction()
    for partition in range(4):
        for value in (b"a", b"b"):
            producer.produce(topic, value, b"k", partition)
    producer.commit_transaction(LIMIT_S)

    def from_the_start(consumer: ports.Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(
            [TopicPartition(p.topic, p.partition, OFFSET_BEGINNING) for p in partitions]
        )

    first = world.consumer(member_config(group, None))
    first.consumer.subscribe([topic], on_assign=from_the_start)
    world.until(lambda: len(first.messages) == 8, first)
    second = world.consumer(member_config(group, None))
    second.consumer.subscribe([topic], on_assign=from_the_start)
    world.until(lambda: len(second.messages) == 4, first, second)
    assert len(first.messages) == 8
    assert first.names() == second.names() == []


def test_a_member_that_closes_is_asked_to_give_back_and_others_take_over(world: World) -> None:
    topic, group = world.topic(4), new_id()
    first = alone(world, group, topic)
    second = world.member(group, topic)
    world.until(lambda: settled(first, second), first, second)
    held = set(second.owned)
    second.consumer.close()
    assert ("revoked", sorted(held)) in [(call, sorted(ps)) for call, ps in second.calls]
    world.until(lambda: first.owned == ALL, first)


def test_the_groups_offset_is_where_a_member_begins(world: World) -> None:
    topic, group = world.topic(), new_id()
    producer, reader = world.producer(new_id()), world.reader(group_id=group)
    producer.begin_transaction()
    for value in (b"a", b"b"):
        producer.produce(topic, value, b"k", 0)
    metadata = reader.consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 1)], metadata, LIMIT_S)
    producer.commit_transaction(LIMIT_S)
    member = world.member(group, topic)
    assert member.read_to(3) == [b"b"]


def test_a_member_of_a_group_without_offsets_is_told_so(world: World) -> None:
    topic, group = world.topic(), new_id()
    member = world.member(group, topic)
    world.until(lambda: bool(member.errors), member)
    assert [kind(error) for error in member.errors] == [("_AUTO_OFFSET_RESET", [])]


def test_a_topic_that_does_not_exist_is_reported(world: World) -> None:
    member = world.member(new_id(), f"missing-{new_id()}")
    world.until(lambda: bool(member.errors), member)
    assert [kind(error) for error in member.errors] == [("UNKNOWN_TOPIC_OR_PART", [])]


# Static members


def test_a_static_member_that_closes_keeps_its_place_for_its_session(world: World) -> None:
    topic, group = world.topic(4), new_id()
    first, second = world.member(group, topic, "a"), world.member(group, topic, "b")
    world.until(lambda: settled(first, second), first, second)
    quiet(world, first, second)
    calls = list(first.calls)
    second.consumer.close()
    world.during(SESSION_S / 3, first)
    assert first.calls == calls
    world.until(lambda: first.owned == ALL, first)


def test_a_restarted_static_member_gets_its_partitions_and_nobody_is_told(world: World) -> None:
    topic, group = world.topic(4), new_id()
    first, second = world.member(group, topic, "a"), world.member(group, topic, "b")
    world.until(lambda: settled(first, second), first, second)
    quiet(world, first, second)
    calls, held = list(first.calls), set(second.owned)
    metadata = first.consumer.consumer_group_metadata()
    second.consumer.close()
    again = world.member(group, topic, "b")
    world.until(lambda: again.owned == held, first, again)
    quiet(world, first, again)
    assert first.calls == calls
    assert first.consumer.consumer_group_metadata() == metadata


def test_a_second_living_instance_fences_the_first(world: World) -> None:
    topic, group = world.topic(4), new_id()
    old = alone(world, group, topic, "a")
    new = alone(world, group, topic, "a")
    calls = list(old.calls)
    world.until(lambda: bool(told(old)), old, new)
    quiet(world, old, new)
    # One message says so, and its own flag denies it. No callback: the partitions are just gone.
    assert told(old) == [("_FATAL", [])]
    assert old.consumer.assignment() == []
    assert old.calls == calls
    assert new.owned == ALL
    old.consumer.close()
    quiet(world, new)
    assert new.owned == ALL


def test_a_restart_between_the_steps_of_a_rebalance_leaves_partitions_to_nobody(
    world: World,
) -> None:
    topic, group = world.topic(4), new_id()
    first = alone(world, group, topic, "a")
    second = world.member(group, topic, "b")
    # The first member joins the rebalance in the background, and dies before it gives up its half.
    world.until(lambda: ("assigned", []) in second.calls, second)
    again = world.member(group, topic, "a")
    world.until(lambda: len(again.owned) == 2, second, again)
    world.during(1.0, second, again)
    assert second.owned == set()
    assert len(again.owned) == 2
    state = world.cluster.group(group).result(LIMIT_S)
    assert state.stable
    assert state.members == {"a": {(topic, number) for number in again.owned}, "b": set()}
    # Whoever sees it can heal it by asking for a rebalance.
    second.consumer.unsubscribe()
    second.subscribe(topic)
    world.until(lambda: settled(again, second), again, second)
    assert first.owned == ALL  # as it believes: it was killed


def test_subscribing_to_the_same_topics_again_asks_for_nothing(world: World) -> None:
    topic, group = world.topic(4), new_id()
    member = alone(world, group, topic)
    metadata = member.consumer.consumer_group_metadata()
    member.subscribe(topic)
    quiet(world, member)
    assert member.consumer.consumer_group_metadata() == metadata
    assert member.owned == ALL


# Processes that die, sleep or hang


def test_the_partitions_of_a_killed_process_move_when_its_session_ends(world: World) -> None:
    topic, group = world.topic(4), new_id()
    process = world.process()
    first = world.member(group, topic, "a")
    second = world.member(group, topic, "b", process)
    world.until(lambda: settled(first, second), first, second)
    killed_s = world.now_s()
    process.kill()
    world.during(SESSION_S / 3, first)
    assert len(first.owned) == 2
    world.until(lambda: first.owned == ALL, first)
    assert world.now_s() - killed_s < 2 * SESSION_S


def test_a_killed_process_that_restarts_in_time_goes_on_where_it_was(world: World) -> None:
    topic, group = world.topic(4), new_id()
    process = world.process()
    first = world.member(group, topic, "a")
    second = world.member(group, topic, "b", process)
    world.until(lambda: settled(first, second), first, second)
    quiet(world, first, second)
    held, calls = set(second.owned), list(first.calls)
    process.kill()
    again = world.member(group, topic, "b")
    world.until(lambda: again.owned == held, first, again)
    assert first.calls == calls


def test_a_process_that_slept_through_its_session_loses_its_partitions_and_may_not_commit(
    world: World,
) -> None:
    topic, group = world.topic(4), new_id()
    process = world.process()
    first = world.member(group, topic, "a")
    second = world.member(group, topic, "b", process)
    world.until(lambda: settled(first, second), first, second)
    metadata = second.consumer.consumer_group_metadata()
    process.pause()
    world.until(lambda: first.owned == ALL, first)
    assert len(second.owned) == 2  # so it believes, asleep
    process.resume()
    producer = world.producer(new_id())
    producer.begin_transaction()
    offsets = [TopicPartition(topic, 0, 1)]
    error = error_of(producer.send_offsets_to_transaction, offsets, metadata, LIMIT_S)
    assert kind(error) == ("UNKNOWN_MEMBER_ID", ["must abort"])
    world.until(lambda: any(call == "lost" for call, _ in second.calls), second)
    assert second.owned == set()
    world.until(lambda: settled(first, second), first, second)


def test_a_rebalance_waits_for_a_sleeping_member_until_its_session_ends(world: World) -> None:
    topic, group = world.topic(4), new_id()
    process = world.process()
    sleeping = world.member(group, topic, "a", process)
    world.until(lambda: sleeping.owned == ALL, sleeping)
    process.pause()
    other = world.member(group, topic, "b")
    world.during(SESSION_S / 3, other)
    assert other.calls == []
    world.until(lambda: other.owned == ALL, other)


def test_a_rebalance_waits_for_a_member_that_has_not_dealt_with_the_last_one(
    world: World,
) -> None:
    topic, group = world.topic(4), new_id()
    first = alone(world, group, topic)
    second = world.member(group, topic)
    world.until(lambda: ("assigned", []) in second.calls, second)
    third = world.member(group, topic)
    world.during(0.5, second, third)
    assert third.calls == []
    world.until(lambda: settled(first, second, third), first, second, third)


def test_a_loop_that_hangs_is_put_out_and_told_when_it_polls(world: World) -> None:
    topic, group = world.topic(4), new_id()
    hanging = world.member(group, topic, max_poll_interval_ms=round(POLL_INTERVAL_S * 1000))
    world.until(lambda: hanging.owned == ALL, hanging)
    other = world.member(group, topic)
    world.until(lambda: other.owned == ALL, other)
    world.until(lambda: bool(told(hanging)), hanging, other)
    assert told(hanging) == [("_MAX_POLL_EXCEEDED", [])]
    world.until(lambda: settled(hanging, other), hanging, other)
    assert "lost" in [call for call, _ in hanging.calls]
