"""The loop: what comes first, what a turn takes on, and what becomes of one that fails.

Settlement is the application; what is looked at is what stands on the topics.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError
from tests.support.desk import ENVIRONMENT, Desk, Settler

from drawdown.events.catalogue import BALANCE_CHANGES, USAGE_EVENTS
from drawdown.stream.memory import (
    AnswerLost,
    Fault,
    MarkersDelayed,
    MustAbort,
    RequestDelayed,
    RequestLost,
)
from drawdown.stream.outbox import FORWARDED
from drawdown.stream.partition import partition_of


def serving(desk: Desk) -> Settler:
    settler = desk.start()
    desk.settle()
    return settler


def fail_once(desk: Desk, call: str, fault: Fault) -> list[str]:
    """The next such call of settlement's goes wrong; says whether it has."""
    failed: list[str] = []

    def before(name: str, client: Any) -> Fault | None:
        if name != call or failed or not client.process.name.startswith("settlement-"):
            return None
        failed.append(name)
        return fault

    desk.cluster.faults.before = before
    return failed


# What comes first


def test_a_command_does_not_wait_for_the_usage_before_it() -> None:
    desk = Desk(partitions=1)
    settler = serving(desk)
    desk.grant("acme", "100")
    desk.settle()
    for _ in range(6):  # of peace: how long ago the last usage was says nothing
        desk.pass_time(20)
        settler.turn()
    for _ in range(50):
        desk.use("acme", input=1_000)
    asked = desk.authorize("acme")
    desk.pass_time(20)
    asked_late = desk.authorize("acme")
    settler.turn()
    assert desk.decision(asked)["usage_lag_records"] == 50
    assert 20_000 <= desk.decision(asked_late)["usage_lag_ms"] < 40_000
    desk.settle()
    assert desk.balance("acme") == "99.9"


def test_a_turn_ends_with_its_budget_and_the_next_goes_on() -> None:
    desk = Desk(partitions=1)
    settler = serving(desk)
    worker = settler.worker
    worker._budget = msgspec.structs.replace(worker._budget, chunk=10, records_max=25)
    for _ in range(70):
        desk.use("acme", input=1_000)
    assert [settler.turn() for _ in range(4)] == [30, 30, 10, 0]


# A transaction that fails


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("produce_batch", RequestLost()),
        ("produce_batch", MustAbort(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)),
        ("send_offsets_to_transaction", MustAbort(KafkaError.ILLEGAL_GENERATION)),
        ("commit_transaction", MustAbort(KafkaError.ILLEGAL_GENERATION)),
    ],
)
def test_one_that_must_be_aborted_is_dropped_and_read_again(call: str, fault: Fault) -> None:
    desk = Desk(partitions=1)
    settler = serving(desk)
    desk.grant("acme", "100")
    desk.settle()
    before = settler.worker._producer
    desk.use("acme", input=1_000_000)
    failed = fail_once(desk, call, fault)
    desk.settle()
    assert failed
    assert desk.kinds("acme") == ["grant", "debit"]
    assert desk.balance("acme") == "98"
    assert settler.worker._producer is before
    topic = ENVIRONMENT.topic(BALANCE_CHANGES)
    appended = len(desk.cluster.records(topic, 0, committed=False))
    assert appended == (2 if isinstance(fault, RequestLost) else 3)  # one of them aborted


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
@pytest.mark.parametrize(
    "fault", [AnswerLost(), RequestLost(), RequestDelayed(2_000), RequestDelayed(20)]
)
def test_one_whose_outcome_is_unknown_is_found_out_by_a_new_producer(
    call: str, fault: Fault
) -> None:
    desk = Desk(partitions=1)
    settler = serving(desk)
    desk.grant("acme", "100")
    desk.settle()
    before = settler.worker._producer
    desk.use("acme", input=1_000_000)
    failed = fail_once(desk, call, fault)
    desk.settle()
    desk.use("acme", input=1_000_000)
    desk.pass_time(3)  # a late request arrives, and finds another epoch
    desk.settle()
    assert failed
    assert settler.worker._producer is not before
    assert desk.kinds("acme") == ["grant", "debit", "debit"]
    assert desk.balance("acme") == "96"


def test_a_commit_that_took_suspiciously_long_is_unknown_too() -> None:
    desk = Desk(partitions=1)
    settler = serving(desk)
    desk.grant("acme", "100")
    desk.settle()
    before = settler.worker._producer
    desk.use("acme", input=1_000_000)
    fail_once(desk, "commit_transaction", MarkersDelayed(10))
    desk.cluster.faults.after = lambda call, client: (
        desk.pass_time(1.5) if call == "commit_transaction" else None
    )
    settler.turn()
    desk.cluster.faults.after = None
    assert settler.worker.serving == frozenset()
    desk.settle()
    assert settler.worker._producer is not before
    assert desk.balance("acme") == "98"


# Records that are not where, or what, they should be


def misplaced(desk: Desk, customer: str, **headers: bytes) -> None:
    home = partition_of(customer.encode(), desk.partitions)
    desk.use(customer, input=1_000_000)
    topic = ENVIRONMENT.topic(USAGE_EVENTS)
    value = desk.cluster.records(topic, home)[-1].value()
    event = (value or b"").replace(b'"id": "e', b'"id": "moved-e')
    desk.produce(
        USAGE_EVENTS,
        customer.encode(),
        event,
        partition=(home + 1) % desk.partitions,
        headers=[(name.replace("_", "-"), text) for name, text in headers.items()] or None,
    )


@pytest.mark.parametrize("known", [False, True], ids=["new key", "key seen at home"])
def test_a_record_on_the_wrong_partition_is_moved_and_decided_once(known: bool) -> None:
    desk = Desk(partitions=4)
    serving(desk)
    if known:
        desk.grant("acme", "100")
        desk.settle()
    misplaced(desk, "acme")
    desk.settle()
    home = partition_of(b"acme", 4)
    causes = {entry["data"]["cause"]["partition"] for entry in desk.entries("acme")}
    assert causes == {home}
    assert desk.kinds("acme").count("debit") == 2
    assert desk.dead_letters() == []
    records = desk.cluster.records(ENVIRONMENT.topic(USAGE_EVENTS), home)
    assert [m.headers() for m in records][-1] == [(FORWARDED, f"{(home + 1) % 4}:0".encode())]


def test_a_record_that_was_moved_before_is_a_dead_letter() -> None:
    desk = Desk(partitions=4)
    serving(desk)
    misplaced(desk, "acme", **{FORWARDED.replace("-", "_"): b"3:17"})
    desk.settle()
    assert desk.kinds("acme") == ["debit"]
    ((_, said),) = desk.dead_letters()
    assert said["reason"] == "wrong_partition"


def test_a_broken_record_is_a_dead_letter_and_the_next_is_decided() -> None:
    desk = Desk(partitions=1)
    serving(desk)
    desk.produce(USAGE_EVENTS, b"acme", b"{")
    desk.use("acme", input=1_000_000)
    desk.settle()
    ((value, said),) = desk.dead_letters()
    assert value == b"{"
    assert (said["topic"], said["partition"], said["offset"]) == ("usage-events", "0", "0")
    assert desk.kinds("acme") == ["debit"]


def test_a_partition_stops_where_the_rules_break_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(partitions=4)
    settler = serving(desk)
    application: Any = settler.worker._application
    decide = application.decide

    def broken(item: Any, *rest: Any) -> None:
        if item.content.subject == "acme":
            raise AssertionError("wrong money")
        decide(item, *rest)

    monkeypatch.setattr(application, "decide", broken)
    home = partition_of(b"acme", 4)
    other = next(n for n in ("bolt", "cyan", "dune") if partition_of(n.encode(), 4) != home)
    desk.use(other, input=1)
    desk.use("acme", input=1)
    desk.settle()
    assert list(settler.worker.stopped) == [home]
    assert "wrong money" in settler.worker.stopped[home]
    assert desk.entries("acme") == []
    assert desk.kinds(other) == ["debit"]


# Rebalances


def test_a_rebalance_in_the_middle_voids_the_turn_and_nothing_else() -> None:
    desk = Desk(partitions=4)
    first = serving(desk)
    customers = [f"customer-{number}" for number in range(20)]
    for customer in customers:
        desk.grant(customer, "10")
    desk.settle()
    second = desk.start("1")
    for _ in range(30):
        for customer in customers:
            desk.use(customer, input=100_000)
        desk.pass_time(0.2)
        first.turn()
        second.turn()
    desk.settle()
    assert len(first.worker.serving) == len(second.worker.serving) == 2
    assert {desk.balance(customer) for customer in customers} == {"4"}
