"""The overlay of a transaction over cache and store, and what a transaction sends."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaException
from hypothesis import given
from hypothesis import strategies as st

from drawdown.stream.application import COMMANDS, USAGE, Record
from drawdown.stream.layout import Layout
from drawdown.stream.memory import MemoryCluster
from drawdown.stream.outbox import Outbox
from drawdown.stream.store import MemoryStores, Owner, Positions, Timer
from drawdown.stream.view import PartitionView, RowCache


class Codec:
    """Rows are texts; one that begins with digits is due then."""

    def row_bytes(self, row: str) -> bytes:
        return row.encode()

    def row_of(self, value: bytes) -> str:
        return value.decode()

    def due_ms(self, row: str) -> int | None:
        digits = row.partition(" ")[0]
        return int(digits) if digits.isascii() and digits.isdigit() else None


def view(cache_bytes: int = 10_000) -> PartitionView:
    store = MemoryStores().open(Owner("c", "t", 0, 1))
    return PartitionView(store, Codec(), RowCache(cache_bytes))


def commit(view: PartitionView, journal: int = 1) -> bool:
    return view.commit(view.seal(), Positions(journal=journal), 0)


def test_nothing_reaches_the_store_before_the_commit() -> None:
    seen = view()
    seen.put("acme", "1")
    seen.remember(b"id", b"first")
    assert seen.row("acme") == "1"
    assert seen.identity(b"id") == b"first"
    assert seen.store.rows(["acme"]) == [None]
    assert seen.store.identities([b"id"]) == [None]
    commit(seen)
    assert seen.store.rows(["acme"]) == [b"1"]
    assert seen.store.identities([b"id"]) == [b"first"]


def test_what_is_dropped_was_never_there() -> None:
    seen = view()
    seen.put("acme", "1")
    commit(seen)
    seen.prefetch(["acme"], [b"id"])
    seen.put("acme", "2")
    seen.put("bolt", "3")
    seen.remember(b"id", b"first")
    seen.drop()
    assert not seen.touched
    assert (seen.row("acme"), seen.row("bolt"), seen.identity(b"id")) == ("1", None, None)


def test_a_row_that_is_removed_is_sealed_as_a_tombstone() -> None:
    seen = view()
    seen.put("acme", "1")
    commit(seen)
    seen.put("acme", None)
    assert seen.seal() == {"acme": None}
    commit(seen)
    assert seen.row("acme") is None
    assert list(seen.store.all_rows()) == []


def test_timers_follow_the_rows() -> None:
    seen = view()
    seen.put("acme", "70 units")
    assert commit(seen)
    seen.put("acme", "70 others")
    assert not commit(seen)
    seen.put("acme", "60 units")
    seen.put("bolt", "no time")
    assert commit(seen)
    assert seen.store.due(100, 10) == [Timer(60, "acme")]
    seen.put("acme", None)
    assert commit(seen)
    assert seen.store.due(100, 10) == []


keys = st.sampled_from(["a", "b", "c", "d", "e"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.one_of(st.none(), st.text(max_size=300))),
        st.tuples(st.just("read"), keys),
        st.tuples(st.just("prefetch"), st.lists(keys)),
        st.tuples(st.just("commit")),
        st.tuples(st.just("drop")),
    )
)


@given(steps, st.sampled_from([0, 500, 10_000]))
def test_it_is_a_dictionary_whose_changes_can_be_dropped(
    steps: list[tuple[Any, ...]], cache_bytes: int
) -> None:
    seen = view(cache_bytes)
    kept: dict[str, str | None] = {}
    now: dict[str, str | None] = {}
    for name, *arguments in steps:
        if name == "put":
            seen.put(*arguments)
            now[arguments[0]] = arguments[1]
        elif name == "read":
            assert seen.row(arguments[0]) == now.get(arguments[0])
        elif name == "prefetch":
            seen.prefetch(arguments[0], [])
        elif name == "commit":
            commit(seen)
            kept = dict(now)
        else:
            seen.drop()
            now = dict(kept)
    commit(seen)
    rows = {key: value.decode() for key, value in seen.store.all_rows()}
    assert rows == {key: row for key, row in now.items() if row is not None}


def test_a_cache_keeps_what_was_used_last_within_its_bytes() -> None:
    cache = RowCache(500)
    for name in ("a", "b", "c", "d"):
        cache.put(name, name, 20)  # and 100 for being there
    assert cache.get("a") == "a"
    cache.put("e", "e", 20)
    found = [name for name in "abcde" if cache.get(name) == name]
    assert found == ["a", "c", "d", "e"]
    cache.put("a", "A", 400)
    assert [name for name in "abcde" if cache.get(name) == name] == []
    assert cache.get("a") == "A"


# The outbox

LAYOUT = Layout(
    usage="t.usage-events",
    commands="t.commands",
    journal="t.balance-changes",
    rows="t.balances",
    answers="t.decisions",
    dead_letters="t.dead-letters",
    partitions=4,
    group="g",
    instance="0",
)
NAMES = {USAGE: "usage-events", COMMANDS: "commands"}


def cluster() -> MemoryCluster:
    made = MemoryCluster(lambda: 0)
    for topic in (*LAYOUT.customer_topics, "t.notifications"):
        made.create_topic(topic, 4)
    return made


def record(**fields: Any) -> Record:
    content: dict[str, Any] = {
        "input": COMMANDS,
        "partition": 2,
        "offset": 7,
        "key": b"acme",
        "value": b"{",
        "at_ms": 1_800_000_000_000,
        "headers": None,
    }
    return Record(**{**content, **fields})


def test_everything_goes_to_the_partition_it_is_about() -> None:
    made = cluster()
    producer = made.producer({"transactional.id": "0"})
    producer.init_transactions(1)
    producer.begin_transaction()
    outbox = Outbox(LAYOUT, NAMES)
    outbox.at = 2
    outbox.journal(b"acme", b"entry")
    outbox.row("acme", b"row")
    outbox.answer(record(), b"answer")
    outbox.tell("t.notifications", b"acme", b"notice")
    headers = [("reply_to", b"me"), ("other", b"x")]
    outbox.answer(record(headers=headers), b"addressed")
    outbox.reject(record(), "invalid_json", "it ends too soon", None)
    assert outbox.waiting == 6
    outbox.flush(producer)
    assert outbox.waiting == 0
    producer.commit_transaction(1)
    assert outbox.journal_next == {2: 1}
    found = {
        topic: [(m.value(), m.headers()) for m in made.records(topic, 2)]
        for topic in (*LAYOUT.customer_topics, "t.notifications")
    }
    assert found["t.balance-changes"] == [(b"entry", None)]
    assert found["t.balances"] == [(b"row", None)]
    assert found["t.notifications"] == [(b"notice", None)]
    assert found["t.decisions"] == [(b"answer", None), (b"addressed", [("reply_to", b"me")])]
    ((value, said),) = found["t.dead-letters"]
    assert value == b"{"
    assert dict(said or [])["drawdown-offset"] == b"7"
    assert dict(said or [])["drawdown-reason"] == b"invalid_json"


def test_a_queue_that_is_full_asks_for_an_abort() -> None:
    made = cluster()
    process = made.process()
    producer = process.producer({"transactional.id": "0", "queue.buffering.max.messages": 3})
    producer.init_transactions(1)
    producer.begin_transaction()
    process.cut()  # nothing leaves
    outbox = Outbox(LAYOUT, NAMES)
    for _ in range(5):
        outbox.journal(b"acme", b"entry")
    with pytest.raises(KafkaException) as caught:
        outbox.flush(producer)
    assert caught.value.args[0].txn_requires_abort()
