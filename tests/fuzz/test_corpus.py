"""The kept corpus: every poison, through every decoder and through settlement itself.

What is poison goes to the dead letters once, whole, with its reason, and the partition goes on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from tests.fuzz.bounds import judged
from tests.fuzz.decoders import DECODERS
from tests.fuzz.poison import GOOD, corpus, named
from tests.support.desk import Desk

from drawdown.events.catalogue import COMMANDS, DEAD_LETTERS, PRICE_BOOK, USAGE_EVENTS
from drawdown.events.reasons import Reason

EVERY = pytest.mark.parametrize("name", corpus())


@cache
def poison() -> dict[str, bytes]:
    return corpus()


@EVERY
def test_every_decoder_reads_it_or_says_what_is_wrong(name: str) -> None:
    for decode in DECODERS.values():
        judged(decode, poison()[name])


@pytest.fixture
def desk() -> Desk:
    desk = Desk(partitions=1)
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    return desk


@pytest.mark.parametrize("topic", [USAGE_EVENTS, COMMANDS], ids=lambda topic: topic.name)
def test_all_of_it_on_an_input_is_set_aside_whole_and_once(desk: Desk, topic: Any) -> None:
    """One after the other with good usage between, and settlement killed now and then."""
    sent = {name: named(value, name) for name, value in poison().items()}
    used: list[str] = []
    for number, value in enumerate(sent.values()):
        desk.produce(topic, b"ada", value)
        used.append(desk.use("ada", input=1))
        if number % 20 == 19:
            desk.settle()
            desk.settlers[0].restart()
    desk.settle()
    expected = [v for name, v in sent.items() if topic is COMMANDS or name not in GOOD]
    assert sorted(value or b"" for value, _ in desk.dead_letters()) == sorted(expected)
    for _, said in desk.dead_letters():
        assert Reason(said["reason"])
        assert said["reason"] != "conflict"
        assert said["detail"]
    debited = [entry["data"]["id"] for entry in desk.entries("ada")]
    assert [id_ for id_ in debited if id_ in set(used)] == used
    assert not any(settler.worker.stopped for settler in desk.settlers)
    assert desk.wrongs() == []


def test_poison_among_the_prices_stops_nobody(desk: Desk) -> None:
    for value in (None, *poison().values()):
        if value is None or len(value) < 1 << 20:
            desk.produce(PRICE_BOOK, None, value, partition=0)
    used = desk.use("ada", input=1)
    desk.settle()
    assert desk.entries("ada")[-1]["data"]["id"] == used
    assert desk.records(DEAD_LETTERS) == []
