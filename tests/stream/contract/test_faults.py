"""What only the in-memory log can show: chosen faults, and what is handed to checkers."""

from __future__ import annotations

import random
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition
from hypothesis import given
from hypothesis import strategies as st
from tests.stream.contract.world import (
    FENCED,
    SESSION_S,
    UNANSWERED,
    MemoryWorld,
    Reports,
    error_of,
    kind,
    new_id,
)

from drawdown.stream.memory import (
    AnswerLost,
    Fault,
    KilledError,
    MarkersDelayed,
    MemoryProducer,
    MustAbort,
    RequestDelayed,
    RequestLost,
)

INVALID_STATE = ("INVALID_TXN_STATE", ["fatal"])


def next_call_meets(world: MemoryWorld, call: str, fault: Fault) -> None:
    """One call of this name goes wrong; those after it are answered."""

    def before(name: str, client: Any) -> Fault | None:
        if name != call:
            return None
        world.memory.faults.before = None
        return fault

    world.memory.faults.before = before


def values(world: MemoryWorld, topic: str, partition: int = 0) -> list[bytes | None]:
    return [message.value() for message in world.memory.records(topic, partition)]


def transaction(world: MemoryWorld, topic: str, *records: bytes) -> MemoryProducer:
    """A producer with an open transaction."""
    producer = world.memory.producer({"transactional.id": new_id(), "transaction.timeout.ms": 5000})
    producer.init_transactions()
    producer.begin_transaction()
    for value in records:
        producer.produce(topic, value, b"k", 0)
    return producer


# Answers and requests that are lost


def test_a_commit_whose_answer_was_lost_has_happened_and_may_be_repeated(
    memory: MemoryWorld,
) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")
    next_call_meets(memory, "commit_transaction", AnswerLost())
    assert kind(error_of(producer.commit_transaction, 1)) == UNANSWERED
    assert values(memory, topic) == [b"a"]
    assert kind(error_of(producer.begin_transaction)) == ("_CONFLICT", ["retriable"])
    producer.commit_transaction(1)
    assert memory.memory.watermarks(topic, 0) == (0, 2, 2)


def test_a_commit_whose_request_was_lost_has_not_happened_and_may_be_repeated(
    memory: MemoryWorld,
) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")
    next_call_meets(memory, "commit_transaction", RequestLost())
    assert kind(error_of(producer.commit_transaction, 1)) == UNANSWERED
    assert values(memory, topic) == []
    producer.commit_transaction(1)
    assert values(memory, topic) == [b"a"]


def test_offsets_whose_answer_was_lost_are_pending_all_the_same(memory: MemoryWorld) -> None:
    topic, group = memory.topic(), new_id()
    producer, reader = transaction(memory, topic), memory.reader(group_id=group)
    next_call_meets(memory, "send_offsets_to_transaction", AnswerLost())
    offsets = [TopicPartition(topic, 0, 7)]
    metadata = reader.consumer.consumer_group_metadata()
    send = producer.send_offsets_to_transaction
    assert kind(error_of(send, offsets, metadata, 1)) == UNANSWERED
    producer.commit_transaction(1)
    assert memory.memory.offsets(group) == {(topic, 0): 7}


# Commits that arrive late


def late_commit(world: MemoryWorld, topic: str, delay_ms: int) -> MemoryProducer:
    """A producer whose first commit is still on its way, while the repeated one was answered."""
    producer = transaction(world, topic, b"first")
    next_call_meets(world, "commit_transaction", RequestDelayed(delay_ms))
    assert kind(error_of(producer.commit_transaction, 0)) == UNANSWERED
    producer.commit_transaction(1)
    return producer


def test_a_late_commit_ends_a_later_transaction_of_its_producer(memory: MemoryWorld) -> None:
    topic = memory.topic(2)
    producer = late_commit(memory, topic, 1_000)
    producer.begin_transaction()
    producer.produce(topic, b"half", b"k", 0)
    memory.elapse(1.0)
    assert values(memory, topic) == [b"first", b"half"]
    # Without a word the rest goes to another transaction, and an abort takes back only that.
    producer.produce(topic, b"rest", b"k", 1)
    producer.abort_transaction(1)
    assert values(memory, topic) == [b"first", b"half"]
    assert values(memory, topic, 1) == []


def test_after_a_late_commit_the_same_partition_is_refused(memory: MemoryWorld) -> None:
    topic = memory.topic()
    producer = late_commit(memory, topic, 1_000)
    producer.begin_transaction()
    producer.produce(topic, b"half", b"k", 0)
    memory.elapse(1.0)
    producer.produce(topic, b"rest", b"k", 0)
    assert kind(error_of(producer.commit_transaction, 1)) == INVALID_STATE


def test_after_a_late_commit_a_partition_is_refused_even_when_another_was_taken(
    memory: MemoryWorld,
) -> None:
    topic = memory.topic(2)
    producer = late_commit(memory, topic, 1_000)
    producer.begin_transaction()
    producer.produce(topic, b"half", b"k", 0)
    memory.elapse(1.0)
    producer.produce(topic, b"rest", b"k", 1)
    producer.produce(topic, b"rest", b"k", 0)
    assert kind(error_of(producer.commit_transaction, 1)) == INVALID_STATE


def test_after_a_late_commit_nothing_is_left_to_abort(memory: MemoryWorld) -> None:
    topic = memory.topic()
    producer = late_commit(memory, topic, 1_000)
    producer.begin_transaction()
    producer.produce(topic, b"half", b"k", 0)
    memory.elapse(1.0)
    assert kind(error_of(producer.abort_transaction, 1)) == INVALID_STATE


def test_a_late_commit_never_reaches_a_new_epoch(memory: MemoryWorld) -> None:
    topic = memory.topic()
    old = late_commit(memory, topic, 1_000)
    new = memory.memory.producer({"transactional.id": old.config["transactional.id"]})
    new.init_transactions()
    new.begin_transaction()
    new.produce(topic, b"half", b"k", 0)
    memory.elapse(1.0)
    assert values(memory, topic) == [b"first"]
    new.abort_transaction(1)


# Markers that come late


def test_an_answered_commit_is_seen_only_with_its_markers(memory: MemoryWorld) -> None:
    topic, group = memory.topic(), new_id()
    producer, reader = transaction(memory, topic, b"a"), memory.reader(group_id=group)
    metadata = reader.consumer.consumer_group_metadata()
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 7)], metadata, 1)
    next_call_meets(memory, "commit_transaction", MarkersDelayed(1_000))
    producer.commit_transaction(1)
    assert memory.memory.watermarks(topic, 0) == (0, 0, 1)
    assert kind(error_of(reader.committed, topic, 0, 0.1)) == ("_TIMED_OUT", [])
    memory.elapse(1.0)
    assert memory.memory.watermarks(topic, 0) == (0, 2, 2)
    assert reader.committed(topic) == 7


def test_a_transaction_begins_only_when_the_last_one_has_its_markers(memory: MemoryWorld) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")
    next_call_meets(memory, "commit_transaction", MarkersDelayed(1_000))
    producer.commit_transaction(1)
    producer.begin_transaction()
    producer.produce(topic, b"b", b"k", 0)
    assert memory.memory.watermarks(topic, 0) == (0, 2, 3)
    memory.elapse(1.0)
    assert memory.memory.watermarks(topic, 0) == (0, 2, 3)


# Records that are lost


def test_a_lost_record_spoils_its_transaction(memory: MemoryWorld) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")
    next_call_meets(memory, "produce", RequestLost())
    producer.produce(topic, b"lost", b"k", 0)
    assert kind(error_of(producer.commit_transaction, 1)) == ("_INCONSISTENT", ["must abort"])
    producer.abort_transaction(1)
    assert values(memory, topic) == []


@pytest.mark.parametrize(("fault", "found"), [(RequestLost(), []), (AnswerLost(), [b"a"])])
def test_without_a_transaction_only_a_report_tells_and_knows_no_more_than_that(
    memory: MemoryWorld, fault: Fault, found: list[bytes]
) -> None:
    topic = memory.topic()
    producer = memory.memory.producer({})
    reports = Reports()
    next_call_meets(memory, "produce", fault)
    producer.produce(topic, b"a", b"k", 0, on_delivery=reports)
    assert producer.flush(1) == 0
    assert reports.told == [("_MSG_TIMED_OUT", None, b"a")]
    assert values(memory, topic) == found


@pytest.mark.parametrize("call", ["produce", "commit_transaction"])
def test_a_transaction_that_must_be_aborted_is_the_only_one(memory: MemoryWorld, call: str) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")
    next_call_meets(memory, call, MustAbort(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER))
    producer.produce(topic, b"b", b"k", 0)
    error = error_of(producer.commit_transaction, 1)
    assert kind(error) == ("OUT_OF_ORDER_SEQUENCE_NUMBER", ["must abort"])
    producer.abort_transaction(1)
    producer.begin_transaction()
    producer.produce(topic, b"c", b"k", 0)
    producer.commit_transaction(1)
    assert values(memory, topic) == [b"c"]


# Processes


def test_a_process_killed_before_a_call_never_made_it(memory: MemoryWorld) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")

    def before(name: str, client: Any) -> None:
        client.process.kill()

    memory.memory.faults.before = before
    with pytest.raises(KilledError):
        producer.commit_transaction(1)
    memory.memory.faults.before = None
    assert values(memory, topic) == []
    memory.elapse(5.0)
    assert memory.memory.watermarks(topic, 0) == (0, 2, 2)
    assert values(memory, topic) == []


def test_a_process_killed_after_a_call_made_it_and_never_knew(memory: MemoryWorld) -> None:
    topic = memory.topic()
    producer = transaction(memory, topic, b"a")

    def after(name: str, client: Any) -> None:
        client.process.kill()

    memory.memory.faults.after = after
    with pytest.raises(KilledError):
        producer.commit_transaction(1)
    assert values(memory, topic) == [b"a"]


def test_nothing_of_a_killed_process_runs_again(memory: MemoryWorld) -> None:
    process = memory.memory.process()
    consumer, producer = process.consumer({"group.id": "g"}), process.producer({})
    memory.memory.kill(consumer)
    for call in (consumer.poll, producer.flush, consumer.close):
        with pytest.raises(KilledError):
            call()


def test_killing_is_not_an_error_that_can_be_handled() -> None:
    assert not issubclass(KilledError, Exception)


def test_a_paused_process_makes_no_calls(memory: MemoryWorld) -> None:
    consumer = memory.memory.consumer({"group.id": "g"})
    memory.memory.pause(consumer)
    with pytest.raises(RuntimeError, match="resume it first"):
        consumer.poll(0)
    memory.memory.resume(consumer)
    assert consumer.poll(0) is None


def test_a_process_without_network_times_out_while_others_go_on(memory: MemoryWorld) -> None:
    topic, group = memory.topic(2), new_id()
    process = memory.memory.process()
    first = memory.member(group, topic, "a")
    second = memory.member(group, topic, "b", process)
    memory.until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    producer = process.producer({"transactional.id": "t"})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, b"a", b"k", 0)
    process.cut()
    assert kind(error_of(producer.commit_transaction, 0.1)) == UNANSWERED
    memory.until(lambda: first.owned == {0, 1}, first)
    memory.until(lambda: not second.owned, second)
    assert second.calls[-1][0] == "lost"
    process.heal()
    producer.commit_transaction(1)
    assert values(memory, topic) == [b"a"]
    memory.until(lambda: len(first.owned) == len(second.owned) == 1, first, second)


def test_a_zombie_with_a_full_transaction_neither_commits_nor_is_seen(memory: MemoryWorld) -> None:
    topic, group = memory.topic(), new_id()
    process = memory.memory.process()
    zombie = memory.member(group, topic, "a", process)
    memory.until(lambda: zombie.owned == {0}, zombie)
    producer = process.producer({"transactional.id": "t", "transaction.timeout.ms": 1_000})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, b"zombie", b"k", 0)
    process.pause()
    heir = memory.member(group, topic, "b")
    memory.until(lambda: heir.owned == {0}, heir)
    process.resume()
    assert kind(error_of(producer.commit_transaction, 1)) == FENCED
    assert values(memory, topic) == []


def test_a_survivor_of_a_rebalance_is_refused_until_it_polls(memory: MemoryWorld) -> None:
    """On a broker for the few milliseconds until its client has heard; here until its next poll, so
    that every transaction in flight during a rebalance meets it."""
    topic, group = memory.topic(2), new_id()
    process = memory.memory.process()
    first = memory.member(group, topic, "a")
    second = memory.member(group, topic, "b", process)
    memory.until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    memory.during(0.5, first, second)
    process.kill()
    memory.elapse(SESSION_S)
    memory.elapse(0.2)  # its next heartbeat tells it to join again
    producer = transaction(memory, topic)
    offsets = [TopicPartition(topic, 0, 1)]
    send = producer.send_offsets_to_transaction
    error = error_of(send, offsets, first.consumer.consumer_group_metadata(), 1)
    assert kind(error) == ("ILLEGAL_GENERATION", ["must abort"])
    producer.abort_transaction(1)
    first.step()
    producer.begin_transaction()
    send(offsets, first.consumer.consumer_group_metadata(), 1)
    producer.commit_transaction(1)


# Time


def test_a_process_can_be_killed_while_it_waits() -> None:
    world = MemoryWorld()
    process = world.memory.process()
    consumer = process.consumer({"group.id": "g"})
    world.meanwhile = process.kill
    with pytest.raises(KilledError):
        consumer.poll(0.1)


def test_nothing_waits_for_ever(memory: MemoryWorld) -> None:
    consumer = memory.reader((memory.topic(), 0, 0), enable_partition_eof=False).consumer
    with pytest.raises(RuntimeError, match="give a timeout"):
        consumer.poll()


def test_a_poll_of_nothing_hands_its_time_to_others(memory: MemoryWorld) -> None:
    consumer = memory.reader((memory.topic(), 0, 0), enable_partition_eof=False).consumer
    began_ms = memory.clock_ms
    assert consumer.poll(0.25) is None
    assert memory.clock_ms - began_ms == 250
    assert consumer.poll(0) is None
    assert memory.clock_ms - began_ms == 250


def test_a_poll_finds_what_came_while_it_waited() -> None:
    world = MemoryWorld()
    topic = world.topic()
    producer = world.producer()
    consumer = world.reader((topic, 0, 0), enable_partition_eof=False).consumer
    world.meanwhile = lambda: producer.produce(topic, b"a", b"k", 0)
    message = consumer.poll(0.1)
    assert message is not None
    assert message.value() == b"a"


def test_the_same_calls_at_the_same_times_make_the_same_log() -> None:
    assert story(7) == story(7)
    assert story(7) != story(8)


def story(seed: int) -> list[tuple[Any, ...]]:
    """A random life of two members and their producers."""
    chance = random.Random(seed)
    world = MemoryWorld()
    world.create("in", 4, {})
    world.create("out", 4, {"message.timestamp.type": "LogAppendTime"})
    members = [world.member("g", "in", name) for name in ("a", "b")]
    producers = world.producers("a", "b", transaction_timeout_ms=1_000)
    for _ in range(200):
        at = chance.randrange(2)
        members[at].step(chance.choice([0, 0.05]))
        if chance.random() < 0.5:
            producers[at].begin_transaction()
            for _ in range(chance.randrange(3)):
                producers[at].produce("out", b"%d" % chance.randrange(99), None)
            if chance.random() < 0.5:
                producers[at].commit_transaction(1)
            else:
                producers[at].abort_transaction(1)
    return [
        (m.partition(), m.offset(), m.value(), m.timestamp())
        for partition in range(4)
        for m in world.memory.records("out", partition, committed=False)
    ] + [("calls", str(member.calls)) for member in members]


def test_a_full_partition_does_not_keep_the_others_waiting(memory: MemoryWorld) -> None:
    topic = memory.topic(2)
    plain = memory.memory.producer({})
    for partition in (0, 1):
        for _ in range(500):
            plain.produce(topic, b"v", b"k", partition)
    consumer = memory.reader((topic, 0, 0), (topic, 1, 0)).consumer
    assert {message.partition() for message in consumer.consume(100, 0)} == {0, 1}


# For checkers


def test_checkers_see_what_a_committed_reader_sees_or_everything(memory: MemoryWorld) -> None:
    topic = memory.topic()
    transaction(memory, topic, b"a").commit_transaction(1)
    transaction(memory, topic, b"never").abort_transaction(1)
    transaction(memory, topic, b"open")
    everything = memory.memory.records(topic, 0, committed=False)
    assert values(memory, topic) == [b"a"]
    assert [(m.offset(), m.value()) for m in everything] == [(0, b"a"), (2, b"never"), (4, b"open")]
    assert memory.memory.watermarks(topic, 0) == (0, 4, 5)


def test_checkers_see_who_owns_what(memory: MemoryWorld) -> None:
    topic, group = memory.topic(2), new_id()
    member = memory.member(group, topic, "a")
    memory.until(lambda: member.owned == {0, 1}, member)
    assert memory.memory.owners(group) == {(topic, 0): "a", (topic, 1): "a"}


def test_tombstones_go_when_asked_to(memory: MemoryWorld) -> None:
    topic = memory.topic()
    plain = memory.memory.producer({})
    for value in (b"a", None):
        plain.produce(topic, value, b"gone", 0)
    plain.produce(topic, b"b", b"kept", 0)
    memory.memory.compact(topic)
    assert [m.offset() for m in memory.memory.records(topic, 0)] == [1, 2]
    memory.memory.compact(topic, tombstones=True)
    assert [m.offset() for m in memory.memory.records(topic, 0)] == [2]
    assert memory.reader((topic, 0, 0)).read_to(3) == [b"b"]


def test_only_what_is_stable_can_be_trimmed(memory: MemoryWorld) -> None:
    topic = memory.topic()
    transaction(memory, topic, b"open")
    with pytest.raises(ValueError, match="can be trimmed from 0 to 0, not to 1"):
        memory.memory.trim(topic, 0, 1)


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["begin", "produce", "commit", "abort", "new"])),
    max_size=60,
)


@given(STEPS)
def test_a_committed_reader_reads_exactly_the_committed_records_in_order(
    steps: list[tuple[int, str]],
) -> None:
    world = MemoryWorld()
    topic = world.topic()
    ids = [new_id() for _ in range(3)]
    producers = [world.producer(id) for id in ids]
    opened: list[list[int] | None] = [None, None, None]
    end, committed = 0, []
    reader = world.reader((topic, 0, 0), isolation_level="read_committed")
    for at, step in steps:
        records = opened[at]
        if step == "new":
            producers[at] = world.producer(ids[at])
        elif step == "begin" and records is None:
            producers[at].begin_transaction()
            opened[at] = []
        elif step == "produce" and records is not None:
            producers[at].produce(topic, b"%d" % end, b"k", 0)
            records.append(end)
            end += 1
        elif step == "commit" and records is not None:
            producers[at].commit_transaction(1)
            committed += records
        elif step == "abort" and records is not None:
            producers[at].abort_transaction(1)
        if step in ("commit", "abort", "new"):
            end += bool(records)  # the marker
            opened[at] = None
        reader.step(0)
        stable = min((o[0] for o in opened if o), default=end)
        assert world.memory.watermarks(topic, 0) == (0, stable, end)
    for at, records in enumerate(opened):
        if records is not None:
            producers[at].abort_transaction(1)
            end += bool(records)
    reader.read_to(end)
    assert reader.offsets == sorted(committed)
    assert reader.values == [b"%d" % offset for offset in sorted(committed)]


def test_sessions_of_a_returning_broker_begin_anew(memory: MemoryWorld) -> None:
    topic, group = memory.topic(2), new_id()
    process = memory.memory.process()
    first = memory.member(group, topic, "a")
    second = memory.member(group, topic, "b", process)
    memory.until(lambda: len(first.owned) == len(second.owned) == 1, first, second)
    process.kill()
    memory.stop_broker()
    memory.elapse(10 * SESSION_S)
    memory.start_broker()
    memory.during(SESSION_S / 2, first)
    assert len(first.owned) == 1
    memory.until(lambda: first.owned == {0, 1}, first)
