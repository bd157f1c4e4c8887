"""On a real Kafka: what settlement did, killed and started again, is rebuilt and decided again by
processes of their own; and what somebody changed afterwards is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, seed, until

from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import BALANCE_CHANGES, BALANCES, DECISIONS, Topic
from drawdown.replay import whole
from drawdown.replay.balance import wallet_at
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 2
SETTLED_S = 120.0


@pytest.fixture(scope="module")
def world(broker: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Load, and settlement killed in the middle of it; it goes on running."""
    load = Load(seed())
    with World(broker, tmp_path_factory.mktemp("replay"), PARTITIONS, load) as world:
        settler = world.start()
        world.ready(settler, limit_s=SETTLED_S)
        world.flow(400)
        until(lambda: world.debited() > 200, SETTLED_S, "nothing is debited")
        settler.kill()
        settler = world.start()
        world.ready(settler, limit_s=SETTLED_S)
        until(lambda: world.debited() > 600, SETTLED_S, "nothing more is debited")
        yield world


def verified(world: World, at_once: int = 1) -> whole.VerifyReport:
    """On disk where in processes of their own, else quicker, in memory."""
    return whole.verify(world.cluster, world.environment, at_once=at_once, on_disk=at_once > 1)


def replayed(world: World, at_once: int = 1) -> whole.ReplayReport:
    stores = [world.home("0") / "stores" / world.environment.name]
    return whole.replay(
        world.cluster, world.environment, stores=stores, at_once=at_once, on_disk=at_once > 1
    )


def details(report: whole.VerifyReport | whole.ReplayReport) -> list[str]:
    return [difference.detail for difference in report.first]


def append(world: World, topic: Topic, customer: str, value: bytes) -> None:
    """Write what settlement never wrote."""
    producer = world.cluster.producer(kafka.plain_producer())
    partition = partition_of(customer.encode(), PARTITIONS)
    producer.produce(world.environment.topic(topic), value, customer.encode(), partition)
    assert producer.flush(30.0) == 0


def test_replay_and_verify(world: World) -> None:
    # While it goes on.
    moving = replayed(world, at_once=PARTITIONS)
    assert details(moving) == []
    assert moving.rows_compared == moving.rows > 0
    assert sum(store.rows for store in moving.stores) > 0
    assert details(verified(world, at_once=PARTITIONS)) == []

    # When all is decided.
    world.dry()
    world.decided(SETTLED_S)
    load = world.load
    report = verified(world, at_once=PARTITIONS)
    assert details(report) == []
    counts = report.counts
    assert counts.decided_again == counts.entries == len(load.sent) + 2 * load.customers
    assert counts.decisions == len(load.commands)
    assert counts.dead_letters == load.broken
    assert counts.duplicates > 0
    still = replayed(world)
    assert details(still) == []
    assert still.entries == counts.entries
    assert [store.not_compared for store in still.stores] == [None] * PARTITIONS
    assert sum(store.rows for store in still.stores) == still.rows

    # A wallet as it was.
    entries = [json.loads(m.value() or b"") for m in world.follower(BALANCE_CHANGES).messages]
    entry = next(e for e in entries if e["data"]["sequence"] == 5)
    then = wallet_at(world.cluster, world.environment, entry["subject"], sequence=5)
    assert then is not None
    assert then.wallet.digest == entry["digest"]

    # Somebody makes an allow up.
    asked = next(json.loads(m.value() or b"") for m in world.follower(DECISIONS).messages)
    forged = asked | {"id": "forged", "allowed": True, "reason": "ok"}
    append(world, DECISIONS, asked["customer"], json.dumps(forged).encode())
    report = verified(world)
    assert report.differences == 1
    assert "'forged'" in report.first[0].detail

    # Somebody changes a row.
    row = world.follower(BALANCES).read_to_the_end()[-1]
    customer, value = (row.key() or b"").decode(), row.value() or b""
    richer = value.replace(b'"granted":"', b'"granted":"1', 1)
    append(world, BALANCES, customer, richer)
    differs = replayed(world)
    assert differs.differences == 1
    assert (differs.first[0].customer, differs.first[0].field) == (customer, "accounts[0].granted")

    # Somebody appends a journal entry with a flipped byte: nothing caused it either.
    journal = world.follower(BALANCE_CHANGES).messages
    last = next(m for m in reversed(journal) if m.key() != row.key())
    spoiled = (last.value() or b"").replace(b'"amount":"', b'"amount":"1', 1)
    append(world, BALANCE_CHANGES, (last.key() or b"").decode(), spoiled)
    differs = replayed(world)
    assert differs.differences == 2
    assert any("digest is not that of its bytes" in detail for detail in details(differs))
    assert verified(world).differences == 2

    # Somebody deletes the journal's head.
    where = TopicPartition(world.environment.topic(BALANCE_CHANGES), 0, 10)
    admin = world.cluster.admin()  # answers come only while it lives
    for deleted in admin.delete_records([where]).values():
        deleted.result(30.0)
    assert any("begins at 10" in detail for detail in details(replayed(world)))
    assert any("begins at 10" in detail for detail in details(verified(world)))


def test_a_directory_without_stores_is_not_compared(world: World, tmp_path: Path) -> None:
    report = whole.replay(world.cluster, world.environment, stores=[tmp_path])
    assert report.stores == []
