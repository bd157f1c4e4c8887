"""The generated schemas are current, valid, and true of real records of every kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing.jsonschema import DRAFT202012
from tests.support.desk import START_MS, Desk, book

from drawdown import schemas
from drawdown.access import new_key, new_token
from drawdown.events.base import moment
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    PRICE_BOOK,
    SETTINGS,
    TOPICS,
    USAGE_EVENTS,
    Topic,
)
from drawdown.events.codec import encode
from drawdown.events.pricebook import Conversion, Meter, Plan, Rate
from drawdown.events.pricemodels import Outcome
from drawdown.events.reasons import MEANINGS, Reason

DOCUMENTS = schemas.documents()
DAY_S = 86_400
TEAM = {
    "id": "team",
    "cycle": {"every": "day"},
    "fees": [{"id": "base", "asset": "USD", "amount": "19", "per": "seat"}],
    "grants": [{"id": "pool", "asset": "USD", "amount": "5", "per": "seat"}],
    "entitlements": [{"id": "tokens", "meter": "llm", "quantity": "input", "limit": "5000"}],
    "terms": {"credit_limits": {"USD": "1"}},
}


def test_what_is_checked_in_is_what_would_be_generated() -> None:
    assert schemas.differences(schemas.DIRECTORY) == []


def test_check_names_every_file_that_is_not_current(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    schemas.write(tmp_path)
    assert schemas.main(["--check", "--directory", str(tmp_path)]) == 0
    (tmp_path / "asyncapi.json").write_text("{}")
    (tmp_path / "commands" / "grant.json").unlink()
    (tmp_path / "commands" / "mint.json").write_text("{}")
    assert schemas.main(["--check", "--directory", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "asyncapi.json differs" in said
    assert "commands/grant.json is missing" in said
    assert "commands/mint.json is of no use" in said
    assert schemas.main(["--directory", str(tmp_path)]) == 0
    assert schemas.differences(tmp_path) == []


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.endswith(".json")])
def test_every_reference_leads_somewhere(path: str) -> None:
    document = json.loads(DOCUMENTS[path])
    for reference in _references(document):
        file, _, pointer = reference.partition("#")
        found = json.loads(DOCUMENTS[file.removeprefix("./")]) if file else document
        for part in pointer.split("/")[1:]:
            found = found[part.replace("~1", "/").replace("~0", "~")]


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for item in part.values():
            yield from _references(item)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


RECORD_SCHEMAS = [path for path, text in DOCUMENTS.items() if '"$schema"' in text]


@pytest.mark.parametrize("path", RECORD_SCHEMAS)
def test_record_schemas_are_schemas(path: str) -> None:
    Draft202012Validator.check_schema(json.loads(DOCUMENTS[path]))


def test_every_topic_is_a_channel_with_its_key_partitions_and_configuration() -> None:
    channels = json.loads(DOCUMENTS["asyncapi.json"])["channels"]
    assert list(channels) == [topic.name for topic in TOPICS]
    usage = channels["usage-events"]
    assert usage["address"] == "{environment}.usage-events"
    assert usage["bindings"]["kafka"]["partitions"] == 4
    assert usage["bindings"]["kafka"]["topicConfiguration"] == {
        "cleanup.policy": ["delete"],
        "retention.ms": 42 * 86_400_000,
        "retention.bytes": -1,
        "max.message.bytes": 12 << 20,
        "message.timestamp.type": "LogAppendTime",
    }
    key = usage["messages"]["usage-event"]["bindings"]["kafka"]["key"]
    assert (key["type"], key["maxLength"]) == ("string", 128)
    headers = channels["dead-letters"]["messages"]["dead-letter"]["headers"]
    assert set(headers["required"]) == {
        f"drawdown-{name}"
        for name in ("reason", "detail", "topic", "partition", "offset", "appended_at")
    }


def test_the_readme_has_every_topic_and_reason() -> None:
    text = DOCUMENTS["README.md"]
    assert set(MEANINGS) == set(Reason)
    for name in [*Reason, *(topic.name for topic in TOPICS)]:
        assert f"| `{name}` |" in text


# --- real records --------------------------------------------------------------------------------


@cache
def desk() -> Desk:
    """A wallet's life with a record of every kind in it."""
    desk = Desk()
    outcome = Outcome(key="task", price="1")
    desk.publish(book("v2", rates=[]), moment(START_MS + 30 * DAY_S * 1000))
    conversions = [Conversion(asset="USD", to="credit", price="100")]
    version = book(
        "v3",
        meters=[*book().meters, Meter(id="fin", event_types=["fin"])],
        rates=[*book().rates, Rate(id="fin", meter="fin", asset="USD", price=outcome)],
        conversions=conversions,
        plans=[Plan.model_validate(TEAM)],
    )
    desk.publish(version, moment(START_MS - DAY_S * 1000))
    desk.start()
    desk.grant(
        "ada",
        "20",
        expires_at=_in_days(1),
        effective_at=_in_days(0),
        scope={"meters": ["llm"], "dimensions": {"model": ["gpt-5"]}},
        metadata={"invoice": "17"},
        reason="top-up",
    )
    desk.grant("ada", "100", "credit", category="promotional", priority=3, expires_at=_in_days(1))
    desk.command(
        "set_terms", "ada", credit_limits={"USD": "2"}, thresholds={"credit": ["50", "10.5"]}
    )
    desk.settle()
    desk.use("ada", input=1_000_000, output=1, region="eu", batch=True, costs={"openai": "0.5"})
    desk.use("ada", output="1.7e6", input=0)
    desk.use("ada", output=1_000_000, reasoning=5)
    desk.use("ada", images="2.5")
    desk.event("gus", {"task": "t"}, type="fin")
    desk.event("ada", {"model": "unheard of", "input": 1})
    desk.event("ada", {"input": -1, "model": "gpt-5"})
    desk.authorize("ada", estimate={"quantities": {"input": 5, "output": "0.5"}})
    desk.authorize("ada", estimate={"amount": "999", "asset": "USD"})
    desk.authorize("ada", deadline_at="2001-01-01T00:00:00Z")
    desk.authorize("bob", meter="nothing")
    desk.grant("eve", "20")
    desk.command(
        "set_terms",
        "eve",
        credit_limits={"USD": "5"},
        capture_policy="cap",
        outage={"mode": "open", "amount": "1"},
        holds_max=10,
    )
    desk.settle()
    for hold_id in ("h1", "h2", "h3", "h4"):
        desk.authorize(
            "eve",
            estimate={"quantities": {"input": 3_000_000}},
            require="hold",
            hold={"hold_id": hold_id, "expires_in_s": 60},
            max_usage_lag_ms=10_000,
        )
    desk.authorize("eve", estimate={"amount": "0.5"}, capture=True)
    desk.settle()
    desk.use("eve", input=1_000_000, hold="h1")
    desk.settle()
    desk.command("capture", "eve", hold_id="h2", amount="7")
    desk.command("release", "eve", hold_id="h3", reason="cancelled")
    desk.command("extend", "eve", hold_id="h1", expires_in_s=3 * DAY_S // 4)
    desk.settle()
    desk.pass_time(2 * DAY_S)
    desk.settle()
    desk.grant("ada", "5")
    desk.use("ada", input=3)
    desk.settle()
    _correct(desk)
    return desk


def _correct(desk: Desk) -> None:
    """The life of one who recurs, is corrected, and is suspended."""
    rollover = {"every": "day", "cycles": 3, "rollover": {"max": "1"}}
    desk.grant("max", "20", grant_id="plan", recurrence=rollover)
    desk.command("set_terms", "max", drawdown="orb")
    desk.settle()
    desk.use("max", input=1_000_000)
    desk.settle()
    used = desk.entries("max")[-1]
    desk.command("rerate", "max", entry=used, run="june", reason="wrong", book="v3")
    desk.settle()
    used = desk.entries("max")[-1]
    desk.command("reverse", "max", entry=used, reason="the model failed")
    desk.command("adjust", "max", asset="USD", amount="-30", reason="forgotten")
    desk.settle()
    taken = desk.entries("max")[-1]
    desk.grant("max", "5", scope={"meters": ["llm"]})
    desk.settle()
    desk.command("reverse", "max", entry=taken, reason="twice", id="undone")
    desk.command("adjust", "max", asset="USD", amount="9", reason="goodwill", grant_id="good")
    desk.command("void", "max", grant_id="good")
    desk.command("convert", "max", asset="USD", amount="1", to="credit")
    desk.command("set_state", "max", state="suspended")
    desk.settle()
    desk.pass_time(DAY_S + 1)
    desk.settle()
    desk.command("issue_statement", "max", statement=_nothing())
    desk.settle()
    _subscribe(desk)


def _nothing() -> dict[str, Any]:
    """The sums of a period before there was anything."""
    return {
        "starts_at": _in_days(-2),
        "ends_at": _in_days(-1),
        "reporting": "USD",
        "first_sequence": 1,
        "last_sequence": 0,
        "closing_digest": "0" * 64,
    }


def _subscribe(desk: Desk) -> None:
    """The life of one who subscribes, grows, counts, and goes."""
    desk.command("subscribe", "sue", plan="team", subscription_id="s1", seats=2)
    desk.settle()
    desk.use("sue", input=1_000)
    desk.command("change_subscription", "sue", subscription_id="s1", seats=3)
    desk.command("cancel_subscription", "sue", subscription_id="s1")
    desk.command("resume_subscription", "sue", subscription_id="s1")
    desk.settle()
    desk.pass_time(DAY_S)
    desk.settle()
    desk.command("cancel_subscription", "sue", subscription_id="s1", when="now")
    desk.settle()
    _limit(desk)


def _limit(desk: Desk) -> None:
    """The life of one with budgets, who is blocked."""
    desk.grant("lia", "50")
    terms = {"asset": "USD", "cap": "2", "window": {"every": "rolling", "length_s": 3600}}
    desk.command("set_budget", "lia", budget_id="hour", budget=terms)
    session = {**terms, "scope": {"session": "*"}, "window": {"every": "life"}, "within": "hour"}
    desk.command("set_budget", "lia", budget_id="session", budget=session)
    desk.command("block", "lia", scope={"key": "k"}, reason="leaked", until_at=_in_days(30))
    desk.settle()
    desk.use("lia", input=1_000_000, session="s")
    desk.authorize(
        "lia",
        estimate={"quantities": {"input": 300_000}},
        dimensions={"model": "gpt-5", "session": "t"},
        require="hold",
    )
    desk.authorize("lia", estimate={"amount": "9"}, dimensions={"model": "gpt-5", "session": "s"})
    desk.authorize("lia", dimensions={"model": "gpt-5", "key": "k"})
    desk.settle()
    desk.command("set_budget", "lia", budget_id="session", budget={**session, "cap": "3"})
    desk.command("block", "lia", scope={"key": "l"}, reason="leaked")
    desk.command("unblock", "lia", scope={"key": "l"}, reason="another one")
    desk.command("remove_budget", "lia", budget_id="hour")
    desk.settle()
    _top_up(desk)
    _margin(desk)


def _top_up(desk: Desk) -> None:
    """The life of one whose wallet fills by itself, until a cap or a card says no."""
    terms = {"below": {"amount": "2", "days_left": 1}, "top_up": {"amount": "5"}}
    caps = {"per": "day", "requests": 2}
    desk.command("set_auto_topup", "tom", asset="USD", **terms, caps=caps)
    desk.command("set_auto_topup", "tom", asset="credit", below={"days_left": 9})
    desk.grant("tom", "1000", "credit")
    desk.settle()
    desk.command("settle_topup", "tom", request_id="topup-USD-2", outcome="paid", reference="p1")
    desk.settle()
    desk.pass_time(DAY_S // 12)
    desk.use("tom", input=2_000_000)
    desk.use("tom", images=30)
    desk.settle()
    desk.command("settle_topup", "tom", request_id="topup-USD-7", outcome="failed", detail="no")
    desk.settle()
    desk.pass_time(DAY_S // 24)
    desk.settle()
    desk.command("set_auto_topup", "tom", asset="USD", remove=True)
    desk.settle()


def _margin(desk: Desk) -> None:
    """The life of one whose margins and pace are watched."""
    desk.grant("mia", "50")
    each = {"scope": {"session": "*"}, "window": {"every": "rolling", "length_s": 3600}}
    floor = {"measure": "margin", "floor": "20", "cost_min": "0.5", **each}
    desk.command("set_budget", "mia", budget_id="floor", budget=floor)
    pace = {"measure": "requests", "velocity": {"times": 2, "history": 1}}
    desk.command("set_budget", "mia", budget_id="pace", budget=pace)
    desk.settle()
    desk.use("mia", input=1_000_000, session="s")
    desk.settle()
    desk.pass_time(3600)
    desk.use("mia", input=1_000_000, session="s")
    desk.use("mia", input=1_000_000, session="s", costs={"openai": "90"})
    desk.settle()
    desk.authorize("mia", dimensions={"model": "gpt-5", "session": "s"})
    desk.settle()


def _in_days(days: int) -> str:
    return moment(START_MS + days * DAY_S * 1000).isoformat()


def _accepts(path: str, value: Any) -> list[str]:
    schema = json.loads(DOCUMENTS[f"{path}.json"])
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert DRAFT202012.create_resource(schema).id() == f"urn:drawdown:{path.replace('/', ':')}"
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


SCHEMA_OF = {
    USAGE_EVENTS: lambda record: "usage-event",
    COMMANDS: lambda record: record["type"].replace("_", "-"),
    PRICE_BOOK: lambda record: record["record"],
    BALANCE_CHANGES: lambda record: "entry",
    BALANCES: lambda record: record["row"].replace("_", "-"),
    DECISIONS: lambda record: "decision",
    LOW_BALANCE: lambda record: "low-balance",
    NOTIFICATIONS: lambda record: "notice",
}


@pytest.mark.parametrize("topic", SCHEMA_OF, ids=lambda topic: topic.name)
def test_real_records_are_as_their_schema_says(topic: Topic) -> None:
    seen = set()
    for message in desk().records(topic):
        if message.value() is None:
            assert topic is BALANCES, "a closed hold's row is gone; nothing else ever is"
            continue
        record = json.loads(message.value() or b"")
        name = SCHEMA_OF[topic](record)
        seen.add(name)
        assert _accepts(f"{topic.name}/{name}", record) == []
    assert seen == set(schemas.RECORDS[topic])


def test_the_desk_shows_every_kind_of_entry_decision_and_notice() -> None:
    assert set(desk().kinds("ada")) == {"grant", "terms", "debit", "unpriced", "lapse"}
    about_holds = {"hold", "capture", "release", "extend", "expire"}
    assert set(desk().kinds("eve")) == {"grant", "terms", "debit", *about_holds}
    corrected = {"reversal", "adjust", "void", "convert", "state", "rollover", "statement"}
    assert set(desk().kinds("max")) == {"grant", "terms", "debit", "lapse", *corrected}
    subscribed = {"subscription", "fee", "grant", "terms", "debit", "lapse", "void"}
    assert set(desk().kinds("sue")) == subscribed
    assert set(desk().kinds("tom")) == {"topup", "grant", "debit"}
    topped_up = {"requested", "succeeded", "failed", "capped"}
    assert set(desk().notices("tom")) == {
        "drawdown.balance.days_low",
        *(f"drawdown.topup.{what}" for what in topped_up),
    }
    assert set(desk().notices("ada")) == {
        "drawdown.usage.unpriced",
        "drawdown.balance.overdrawn",
    }
    told = {"velocity", "threshold_reached", "sign_changed", "floor_passed"}
    notices = [*desk().notices("lia"), *desk().notices("mia")]
    assert {notice.rpartition(".")[2] for notice in notices} == told
    assert desk().low_balances("ada")


def test_real_dead_letters_have_the_headers_their_schema_says() -> None:
    (letter,) = desk().dead_letters()
    _, said = letter
    typed = {**said, "partition": int(said["partition"]), "offset": int(said["offset"])}
    assert _accepts("dead-letters/headers", typed) == []


def test_settings_are_as_their_schema_says() -> None:
    now = moment(START_MS)
    _, key = new_key(("admin",), now, "of a test")
    _, token = new_token("ada", now)
    for name, record in (("api-key", key), ("customer-token", token)):
        assert name in schemas.RECORDS[SETTINGS]
        assert _accepts(f"settings/{name}", json.loads(encode(record))) == []


def test_a_book_file_is_as_its_schema_says() -> None:
    assert _accepts("price-book-file", json.loads(book().model_dump_json())) == []


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("usage-events/usage-event", {"specversion": "1.0", "id": "", "source": "s", "type": "t"}),
    ("commands/grant", {"id": "g", "customer": "ada", "time": "2027-01-01T00:00:00Z"}),
    (
        "commands/grant",
        {
            "id": "g",
            "customer": "ada",
            "time": "2027-01-01T00:00:00Z",
            "type": "grant",
            "asset": "USD",
            "amount": "1e3",
        },
    ),
    (
        "commands/authorize",
        {
            "id": "a",
            "customer": "ada",
            "time": "2027-01-01T00:00:00Z",
            "type": "authorize",
            "meter": "llm",
            "dimensions": {"no name": "x"},
        },
    ),
]


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_schemas_refuse_what_readers_refuse(path: str, value: dict[str, Any]) -> None:
    assert _accepts(path, value)


def test_dead_letters_need_no_schema_of_their_values() -> None:
    assert schemas.RECORDS[DEAD_LETTERS] == {}
