"""`doctor`: what is wrong, and the command that mends it."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from tests.cli.commands import Drawdown, until

from drawdown.cli.outcome import FAILED, UNREACHABLE

pytestmark = pytest.mark.kafka


def findings(drawdown: Drawdown, **changes: str) -> dict[str, list[dict[str, Any]]]:
    ended = drawdown("doctor", "--json", **changes)
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in ended.json["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    problems = sum(f["state"] == "problem" for fs in found.values() for f in fs)
    assert ended.json["problems"] == problems
    assert ended.code == (FAILED if problems else 0)
    return found


def test_a_stack_that_is_well(stack: Drawdown) -> None:
    found = findings(stack)

    states = {finding["state"] for several in found.values() for finding in several}
    assert states <= {"ok", "note"}
    assert set(found) == {
        *("kafka", "timeouts", "replication", "access to kafka", "topics", "clock"),
        *("price book", "settlement", "services", "keys", "dead letters"),
    }


def test_an_environment_that_is_not_there(stack: Drawdown) -> None:
    found = findings(stack, DRAWDOWN_ENVIRONMENT="nothing-yet")

    assert len(found["topics"]) == 10
    assert {finding["fix"] for finding in found["topics"]} == {"drawdown topics create"}
    said = stack("doctor", "--wrong", DRAWDOWN_ENVIRONMENT="nothing-yet")
    assert said.code == FAILED
    assert ["problem", "topics", "nothing-yet.commands:", "is", "missing"] in said.rows
    assert ["->", "drawdown", "topics", "create"] in said.rows
    assert said.rows[-1][:2] == ["10", "problems,"]
    assert "ok" not in {row[0] for row in said.rows if row}


def test_an_environment_with_topics_alone_and_one_of_them_wrong(stack: Drawdown) -> None:
    stack.ok("topics", "create", "--partitions", 2, DRAWDOWN_ENVIRONMENT="bare")
    admin = AdminClient({"bootstrap.servers": _bootstrap(stack)})
    resource = ConfigResource(ConfigResource.Type.TOPIC, "bare.balance-changes")
    resource.add_incremental_config(
        ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    )
    (future,) = admin.incremental_alter_configs([resource]).values()
    future.result(10)
    until(lambda: stack("topics", "check", DRAWDOWN_ENVIRONMENT="bare").code == FAILED)

    found = findings(stack, DRAWDOWN_ENVIRONMENT="bare")

    (topic,) = found["topics"]
    assert topic["detail"] == "bare.balance-changes: retention.ms is 1000, should be -1"
    assert topic["fix"] == "drawdown topics create --mend"
    assert found["price book"][0]["state"] == "problem"
    assert "drawdown price-book publish FILE" in found["price book"][0]["fix"]
    assert found["settlement"][0]["state"] == "problem"
    assert "drawdown up" in found["settlement"][0]["fix"]
    assert found["keys"][0]["detail"] == "there is no API key: no door opens"

    stack.ok("topics", "create", "--mend", DRAWDOWN_ENVIRONMENT="bare")
    stack.ok("topics", "check", DRAWDOWN_ENVIRONMENT="bare")


def _bootstrap(stack: Drawdown) -> str:
    kafka = next(p for p in stack("status", "--json").json["processes"] if p["name"] == "kafka")
    return str(kafka["address"])


def test_a_key_that_is_not_known_and_a_service_that_does_not_answer(stack: Drawdown) -> None:
    found = findings(stack, DRAWDOWN_KEY="drw_sk_unknown_key", DRAWDOWN_QUERY="http://127.0.0.1:1")

    assert found["keys"][-1]["state"] == "problem"
    assert found["services"][-1]["detail"] == "query at http://127.0.0.1:1: does not answer"


def test_without_kafka_there_is_nothing_to_look_at(nothing: Drawdown) -> None:
    ended = nothing("doctor")

    assert ended.code == UNREACHABLE
    assert "run `drawdown up`" in ended.error
