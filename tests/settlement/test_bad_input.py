"""Whatever stands on an input: it is decided, or it is in the dead letters whole, with the reason;
and the partition goes on."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from tests.events.samples import SAMPLES, spoiled
from tests.support.desk import START_MS, Desk, book

from drawdown.events.base import at_text
from drawdown.events.catalogue import COMMANDS, DEAD_LETTERS, USAGE_EVENTS
from drawdown.events.commands import (
    Adjust,
    Authorize,
    CancelSubscription,
    Capture,
    ChangeSubscription,
    Convert,
    Extend,
    Grant,
    IssueStatement,
    Release,
    Rerate,
    ResumeSubscription,
    Reverse,
    SetState,
    SetTerms,
    Subscribe,
    Void,
)
from drawdown.events.pricebook import Meter, PerUnit, Rate
from drawdown.events.usage import UsageEvent
from drawdown.stream.partition import partition_of
from drawdown.stream.store import MemoryStores

DAY_MS = 86_400_000
LATENESS_MS = 35 * DAY_MS


def event(data: Any = None, **fields: Any) -> bytes:
    """A good usage event but for what is said."""
    content = {
        "specversion": "1.0",
        "id": "bad",
        "source": "test",
        "type": "llm.completion",
        "subject": "ada",
        "time": at_text(START_MS),
        **fields,
        "data": {"model": "gpt-5", "input": 1} if data is None else data,
    }
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()


def used(data: str) -> bytes:
    """A good usage event but for the JSON of one more field, `x`."""
    return event({"model": "gpt-5", "input": 1, "x": "@"}).replace(b'"@"', data.encode())


def input_of(number: str) -> bytes:
    """An event whose quantity is this JSON."""
    return event({"model": "gpt-5", "input": "@"}).replace(b'"@"', number.encode())


def command(kind: str = "grant", **fields: Any) -> bytes:
    """A good command but for what is said."""
    content = {
        "type": kind,
        "id": "bad",
        "customer": "ada",
        "time": at_text(START_MS),
        **({"asset": "USD", "amount": "1"} if kind == "grant" else {"meter": "llm"}),
        **fields,
    }
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()


@pytest.fixture
def desk() -> Desk:
    """One partition, and a wallet of 100 in it."""
    desk = Desk(partitions=1)
    desk.start()
    desk.grant("ada", "100")
    desk.settle()
    return desk


def went_on(desk: Desk) -> None:
    """A good event and a good command after it are decided, and nothing is out of balance."""
    good = desk.use("ada", input=500_000)
    allowed = desk.authorize("ada")
    desk.settle()
    assert [entry["data"].get("id") for entry in desk.entries("ada")][-1] == good
    assert desk.decision(allowed)["allowed"]
    assert not any(settler.worker.stopped for settler in desk.settlers)
    assert desk.wrongs() == []


DEEP = "[" * 5000 + "]" * 5000
BAD_USAGE: list[tuple[str, bytes, str, str | None]] = [
    # what it is, its value, the reason, the field that is named
    ("no value", b"", "malformed", None),
    ("no JSON", b"usage", "malformed", None),
    ("no object", b"[]", "malformed", None),
    ("cut", event()[:-3], "malformed", None),
    ("two records", event() * 2, "malformed", None),
    ("not UTF-8", event(id="@").replace(b"@", b"\xff"), "malformed", None),
    ("a surrogate in UTF-8", event(id="@").replace(b"@", b"\xed\xa0\x80"), "malformed", None),
    ("a lone surrogate", event(id="\ud800"), "malformed", None),
    ("UTF-16", event().decode().encode("utf-16"), "malformed", None),
    ("NUL bytes", b"\x00" * 100, "malformed", None),
    ("NUL in an id", event(id="a\x00b"), "malformed", "id"),
    ("the key's separator in a source", event(source="a\x1fb"), "malformed", "source"),
    ("no id", event(id=...), "malformed", "id"),
    ("an empty id", event(id=""), "malformed", "id"),
    ("a long id", event(id="x" * 257), "malformed", "id"),
    ("no subject", event(subject=...), "malformed", "subject"),
    ("no type", event(type=...), "malformed", "type"),
    ("another version", event(specversion="0.3"), "malformed", "specversion"),
    ("no data", b'{"specversion":"1.0","id":"x","source":"s","type":"t","subject":"ada"}',
     "malformed", "data"),
    ("data is a list", event([1]), "malformed", "data"),
    ("nested deeply", used(DEEP), "malformed", None),
    ("nested deeply in objects", used('{"x":' * 5000 + "1" + "}" * 5000), "malformed", None),
    ("a number without end", used("9" * 5000), "malformed", "data.x"),
    ("over 1 MiB", used('"%s"' % ("x" * (1 << 20))), "oversized", None),
    ("10 MB", used('"%s"' % ("x" * 10_000_000)), "oversized", None),
    ("a meter nobody knows", event(type="fax.sent"), "unknown_meter", "type"),
    ("negative", input_of("-1"), "bad_quantity", "data.input"),
    ("negative fraction", input_of("-0.5"), "bad_quantity", "data.input"),
    ("negative text", input_of('"-1"'), "bad_quantity", "data.input"),
    ("NaN", input_of("NaN"), "malformed", None),
    ("NaN as text", input_of('"NaN"'), "bad_quantity", "data.input"),
    ("signalling NaN", input_of('"sNaN"'), "bad_quantity", "data.input"),
    ("infinite", input_of("Infinity"), "malformed", None),
    ("infinite as text", input_of('"-Infinity"'), "bad_quantity", "data.input"),
    ("1e400", input_of("1e400"), "bad_quantity", "data.input"),
    ("1e400 as text", input_of('"1e400"'), "bad_quantity", "data.input"),
    ("1e-9999999 as text", input_of('"1e-9999999"'), "bad_quantity", "data.input"),
    ("1e400 in a dimension", used("1e400"), "bad_quantity", "data.x"),
    ("10^20", input_of("100000000000000000000"), "bad_quantity", "data.input"),
    ("4,000 digits", input_of("9" * 4000), "bad_quantity", "data.input"),
    ("a float's noise", input_of("0.30000000000000004"), "bad_quantity", "data.input"),
    ("finer than 18 places", input_of("1e-19"), "bad_quantity", "data.input"),
    ("true", input_of("true"), "bad_quantity", "data.input"),
    ("null", input_of("null"), "bad_quantity", "data.input"),
    ("a list", input_of("[1]"), "bad_quantity", "data.input"),
    ("words", input_of('"many"'), "bad_quantity", "data.input"),
    ("underscores", input_of('"1_000"'), "bad_quantity", "data.input"),
    ("other digits", input_of('"\u0661"'), "bad_quantity", "data.input"),
    ("leading zeros", input_of("007"), "malformed", None),
    ("no quantity", event({"model": "gpt-5"}), "bad_quantity", "data"),
    ("a long dimension", used('"%s"' % ("x" * 257)), "bad_dimension", "data.x"),
    ("a long number as dimension", used("9" * 300), "bad_dimension", "data.x"),
    ("a long name", event({"model": "gpt-5", "input": 1, "n" * 129: True}), "bad_dimension",
     "data." + "n" * 128),
    ("33 dimensions", event({"input": 1, **{f"d{n}": "x" for n in range(33)}}), "bad_dimension",
     "data"),
    ("costs are no object", event({"input": 1, "costs": "1"}), "bad_quantity", "data.costs"),
    ("a negative cost", event({"input": 1, "costs": {"x": "-1"}}), "bad_quantity",
     "data.costs.x"),
    ("a cost of NaN", event({"input": 1, "costs": {"x": "NaN"}}), "bad_quantity", "data.costs.x"),
    ("a cost too fine", event({"input": 1, "costs": {"x": "1e-13"}}), "bad_quantity",
     "data.costs.x"),
    ("costs too large", event({"input": 1, "costs": dict.fromkeys("abc", "9" * 26)}),
     "bad_quantity", "data"),
    ("no time", event(time="yesterday"), "malformed", "time"),
    ("a time without offset", event(time="2027-01-15T08:00:00"), "malformed", "time"),
    ("a time as a number", event(time=START_MS), "malformed", "time"),
    ("35 d + 1 s late", event(time=at_text(START_MS - LATENESS_MS - 1000)), "too_late", "time"),
    ("5 min + 1 s early", event(time=at_text(START_MS + 301_000)), "too_early", "time"),
    ("before year 1", event(time="0001-01-01T00:00:00+14:00"), "too_late", "time"),
    ("after year 9999", event(time="9999-12-31T23:59:59-14:00"), "too_early", "time"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [pytest.param(*rest, id=name) for name, *rest in BAD_USAGE],
)
def test_bad_usage(desk: Desk, value: bytes, reason: str, field: str | None) -> None:
    appended = at_text(desk.clock.ms)
    desk.produce(USAGE_EVENTS, b"ada", value, headers=[("trace", b"\xff\x00"), ("actor", None)])
    desk.settle()

    ((whole, said),) = desk.dead_letters()
    assert whole == value
    assert said.pop("detail")
    assert said == {
        "reason": reason,
        **({} if field is None else {"field": field}),
        "topic": "usage-events",
        "partition": "0",
        "offset": "0",
        "appended_at": appended,
    }
    (letter,) = _letters(desk)
    assert letter.key() == b"ada"
    assert (letter.headers() or [])[:2] == [("trace", b"\xff\x00"), ("actor", None)]
    assert desk.kinds("ada") == ["grant"]
    went_on(desk)


@pytest.mark.parametrize("topic", [USAGE_EVENTS, COMMANDS], ids=lambda topic: topic.name)
@pytest.mark.parametrize("value", [None, b""], ids=["null", "empty"])
def test_no_value_and_an_empty_one_are_kept_apart(
    desk: Desk, topic: Any, value: bytes | None
) -> None:
    desk.produce(topic, b"ada", value)
    desk.settle()
    ((whole, said),) = desk.dead_letters()
    assert (whole, said["reason"]) == (value, "malformed")
    went_on(desk)


def test_a_record_without_a_value_is_moved_to_its_partition_without_one() -> None:
    desk = Desk(partitions=4)
    desk.start()
    desk.produce(USAGE_EVENTS, b"ada", None, partition=(partition_of(b"ada", 4) + 1) % 4)
    desk.settle()
    ((whole, said),) = desk.dead_letters()
    assert (whole, said["partition"]) == (None, str(partition_of(b"ada", 4)))


def _letters(desk: Desk) -> list[Any]:
    return desk.records(DEAD_LETTERS)


BAD_COMMANDS: list[tuple[str, bytes, str, str | None]] = [
    ("no value", b"", "malformed", None),
    ("no JSON", b"\x00", "malformed", None),
    ("not UTF-8", command(id="@").replace(b"@", b"\xff"), "malformed", None),
    ("a lone surrogate", command(id="\ud800"), "malformed", None),
    ("no type", command(type=...), "malformed", "type"),
    ("an unknown type", command(type="mint"), "malformed", "type"),
    ("no id", command(id=...), "malformed", "id"),
    ("no time", command(time=...), "malformed", "time"),
    ("an unknown field", command(expiry="soon"), "malformed", "expiry"),
    ("no amount", command(amount=...), "malformed", "amount"),
    ("a negative amount", command(amount="-1"), "malformed", "amount"),
    ("a number as amount", command(amount=1), "malformed", "amount"),
    ("an exponent", command(amount="1e3"), "malformed", "amount"),
    ("NaN", command(amount="NaN"), "malformed", "amount"),
    ("27 digits", command(amount="9" * 27), "malformed", "amount"),
    ("13 places", command(amount="0.0000000000001"), "malformed", "amount"),
    ("leading zeros", command(amount="01"), "malformed", "amount"),
    ("priority of true", command(priority=True), "malformed", "priority"),
    ("no category", command(category="gift"), "malformed", "category"),
    ("no time of expiry", command(expires_at="soon"), "malformed", "expires_at"),
    ("nested deeply", command(metadata={"a": "@"}).replace(b'"@"', DEEP.encode()), "malformed",
     "metadata"),
    ("a bad dimension name", command("authorize", dimensions={"no name": "x"}), "malformed",
     "dimensions"),
    ("over 1 MiB", command(reason="x" * (1 << 20)), "oversized", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [pytest.param(*rest, id=name) for name, *rest in BAD_COMMANDS],
)
def test_bad_commands(desk: Desk, value: bytes, reason: str, field: str | None) -> None:
    desk.produce(COMMANDS, b"ada", value)
    desk.settle()
    ((whole, said),) = desk.dead_letters()
    assert whole == value
    assert (said["reason"], said["topic"], said["offset"]) == (reason, "commands", "1")
    assert (said.get("field") or "").startswith(field or "")
    assert bool(said.get("field")) == bool(field)
    assert desk.kinds("ada") == ["grant"]
    went_on(desk)


REFUSED: list[tuple[str, bytes, str, str | None]] = [
    ("35 d + 1 s late", command(time=at_text(START_MS - LATENESS_MS - 1000)), "too_late", "time"),
    ("5 min + 1 s early", command(time=at_text(START_MS + 301_000)), "too_early", "time"),
    ("before year 1", command(time="0001-01-01T00:00:00+14:00"), "too_late", "time"),
    ("after year 9999", command(time="9999-12-31T23:59:59-14:00"), "too_early", "time"),
    ("past its deadline", command(deadline_at="2001-01-01T00:00:00Z"), "deadline_passed",
     "deadline_at"),
    ("zero", command(amount="0.000"), "invalid", "amount"),
    ("no such asset", command(asset="EUR"), "invalid", "asset"),
    ("finer than its asset", command(asset="credit", amount="0.001", cost_basis="1"), "invalid",
     "amount"),
    ("over in an instant", command(expires_at=at_text(START_MS)), "invalid", "expires_at"),
    ("over before it begins", command(effective_at=at_text(START_MS + 5000),
     expires_at=at_text(START_MS + 5000)), "invalid", "expires_at"),
    ("a negative cost basis", command(cost_basis="-1"), "invalid", "cost_basis"),
    ("38 digits granted in all", command(amount="9" * 26), "invalid", "amount"),
    ("no meter", command("authorize", meter="fax"), "unknown_meter", "meter"),
    ("a negative estimate", command("authorize", dimensions={"model": "gpt-5"},
     estimate={"quantities": {"input": -1}}), "bad_quantity", "estimate.quantities.input"),
    ("an endless estimate", command("authorize", dimensions={"model": "gpt-5"},
     estimate={"quantities": {"input": 10**30}}), "bad_quantity", "estimate.quantities.input"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "reason", "field"),
    [pytest.param(*rest, id=name) for name, *rest in REFUSED],
)
def test_a_command_that_can_be_read_is_answered(
    desk: Desk, value: bytes, reason: str, field: str | None
) -> None:
    desk.produce(COMMANDS, b"ada", value)
    desk.settle()
    answer = desk.decision("bad")
    assert (answer["allowed"], answer["reason"], answer["field"]) == (False, reason, field)
    assert answer["detail"]
    assert desk.dead_letters() == []
    assert desk.kinds("ada") == ["grant"]
    went_on(desk)


@pytest.mark.parametrize(
    ("late_ms", "accepted"),
    [
        (LATENESS_MS, True),
        (LATENESS_MS + 1, False),
        (-300_000, True),
        (-300_001, False),
    ],
)
def test_an_events_time_is_bounded_to_the_millisecond(
    desk: Desk, late_ms: int, accepted: bool
) -> None:
    desk.produce(USAGE_EVENTS, b"ada", event(time=at_text(desk.clock.ms - late_ms)))
    desk.settle()
    assert desk.kinds("ada") == (["grant", "debit"] if accepted else ["grant"])
    assert len(desk.dead_letters()) == (not accepted)


@pytest.mark.parametrize("topic", [USAGE_EVENTS, COMMANDS], ids=lambda topic: topic.name)
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "key_missing"),
        (b"", "key_not_subject"),
        (b"bob", "key_not_subject"),
        (b"\xff\xfe", "key_not_subject"),
    ],
)
def test_a_key_that_is_not_the_customer(
    desk: Desk, topic: Any, key: bytes | None, reason: str
) -> None:
    value = event() if topic is USAGE_EVENTS else command()
    desk.produce(topic, key, value)
    desk.settle()
    ((whole, said),) = desk.dead_letters()
    assert (whole, said["reason"], said["field"]) == (value, reason, "key")
    assert _letters(desk)[0].key() == key
    went_on(desk)


@pytest.mark.parametrize(
    ("topic", "make", "kind"),
    [(USAGE_EVENTS, event, "debit"), (COMMANDS, command, "grant")],
    ids=["usage-events", "commands"],
)
def test_a_record_on_the_wrong_partition_is_moved_once(
    topic: Any, make: Callable[..., bytes], kind: str
) -> None:
    desk = Desk(partitions=4)
    desk.start()
    desk.grant("ada", "100")
    home = partition_of(b"ada", 4)
    elsewhere = (home + 1) % 4
    desk.settle()

    desk.produce(topic, b"ada", make(id="moved"), partition=elsewhere)
    desk.settle()
    assert desk.dead_letters() == []
    assert desk.kinds("ada") == ["grant", kind]
    assert desk.entries("ada")[-1]["data"]["cause"]["partition"] == home

    forwarded = [("drawdown-forwarded-from", b"0:0")]
    desk.produce(topic, b"ada", make(id="again"), partition=elsewhere, headers=forwarded)
    desk.settle()
    ((whole, said),) = desk.dead_letters()
    assert whole == make(id="again")
    assert (said["reason"], said["partition"]) == ("wrong_partition", str(elsewhere))
    assert desk.kinds("ada") == ["grant", kind]
    went_on(desk)


def test_data_just_deep_enough_to_be_read_does_not_stop_the_partition(desk: Desk) -> None:
    """Reading and writing count their depth from where they stand on the stack."""
    for depth in range(900, 1010):
        value = event({"model": "gpt-5", "input": 1, "x": "@"}, id=f"deep-{depth}")
        nested = "[" * depth + "]" * depth
        desk.produce(USAGE_EVENTS, b"ada", value.replace(b'"@"', nested.encode()))
    desk.settle()
    refused = desk.dead_letters()
    assert {said["detail"] for _, said in refused} == {"nested too deeply"}
    assert len(refused) + desk.kinds("ada").count("debit") == 110
    went_on(desk)


def test_the_same_id_with_other_content_is_a_conflict(desk: Desk) -> None:
    desk.produce(USAGE_EVENTS, b"ada", event())
    desk.produce(USAGE_EVENTS, b"ada", event({"model": "gpt-5", "input": 2}))
    desk.produce(USAGE_EVENTS, b"ada", event())
    desk.settle()
    ((_, said),) = desk.dead_letters()
    assert (said["reason"], said["field"], said["offset"]) == ("conflict", "id", "1")
    assert desk.kinds("ada") == ["grant", "debit"]
    went_on(desk)


def test_a_command_that_conflicts_is_answered_and_kept(desk: Desk) -> None:
    desk.produce(COMMANDS, b"ada", command(amount="1"))
    desk.produce(COMMANDS, b"ada", command(amount="2"))
    desk.settle()
    assert desk.decision("bad")["reason"] == "conflict"
    ((whole, said),) = desk.dead_letters()
    assert (whole, said["reason"]) == (command(amount="2"), "conflict")
    assert desk.balance("ada") == "101"
    went_on(desk)


def test_a_dead_letter_counts_once_when_it_is_sent_again_and_can_be_priced(desk: Desk) -> None:
    value = event({"pages": 3}, type="fax.sent")
    desk.produce(USAGE_EVENTS, b"ada", value)
    desk.settle()
    ((whole, said),) = desk.dead_letters()
    assert said["reason"] == "unknown_meter"

    fax = Meter(id="fax", event_types=["fax.sent"], fields={"pages": "pages"})
    price = PerUnit(quantity="pages", price="2")
    first = book()
    desk.publish(
        book(
            "v2",
            meters=[*first.meters, fax],
            rates=[*first.rates, Rate(id="fax", meter="fax", asset="USD", price=price)],
        )
    )
    desk.settle()
    for _ in range(3):
        desk.produce(USAGE_EVENTS, b"ada", whole)
    desk.settle()
    assert desk.balance("ada") == "94"
    assert len(desk.dead_letters()) == 1
    went_on(desk)


def test_the_actor_of_an_entry_is_an_identifier_whatever_the_header_is(desk: Desk) -> None:
    for number, actor in enumerate([None, b"", b"k1", b"\xff\x00\x1f", b"x" * 999]):
        desk.produce(USAGE_EVENTS, b"ada", event(id=f"e{number}"), headers=[("actor", actor)])
    desk.settle()
    actors = [entry["data"].get("actor") for entry in desk.entries("ada")[1:]]
    assert actors == [None, None, "k1", "\ufffd\ufffd\ufffd", "x" * 256]


def test_nothing_of_a_flood_of_damaged_records_is_lost_or_counted_twice() -> None:
    """Every record of a flood, one in three of them damaged, is an entry or a dead letter; a
    restart on the same disk and one on an empty one change nothing."""
    rolled = random.Random(17)
    desk = Desk(partitions=2)
    settler = desk.start()
    sent: list[bytes] = []
    for number in range(600):
        customer = rolled.choice(["ada", "bob", "eve"])
        value = event(
            {"model": "gpt-5", "input": rolled.randrange(10**6), "t": "\u00e9\n"},
            id=f"e{number}",
            subject=customer,
        )
        if rolled.random() < 0.33:
            value = _damaged(value, rolled)
        sent.append(value)
        desk.produce(USAGE_EVENTS, customer.encode(), value)
    desk.settle()
    settler = settler.restart()
    desk.settle()
    settler.restart(disk=MemoryStores())
    desk.settle()
    dead = [value for value, _ in desk.dead_letters()]
    assert len(dead) + len(desk.entries()) == len(sent)
    assert sorted(dead, key=repr) == sorted((v for v in sent if v in set(dead)), key=repr)
    assert len(dead) > 50
    assert desk.wrongs() == []


def _damaged(value: bytes, rolled: random.Random) -> bytes:
    place = rolled.randrange(len(value))
    match rolled.randrange(4):
        case 0:
            return value[:place]
        case 1:
            return value[:place] + bytes([rolled.randrange(256)]) + value[place + 1 :]
        case 2:
            return value[:place] + value[place + 1 :]
        case _:
            return value.replace(b'"input": ', rolled.choice([b'"input": -', b'"input": 1e']))


SPOILED = {
    *(UsageEvent, Authorize, Capture, Release, Extend, Grant, SetTerms),
    *(Void, Adjust, Reverse, Rerate, Convert, SetState, IssueStatement),
    *(Void, Adjust, Reverse, Convert, SetState),
    *(Subscribe, ChangeSubscription, CancelSubscription, ResumeSubscription),
}


@pytest.mark.parametrize(
    ("model", "sample"),
    [
        pytest.param(model, sample, id=model.__name__)
        for model, sample in SAMPLES
        if model in SPOILED
    ],
)
def test_every_way_to_spoil_a_record_is_survived(
    desk: Desk, model: type[Any], sample: dict[str, Any]
) -> None:
    """One field after the other removed or replaced, thousands of records in one log: each is an
    entry, an answer or a dead letter."""
    topic = USAGE_EVENTS if model is UsageEvent else COMMANDS
    desk.grant("ada", "9" * 20)  # what is no spoiling is paid
    count = 0
    for what, value in spoiled({**sample, "time": at_text(START_MS), "deadline_at": None}):
        if what.startswith("id") or not value.startswith(b"{"):
            continue
        count += 1
        named = value.replace(f'"id": "{sample["id"]}"'.encode(), f'"id": "s{count}"'.encode(), 1)
        desk.produce(topic, b"ada", named)
    desk.settle()
    if model is SetState:  # what was no spoiling is undone
        desk.command("set_state", "ada", state="active")
        desk.settle()
    went_on(desk)
    assert count > 400
    refused = len(desk.dead_letters())
    assert 0 < refused < count
    if model is UsageEvent:
        done = sum("debit" in kind or "unpriced" in kind for kind in desk.kinds("ada"))
        assert done + refused == count + 1
