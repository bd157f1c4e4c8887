"""Everything is decided again, and what was changed afterwards is found and named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from tests.replay.lives import lived
from tests.replay.proof import put, remove, replayed, rewrite, the_only, told, verified
from tests.settlement.test_counters import DAY_S, prices
from tests.simulation.history import History
from tests.simulation.schedules import schedule_of
from tests.simulation.world import ENVIRONMENT as SIMULATED
from tests.support.desk import Desk, book

from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    USAGE_EVENTS,
)
from drawdown.replay import whole


@pytest.fixture
def desk() -> Iterator[Desk]:
    yield lived()


def debit(entry: dict[str, Any]) -> bool:
    return bool(entry["type"].endswith(".debit") and "source" in entry["data"])


def digested(body: bytes) -> bytes:
    """An entry with the digest of what it says: forged with care."""
    head, _, _ = body.rpartition(b',"digest":"')
    return head + b',"digest":"' + sha256(head).hexdigest().encode() + b'"}'


def test_all_that_happened_is_decided_again(desk: Desk) -> None:
    report = verified(desk)
    assert told(report) == []
    counts = report.counts
    assert counts.decided_again == counts.entries == len(desk.entries())
    assert counts.timers >= 3
    assert counts.duplicates == 2
    assert counts.dead_letters == len(desk.dead_letters())
    assert counts.decisions == len(desk.records(DECISIONS))
    assert counts.denials >= 8
    assert counts.forwarded == 1
    assert counts.as_recorded >= 1
    assert counts.causes_gone == counts.decisions_gone == counts.not_followed == 0


def test_an_amount_that_was_changed_is_named_with_its_field(desk: Desk) -> None:
    def dearer(value: bytes) -> bytes:
        entry = json.loads(value)
        amount = entry["data"]["amount"].encode()
        return digested(value.replace(b'"amount":"' + amount, b'"amount":"9' + amount))

    before = rewrite(desk, BALANCE_CHANGES, debit, dearer)
    difference = the_only(verified(desk))
    amount = json.loads(before.value() or b"")["data"]["amount"]
    assert (difference.what, difference.offset) == ("entry", before.offset())
    assert (difference.field, difference.expected, difference.found) == (
        "data.amount",
        amount,
        f"9{amount}",
    )
    assert f"[{before.partition()}]@{before.offset()}" in difference.detail


def test_a_flipped_byte_is_one_difference_and_what_follows_is_still_decided(desk: Desk) -> None:
    def flipped(value: bytes) -> bytes:
        place = value.index(b'"meter":"') + 9
        return value[:place] + bytes([value[place] ^ 1]) + value[place + 1 :]

    rewrite(desk, BALANCE_CHANGES, debit, flipped)
    report = verified(desk)
    assert "digest is not that of its bytes" in the_only(report).detail
    assert report.counts.decided_again == report.counts.entries - 1


def test_an_entry_that_was_taken_away_is_missed(desk: Desk) -> None:
    gone = remove(desk, BALANCE_CHANGES, lambda e: debit(e) and e["subject"] == "eve")
    report = verified(desk)
    lost = json.loads(gone.value() or b"")["data"]
    assert "it is lost" in report.first[0].detail
    assert repr(lost["id"]) in report.first[0].detail


def test_an_entry_nobody_caused_is_found(desk: Desk) -> None:
    entry = next(m for m in desk.records(BALANCE_CHANGES) if m.key() == b"eve")
    put(desk, BALANCE_CHANGES, "eve", entry.value() or b"")
    report = verified(desk)
    assert "caused" in report.first[0].detail


def test_a_denial_made_an_allow_is_found(desk: Desk) -> None:
    def allowed(value: bytes) -> bytes:
        return value.replace(b'"allowed":false', b'"allowed":true')

    rewrite(desk, DECISIONS, lambda d: d["reason"] == "insufficient_balance", allowed)
    difference = the_only(verified(desk))
    assert (difference.what, difference.field) == ("decision", "allowed")
    assert (difference.expected, difference.found) == ("false", "true")


def test_a_check_says_what_it_read(desk: Desk) -> None:
    def richer(value: bytes) -> bytes:
        return value.replace(b'"available":{"USD":"', b'"available":{"USD":"1')

    rewrite(desk, DECISIONS, lambda d: d["allowed"] and d.get("balance") is None, richer)
    assert the_only(verified(desk)).field == "available.USD"


def test_a_decision_about_nothing_is_found(desk: Desk) -> None:
    forged = {"kind": "authorization", "id": "forged", "customer": "ada", "command": "authorize"}
    forged |= {"at": "2027-01-15T08:00:00Z", "allowed": True, "reason": "ok"}
    put(desk, DECISIONS, "ada", json.dumps(forged).encode())
    assert "which nobody asked for" in the_only(verified(desk)).detail


def test_a_command_without_a_decision_is_found(desk: Desk) -> None:
    remove(desk, DECISIONS, lambda d: d["reason"] == "insufficient_balance")
    assert "neither an entry nor a decision" in the_only(verified(desk)).detail


def test_a_dead_letter_that_is_not_there_is_found(desk: Desk) -> None:
    log = desk.cluster._log("test.dead-letters", 0)
    for partition in range(4):
        log = desk.cluster._log("test.dead-letters", partition)
        if log.entries:
            break
    del log.entries[0]
    log._gaps = True
    assert "has no dead letter" in the_only(verified(desk)).detail


def test_a_dead_letter_that_holds_something_else_is_found(desk: Desk) -> None:
    rewrite(desk, DEAD_LETTERS, lambda e: e.get("type") == "no.such.meter", lambda v: v + b" ")
    assert "does not hold the record as it is" in the_only(verified(desk)).detail


def test_usage_that_was_changed_afterwards_is_found(desk: Desk) -> None:
    rewrite(
        desk,
        USAGE_EVENTS,
        lambda e: e.get("subject") == "bob" and e.get("data", {}).get("input", 0) > 1_000,
        lambda v: v.replace(b'"input": ', b'"input": 1'),
    )
    assert verified(desk).first[0].field in ("data.fingerprint", "data.usage.quantities.input")


def test_causes_that_retention_took_are_counted_not_decided(desk: Desk) -> None:
    for partition in range(4):
        for topic in (USAGE_EVENTS, COMMANDS):
            name = f"test.{topic.name}"
            desk.cluster.trim(name, partition, desk.cluster.watermarks(name, partition)[1] // 2)
    report = verified(desk)
    assert told(report) == []
    assert report.counts.causes_gone > 0
    assert report.counts.decisions_gone > 0
    assert report.counts.causes_gone + report.counts.decided_again == report.counts.entries


def test_decisions_that_retention_took_are_counted_too(desk: Desk) -> None:
    for partition in range(4):
        end = desk.cluster.watermarks("test.decisions", partition)[1]
        desk.cluster.trim("test.decisions", partition, end)
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries
    assert report.counts.decisions == 0
    assert report.counts.decisions_gone > 0


def test_a_journal_without_its_head_says_so_once(desk: Desk) -> None:
    partition = next(p for p in range(4) if desk.cluster.watermarks("test.balance-changes", p)[1])
    desk.cluster.trim("test.balance-changes", partition, 5)
    report = verified(desk)
    difference = report.first[0]
    assert (difference.what, difference.offset) == ("head-gone", 5)
    assert "retention.ms" in difference.detail
    assert report.counts.not_followed > 0


def test_a_foreign_topic_is_no_journal(desk: Desk) -> None:
    put(desk, BALANCE_CHANGES, "ada", b'{"hello": "world"}')
    assert "it is no entry of a journal" in the_only(verified(desk)).detail


def test_a_later_versions_entry_names_its_type(desk: Desk) -> None:
    value = rewrite(
        desk,
        BALANCE_CHANGES,
        lambda e: e["type"].endswith("lapse"),
        lambda v: v.replace(b"drawdown.entry.lapse", b"drawdown.entry.swap"),
    )
    assert value
    assert "'drawdown.entry.swap' is no entry this version knows" in "".join(told(verified(desk)))


def test_a_book_that_was_not_known_yet_is_no_difference() -> None:
    desk = Desk()
    desk.start()
    desk.grant("ada", "5")
    desk.settle()
    desk.use("ada", input=1_000)
    desk.settle()
    # In effect from the beginning: what was decided before was decided without it.
    desk.publish(book("v2", thresholds={}))
    desk.settle()
    desk.use("ada", input=2_000)
    desk.settle()
    report = verified(desk)
    assert told(report) == []
    assert report.counts.earlier_books > 0


@pytest.mark.parametrize("seed", range(1, 26))
def test_any_history_is_decided_again(seed: int) -> None:
    history = History(schedule_of(seed)).play()
    assert history.wrongs == {}
    report = whole.verify(history.cluster, SIMULATED, on_disk=False)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries > 0


def test_what_runs_is_decided_again_with_its_true_ups_and_its_closing() -> None:
    desk = Desk(partitions=1)
    desk.publish(prices())
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    for data in ({"images": 10}, {"images": 1}):
        desk.event("ada", data, type="image")
        desk.settle()
    desk.event("ada", {"wallet": "a"}, type="activity")
    desk.event("ada", {"task": "t"}, type="fin")
    desk.event("ada", {"task": "t", "state": "reopened"}, type="fin")
    desk.event("ada", {"minutes": 1}, type="call")
    desk.settle()
    assert told(replayed(desk)) == []
    desk.pass_time(60 * DAY_S)
    desk.settle()
    assert {"close", "debit"} < set(desk.kinds("ada"))
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert report.counts.timers == 4
    assert told(replayed(desk)) == []


def test_what_holds_over_periods_is_decided_again() -> None:
    desk = Desk(partitions=1)
    desk.publish(prices())
    desk.start()
    desk.grant("ada", "100")
    desk.event("ada", {"gb": 10}, type="disk")
    desk.settle()
    desk.pass_time(60 * DAY_S)
    desk.event("ada", {"gb": 20}, type="disk")  # perhaps before the timers
    desk.settle()
    desk.pass_time(60 * DAY_S)
    desk.settle()
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert report.counts.timers >= 4
    assert told(replayed(desk)) == []


@pytest.mark.parametrize("first", ["usage", "a check", "a grant", "the timer"])
def test_cycles_are_decided_again_whatever_began_them(first: str) -> None:
    desk = Desk(partitions=1)
    desk.publish(book())
    desk.start()
    desk.grant("ada", "5", grant_id="plan", recurrence={"every": "day", "cycles": 5})
    desk.use("ada", input=1_000)
    desk.settle()
    desk.pass_time(2 * DAY_S + 5)
    if first == "usage":
        desk.use("ada", input=1_000)
    elif first == "a check":
        desk.authorize("ada", estimate={"amount": "9", "asset": "USD"})
    elif first == "a grant":
        desk.grant("ada", "1")
    desk.settle()
    desk.pass_time(DAY_S)
    desk.settle()
    assert desk.kinds("ada").count("lapse") == 3
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert told(replayed(desk)) == []
