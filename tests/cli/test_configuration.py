"""Nothing that runs, and configuration that cannot work: one line, and the exit code."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.main import COMMANDS
from drawdown.cli.outcome import UNREACHABLE, USAGE


@pytest.mark.parametrize(
    "arguments",
    [
        ("grant", "acme", 1),
        ("terms", "acme", "--credit-limit", "USD=1"),
        ("authorize", "acme", "llm"),
        ("send", "acme", "llm", "input=1"),
        ("wallet", "acme"),
        ("customers",),
        ("explain", "acme"),
        ("tail", "commands"),
        ("doctor",),
        ("topics", "check"),
        ("topics", "list"),
        ("topics", "create"),
        ("price-book", "show"),
        ("keys", "list"),
        ("token", "acme"),
        ("settlement",),
        ("gateway",),
        ("query",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_nothing_runs(nothing: Drawdown, arguments: tuple[object, ...]) -> None:
    ended = nothing(*arguments)

    assert ended.code == UNREACHABLE
    assert "drawdown up" in ended.error
    assert ended.err.count("\n") == 1
    assert ended.out == ""


def test_status_where_nothing_runs(nothing: Drawdown) -> None:
    ended = nothing("status")

    assert ended.code == UNREACHABLE
    assert ended.err == f"nothing of {nothing.home} runs: `drawdown up` starts it\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DRAWDOWN_ENVIRONMENT", "Live!", "DRAWDOWN_ENVIRONMENT: environment 'Live!': use a-z"),
        ("DRAWDOWN_GATEWAY_PORT", "http", "DRAWDOWN_GATEWAY_PORT: "),
        ("DRAWDOWN_QUERY_PORT", "70000", "DRAWDOWN_QUERY_PORT: "),
        ("DRAWDOWN_LOG_LEVEL", "LOUD", "DRAWDOWN_LOG_LEVEL: use one of DEBUG"),
        ("DRAWDOWN_INSTANCE", "a b", "DRAWDOWN_INSTANCE: "),
        ("DRAWDOWN_SECRETS_DIR", "/nowhere", "DRAWDOWN_SECRETS_DIR: /nowhere is no directory"),
    ],
)
def test_a_bad_setting_is_named(nothing: Drawdown, name: str, value: str, says: str) -> None:
    for arguments in (("status",), ("grant", "acme", 1), ("doctor",)):
        ended = nothing(*arguments, **{name: value})

        assert ended.code == USAGE
        assert ended.error.startswith(says)
        assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, UNREACHABLE, "Kafka does not answer at 127"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "here"}, USAGE, "KAFKA_BOOTSTRAP_SERVERS: 'here' is not host"),
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_ACKS": "0"},
            USAGE,
            "KAFKA_ACKS sets acks, which is locked",
        ),
    ],
)
def test_a_kafka_that_cannot_be(
    nothing: Drawdown, settings: dict[str, str], code: int, says: str
) -> None:
    ended = nothing("topics", "check", **settings)

    assert ended.code == code
    assert ended.error.startswith(says)


def test_a_door_that_is_none(nothing: Drawdown) -> None:
    ended = nothing("wallet", "acme", DRAWDOWN_QUERY="localhost", DRAWDOWN_KEY="k")

    assert ended.code == USAGE
    assert ended.error == "'localhost' is no URL of the query: give http://host:port"


def test_a_key_of_this_machine_is_not_sent_elsewhere(nothing: Drawdown) -> None:
    nothing.home.mkdir()
    (nothing.home / "key").write_text("drw_sk_a_b")

    ended = nothing("wallet", "acme", "--query", "http://example.org")

    assert ended.code == USAGE
    assert "is not sent to example.org" in ended.error


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(nothing: Drawdown, name: str) -> None:
    said = nothing.ok(name, "--help")

    assert said.out.startswith("Usage: ")
    assert said.err == ""
    whole = nothing.ok("--help").out
    assert name in whole


def test_a_command_that_is_none(nothing: Drawdown) -> None:
    ended = nothing("bill")

    assert ended.code == USAGE
    assert "bill" in ended.err
