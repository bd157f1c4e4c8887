"""A run over the journal: found, tried, done once, decided again, and taken back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.replay.lives import DEARER
from tests.replay.proof import replayed, told, verified
from tests.support.desk import ENVIRONMENT, Desk, book

from drawdown.events.decisions import Decision
from drawdown.replay.rerating import Candidate, Wanted, candidates, decided
from drawdown.settlement.publish import read_topic


def used() -> Desk:
    """Three customers under the first version, some of it without a price, some captured; and a
    second version."""
    desk = Desk()
    desk.start()
    for customer in ("ada", "bob", "cleo"):
        desk.grant(customer, "5")
    desk.settle()
    desk.authorize("bob", require="hold", estimate={"amount": "1"}, hold={"hold_id": "h"})
    desk.settle()
    desk.use("ada", input=1_000)
    desk.use("ada", model="nobody-prices-this", input=5)
    desk.use("bob", input=2_000, hold="h", final=True)
    reversed_ = desk.use("cleo", input=3_000)
    desk.settle()
    entry = next(e for e in desk.entries("cleo") if e["data"].get("id") == reversed_)
    desk.command("reverse", "cleo", entry=entry, reason="the model failed")
    other = DEARER.model_copy(update={"id": "other", "match": {}})
    dearer = book("v2", rates=[DEARER, other, *book().rates[1:]])
    desk.publish(dearer, desk.now + timedelta(days=1))
    desk.settle()
    return desk


def wanted(desk: Desk, **more: Any) -> list[Candidate]:
    asked = Wanted(**{"run": "june", "book": "v2", **more})
    return [
        each
        for partition in range(desk.partitions)
        for each in candidates(desk.cluster, ENVIRONMENT, partition, asked, lambda *_: None)
    ]


def tried(desk: Desk, **more: Any) -> list[tuple[str, str, Decision]]:
    """What it would come to: customer, charged before, and the decision."""
    asked = Wanted(**{"run": "june", "book": "v2", **more})
    books = read_topic(desk.cluster, ENVIRONMENT).books
    found = []
    for partition in range(desk.partitions):
        entries = candidates(desk.cluster, ENVIRONMENT, partition, asked, lambda *_: None)
        for entry, decision in decided(
            *(desk.cluster, ENVIRONMENT, books, asked, "wrong", entries, desk.clock.ms),
            lambda *_: None,
        ):
            found.append((entry.customer, entry.amount, decision))
    return found


def send(desk: Desk, found: list[Candidate], run: str = "june") -> None:
    for each in found:
        desk.command("rerate", each.customer, **each.command(run, "wrong"))
    desk.settle()


def test_what_prices_a_use_now_is_found() -> None:
    desk = used()
    assert sorted((c.customer, c.asset or "", c.amount) for c in wanted(desk)) == [
        ("ada", "", "0"),
        ("ada", "USD", "0.002"),
        ("bob", "USD", "0.004"),
    ]
    assert {c.customer for c in wanted(desk, customer="bob")} == {"bob"}
    assert wanted(desk, meter="other") == []
    assert wanted(desk, from_ms=desk.clock.ms + 1) == []
    assert wanted(desk, to_ms=desk.clock.ms - 86_400_000) == []


def test_a_dry_run_says_what_the_run_comes_to() -> None:
    desk = used()
    before = desk.entries()
    said = sorted((customer, was, d.amount) for customer, was, d in tried(desk))
    assert desk.entries() == before
    send(desk, wanted(desk))
    entries = [e for e in desk.entries() if "rerates" in e["data"] and "id" in e["data"]]
    done = sorted(
        (e["subject"], e["data"]["rerates"].get("amount", "0"), e["data"]["amount"])
        for e in entries
    )
    assert (
        said
        == done
        == [
            ("ada", "0", "0.000015"),
            ("ada", "0.002", "0.003"),
            ("bob", "0.004", "0.006"),
        ]
    )
    assert desk.wrongs() == []


def test_the_same_run_again_finds_nothing_and_does_nothing() -> None:
    desk = used()
    found = wanted(desk)
    send(desk, found)
    count = len(desk.entries())
    assert wanted(desk) == []
    send(desk, found)
    assert len(desk.entries()) == count


def test_a_run_is_taken_back() -> None:
    desk = used()
    balances = {customer: desk.balance(customer) for customer in ("ada", "bob", "cleo")}
    send(desk, wanted(desk))
    back = wanted(desk, run="back", book=None, undo="june")
    assert [each.book for each in back] == ["v1"] * 3
    send(desk, back, "back")
    assert {customer: desk.balance(customer) for customer in balances} == balances
    assert desk.kinds("ada").count("unpriced") == 2
    assert wanted(desk, run="back", book=None, undo="june") == []
    assert desk.wrongs() == []


def test_it_is_decided_again_as_it_was() -> None:
    desk = used()
    send(desk, wanted(desk))
    send(desk, wanted(desk, run="same"), "same")  # at the same price: nothing happens
    desk.settlers[0].restart()
    send(desk, wanted(desk, run="back", book=None, undo="june"), "back")
    report = verified(desk)
    assert told(report) == []
    assert report.counts.decided_again == report.counts.entries == len(desk.entries())
    assert told(replayed(desk)) == []
    assert desk.wrongs() == []
