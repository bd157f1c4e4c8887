"""A desk where everything has happened that can."""

from __future__ import annotations

import json
from datetime import UTC, timedelta

from tests.support.desk import Desk, book

from drawdown.events.base import at_text
from drawdown.events.catalogue import BALANCE_CHANGES, COMMANDS, USAGE_EVENTS
from drawdown.events.codec import encode
from drawdown.events.pricebook import Rate, TokenMap
from drawdown.ledger.statements import Period, statement_of, sums_of
from drawdown.stream.partition import partition_of

DEARER = Rate(
    id="gpt-5",
    meter="llm",
    match={"model": "gpt-5"},
    asset="USD",
    price=TokenMap(prices={"input": "3", "cached_input": "0.3", "output": "11"}, per=1_000_000),
)


def lived() -> Desk:
    """Grants that lapse, holds captured, released, expired and named by usage, denials, refusals,
    duplicates, conflicts, dead letters, records gone astray, a price change, and restarts."""
    desk = Desk()
    # Before the first process: its backlog is decided with the books of later.
    desk.use("early", input=1_000)
    settler = desk.start()
    for customer in ("ada", "bob", "cleo", "dan"):
        desk.grant(customer, "5")
        desk.grant(customer, "100", asset="credit")
    desk.grant("ada", "1", category="promotional", expires_at=at_text(desk.clock.ms + 60_000))
    desk.command("set_terms", "bob", credit_limits={"USD": "2"}, capture_policy="cap")
    desk.settle()
    for turn in range(30):
        customer = ("ada", "bob", "cleo", "dan", "eve")[turn % 5]
        desk.use(customer, input=1_000 * turn, output=50, cached_input=7)
        if turn % 7 == 0:
            desk.use(customer, images=1)
        if turn % 3 == 0:
            desk.authorize(customer, estimate={"quantities": {"input": 1_000}})
        if turn % 4 == 0:
            desk.settle()
    again = desk.use("ada", input=77)
    desk.settle()
    _same(desk, "ada", again, input=77)  # a duplicate
    _same(desk, "ada", again, input=78)  # a conflict
    desk.use("ada", model="nobody-prices-this", input=5)
    desk.event("ada", {"x": 1}, type="no.such.meter")
    desk.use("ada", input=-1)
    desk.produce(USAGE_EVENTS, b"ada", b"{")
    desk.produce(USAGE_EVENTS, None, b"{}", partition=1)
    desk.event("ada", {"model": "gpt-5", "input": 1}, time=at_text(desk.clock.ms - 40 * 86_400_000))
    astray = (partition_of(b"ada", 4) + 1) % 4
    event = {"specversion": "1.0", "id": "astray", "source": "test", "type": "llm.completion"}
    event |= {"subject": "ada", "time": at_text(desk.clock.ms), "data": {"model": "gpt-5"}}
    event["data"] = {"model": "gpt-5", "input": 9}
    desk.produce(USAGE_EVENTS, b"ada", json.dumps(event).encode(), partition=astray)
    desk.produce(COMMANDS, b"ada", b"[]")
    _denied(desk)
    desk.settle()
    settler = settler.restart()
    _holds(desk)
    desk.authorize("bob", require="hold", estimate={"amount": "0.25"})  # stays open
    desk.publish(book("v2", rates=[DEARER, *book().rates[1:]]), desk.now + timedelta(seconds=90))
    desk.settle()
    desk.pass_time(100)
    for _ in range(5):
        desk.use("cleo", input=4_000)
    desk.settle()
    settler.restart()
    answered = {"reply_to": b"me", "attempt_id": b"1"}
    event |= {"id": "answered", "time": at_text(desk.clock.ms)}
    for _ in range(2):
        desk.produce(
            USAGE_EVENTS, b"ada", json.dumps(event).encode(), headers=list(answered.items())
        )
    desk.settle()
    _issued(desk)
    assert desk.wrongs() == []
    return desk


def _issued(desk: Desk) -> None:
    """A statement of all that cleo did, and one that cannot be."""
    desk.pass_time(1)
    values = [
        message.value() or b""
        for message in desk.records(BALANCE_CHANGES)
        if message.key() == b"cleo"
    ]
    period = Period(0, desk.clock.ms, "UTC", UTC)
    sums = json.loads(encode(sums_of(statement_of("cleo", lambda: values, period, "USD", ()))))
    desk.command("issue_statement", "cleo", statement={**sums, "last_sequence": 1})
    desk.command("issue_statement", "cleo", statement=sums)
    desk.settle()
    assert desk.wallet("cleo")["issued"]["number"] == 1


def _same(desk: Desk, customer: str, event_id: str, **data: int) -> None:
    sent = next(
        json.loads(m.value() or b"")
        for m in desk.records(USAGE_EVENTS)
        if (m.value() or b"").startswith(b'{"spec') and event_id in (m.value() or b"").decode()
    )
    sent["data"] |= data
    desk.produce(USAGE_EVENTS, customer.encode(), json.dumps(sent).encode())


def _denied(desk: Desk) -> None:
    desk.authorize("nobody")
    desk.authorize("ada", estimate={"amount": "1000"})
    desk.authorize("ada", meter="unknown")
    desk.authorize("bob", deadline_at=at_text(desk.clock.ms - 5))
    desk.authorize("bob", require="hold")  # no estimate
    desk.command("release", "cleo", hold_id="never")
    desk.command("grant", "cleo", asset="nothing", amount="1")
    desk.authorize("dan", max_usage_lag_ms=0)


def _holds(desk: Desk) -> None:
    hold = {"require": "hold", "estimate": {"amount": "0.5"}}
    captured = desk.authorize("ada", **hold)
    released = desk.authorize("bob", **hold)
    named = desk.authorize("cleo", **hold)
    left = desk.authorize("dan", **hold, hold={"expires_in_s": 30})
    late = desk.authorize("ada", **hold, hold={"expires_in_s": 40})
    desk.authorize("ada", capture=True, estimate={"quantities": {"input": 10}})
    desk.settle()
    desk.command("capture", "ada", hold_id=captured, quantities={"input": 100_000})
    desk.command("release", "bob", hold_id=released)
    desk.command("release", "bob", hold_id=released)
    desk.command("extend", "cleo", hold_id=named, expires_in_s=600)
    desk.settle()
    desk.use("cleo", input=10_000, hold=named)
    desk.use("cleo", input=900_000, hold=named, final=True)
    desk.use("cleo", input=1, hold=named)
    desk.settle()
    desk.pass_time(50)
    desk.use("ada", input=2_000, hold=late)  # its time is over, whether its timer fired or not
    desk.use("dan", input=2_000, hold=left)
    desk.command("capture", "dan", hold_id=left)
    desk.settle()
    desk.pass_time(20)
    desk.settle()
