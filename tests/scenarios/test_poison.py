"""One record in a hundred is poison of some kind, on both inputs, and settlement is killed midway.

Each poison is in the dead letters once, whole, with its reason; everything else counts once. What
the books know later is redriven and counts once, and redriven again it counts no more.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from tests.deadletters.test_redrive import fax_book
from tests.fuzz.poison import GOOD, TIME, corpus, good, named
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, seed, until
from tests.support import judge

from drawdown.broker.local import LocalKafka
from drawdown.deadletters.letters import Letter, read_letters
from drawdown.deadletters.redrive import Outcome, redrive
from drawdown.events.base import EPOCH, timestamp_text
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    USAGE_EVENTS,
    Topic,
)
from drawdown.settlement.publish import publish
from drawdown.stream import kafka
from drawdown.stream.partition import partition_of

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PARTITIONS = 4
GOOD_PER_POISON = 99
MARK = "poison"
"""Header by which a poison is known again."""


@dataclass
class Poison:
    """One poison, as it is sent."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    partition: int
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def every_poison(now: str) -> Iterator[Poison]:
    home = partition_of(b"ada", PARTITIONS)
    for topic in (USAGE_EVENTS, COMMANDS):
        for number, (name, value) in enumerate(corpus().items()):
            if name not in GOOD:
                current = named(value, f"p{number}").replace(TIME.encode(), now.encode())
                yield Poison(topic, b"ada", current, home)
        yield Poison(topic, b"ada", None, home)
        yield Poison(topic, b"", b"{}", partition_of(b"", PARTITIONS))
    for number, (key, partition, headers) in enumerate(
        [
            (None, 0, []),
            (b"eve", partition_of(b"eve", PARTITIONS), []),
            (b"\xff\xfe", partition_of(b"\xff\xfe", PARTITIONS), []),
            (b"ada", (home + 1) % PARTITIONS, [("drawdown-forwarded-from", b"0:0")]),
        ]
    ):
        event = good(id=f"k{number}", time=now)
        yield Poison(USAGE_EVENTS, key, json.dumps(event).encode(), partition, headers)
    for number in range(5):
        event = good(id=f"fax{number}", type="fax.sent", time=now, data={"pages": 1})
        yield Poison(USAGE_EVENTS, b"ada", json.dumps(event).encode(), home)


def test_one_in_a_hundred(broker: LocalKafka, tmp_path: Path) -> None:
    now = timestamp_text(datetime.now(UTC))
    poison = list(every_poison(now))
    load = Load(seed(), customers=20)
    with World(broker, tmp_path, PARTITIONS, load) as world:
        settler = world.start()
        world.ready(settler)
        producer = world.cluster.producer(kafka.plain_producer())
        for number, each in enumerate(poison):
            for _ in range(GOOD_PER_POISON):
                world._send(USAGE_EVENTS, *load.event(now))
            producer.produce(
                world.environment.topic(each.topic),
                each.value,
                each.key,
                each.partition,
                headers=[*each.headers, (MARK, b"%d" % number)],
            )
            producer.poll(0)
            world._producer.poll(0)
            if number == len(poison) // 2:
                settler.kill()
                settler = world.start()
        assert producer.flush(60.0) == world._producer.flush(60.0) == 0
        load.broken += len(poison)
        world.ready(settler, limit_s=90.0)
        world.decided(limit_s=180.0)
        world.verdict()
        _each_is_set_aside_once(world, poison)
        _what_the_books_know_later_counts_once(world)
        assert settler.running
        assert settler.status()["ready"]


def _each_is_set_aside_once(world: World, poison: list[Poison]) -> None:
    letters = [_marked(letter) for letter in world.follower(DEAD_LETTERS).messages]
    marked = {number: letter for number, letter in letters if number is not None}
    assert Counter(number for number, _ in letters if number is not None) == Counter(
        range(len(poison))
    )
    for number, each in enumerate(poison):
        letter = marked[number]
        assert (letter.key(), letter.value()) == (each.key, each.value), number
        headers: Any = letter.headers()
        assert headers[: len(each.headers)] == each.headers
        said = {name.removeprefix("drawdown-"): text.decode() for name, text in headers}
        assert said["topic"] == each.topic.name
        assert said["reason"] not in ("", "conflict"), (number, said)
        assert said["detail"]


def _marked(letter: Message) -> tuple[int | None, Message]:
    headers: Any = letter.headers() or []
    return next((int(text) for name, text in headers if name == MARK), None), letter


def _what_the_books_know_later_counts_once(world: World) -> None:
    """A book that knows faxes reaches settlement in its own time: what came too early comes back,
    and is redriven once more."""
    publish(
        world.cluster,
        world.environment,
        fax_book(),
        now=datetime.now(UTC),
        effective_at=EPOCH,
        force=True,
    )
    faxes = {f"fax{number}" for number in range(5)}

    def redriven() -> Outcome:
        return redrive(
            world.cluster,
            world.environment,
            lambda letter: letter.reason == "unknown_meter" and letter.open,
            by="ops",
            now_ms=time.time_ns() // 1_000_000,
        )

    def booked() -> Counter[str]:
        journal = world.follower(BALANCE_CHANGES).read_to_the_end()
        entries = [json.loads(message.value() or b"") for message in journal]
        return Counter(e["data"]["id"] for e in entries if e["data"].get("id") in faxes)

    def all_booked() -> bool:
        redriven()
        until(world._taken, 60.0, "not everything is taken")
        return booked().keys() == faxes

    until(all_booked, 120.0, "the faxes are not booked")
    assert booked() == Counter(faxes)

    def again(letter: Letter) -> bool:
        return letter.reason == "unknown_meter" and not letter.open

    outcome = redrive(world.cluster, world.environment, again, by="ops", now_ms=0)
    assert outcome.sent == {}
    assert len(outcome.skipped) >= len(faxes)
    letters = read_letters(world.cluster, world.environment)
    assert not any(x.reason == "unknown_meter" and x.open and _is_fax(x) for x in letters)
    assert booked() == Counter(faxes)
    journal = world.follower(BALANCE_CHANGES).read_to_the_end()
    rows = world.follower(BALANCES).read_to_the_end()
    assert (
        judge.wrongs(
            [(m.key() or b"", m.value() or b"") for m in journal],
            [(m.key() or b"", m.value()) for m in rows],
        )
        == []
    )


def _is_fax(letter: Letter) -> bool:
    return "fax" in letter.said["detail"]
