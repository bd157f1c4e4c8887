"""`replay`, `verify` and `balance`: the proof, as an operator runs it beside a running stack."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.local import Home
from drawdown.cli.outcome import DENIED, FAILED, UNREACHABLE, USAGE
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import (
    COMMANDS,
    DECISIONS,
    PARTITIONS_DEFAULT,
    Environment,
    Topic,
)
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.partition import partition_of

pytestmark = pytest.mark.kafka


def produce(stack: Drawdown, topic: Topic, value: bytes) -> None:
    """Write a record of the customer's past everybody."""
    producer = KafkaCluster(Home(stack.home).bootstrap() or "").producer(kafka.plain_producer())
    partition = partition_of(b"proved", PARTITIONS_DEFAULT)
    producer.produce(Environment("dev").topic(topic), value, b"proved", partition)
    assert producer.flush(30.0) == 0


@pytest.fixture(scope="module")
def proved(stack: Drawdown) -> Drawdown:
    """A customer with a grant, usage, a hold and a denial."""
    stack.ok("grant", "proved", 10, "--id", "g")
    stack.ok("send", "proved", "llm.request", "model=gpt-5", "output=150000")
    stack.settled("proved", 2)
    hold = {"type": "authorize", "id": "held", "customer": "proved", "meter": "llm"}
    hold |= {"time": timestamp_text(datetime.now(UTC)), "require": "hold"}
    content = hold | {"dimensions": {"model": "gpt-5"}, "estimate": {"amount": "2"}}
    produce(stack, COMMANDS, json.dumps(content).encode())
    denied = stack("authorize", "proved", "llm", "--dimension", "model=gpt-5", "--amount", 1000)
    assert denied.code == DENIED
    stack.settled("proved", 3)
    return stack


def test_replay_compares_with_balances_and_the_running_stores(proved: Drawdown) -> None:
    report = proved.json("replay", "--processes", 1)
    assert report["differences"] == 0
    assert report["rows"] == report["rows_compared"] > 0
    assert sum(store["rows"] for store in report["stores"]) > 0
    assert [p["partition"] for p in report["partitions"]] == [0, 1, 2, 3]

    said = proved.ok("replay", "--partition", 1, "-q")
    assert "byte for byte" in said.out
    assert said.err == ""


def test_verify_decides_entries_and_denials_again(proved: Drawdown) -> None:
    report = proved.json("verify", "--processes", 1)
    assert report["differences"] == 0
    counts = report["counts"]
    assert counts["decided_again"] == counts["entries"] > 2
    assert counts["denials"] > 0
    assert "is as it is decided again" in proved.ok("verify", "--processes", 1).out


def test_balance_shows_what_was(proved: Drawdown) -> None:
    first = proved.json("balance", "proved", "--at", 1)
    assert first["accounts"][0]["available"] == "10"
    (account,) = proved.json("balance", "proved", "--at", 3)["accounts"]
    assert (account["available"], account["held"], account["debited"]) == ("6.5", "2", "1.5")
    then = proved.json("balance", "proved", "--at", first["at"])
    assert then["sequence"] == 1
    now = proved.ok("balance", "proved")
    assert ["USD", "6.5", "6.5", "2", "10", "1.5", "0"] in now.rows
    assert ["g", "paid", "6.5", "2", "10", "USD", "never", "yes"] in now.rows


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("balance", "nobody-at-all"), FAILED, "had no wallet"),
        (("balance", "proved", "--at", "2020-01-01T00:00:00Z"), FAILED, "had no wallet at"),
        (("balance", "proved", "--at", 99), FAILED, "has 3 entries, and no 99"),
        (("balance", "proved", "--at", "yesterday"), USAGE, "is no time"),
        (("verify", "--partition", 4), USAGE, "there are 0 to 3"),
        (("replay", "--stores", "/nowhere"), USAGE, "is no directory"),
    ],
)
def test_what_is_wrong_is_one_line(
    proved: Drawdown, arguments: tuple[object, ...], code: int, said: str
) -> None:
    ended = proved(*arguments)
    assert ended.code == code
    assert said in ended.error


@pytest.mark.parametrize("command", [("replay",), ("verify",), ("balance", "acme")])
def test_without_kafka_it_ends_with_4(nothing: Drawdown, command: tuple[str, ...]) -> None:
    ended = nothing(*command)
    assert ended.code == UNREACHABLE
    assert "drawdown up" in ended.error


def test_an_allow_that_somebody_made_up_is_named(proved: Drawdown) -> None:
    forged = {"kind": "authorization", "id": "forged", "customer": "proved", "reason": "ok"}
    forged |= {"command": "authorize", "at": "2027-01-15T08:00:00Z", "allowed": True}
    produce(proved, DECISIONS, json.dumps(forged).encode())

    ended = proved("verify", "--processes", 1)

    assert ended.code == FAILED
    assert "1 difference:" in ended.out
    assert "'forged' of proved, which nobody asked for" in ended.out
