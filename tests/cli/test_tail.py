"""`tail`: every customer topic, readably."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown, Ended

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka

THERE = ("--from-beginning", "--no-follow")


@pytest.fixture(scope="module")
def busy(stack: Drawdown) -> Drawdown:
    """A customer with something on every topic."""
    stack.ok("grant", "busy", 2, "--id", "first")
    stack.ok("grant", "busy", 2, "--id", "first")
    stack("grant", "busy", 3, "--id", "first")
    stack.ok("authorize", "busy", "llm", "--dimension", "model=gpt-5", "--amount", "0.5")
    stack("authorize", "busy", "llm", "--dimension", "model=gpt-5", "--amount", "5")
    stack.ok("send", "busy", "llm.request", "model=gpt-5", "output=150000", "--id", "req-1")
    stack.ok("send", "busy", "llm.request", "model=unheard-of", "output=1")
    stack.ok("send", "busy", "no.meter", "output=1", "--id", "lost")
    stack.ok("terms", "busy", "--threshold", "USD=0.1")
    stack.settled("busy", 4)
    return stack


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("usage-events", "llm.request  model=gpt-5 output=150000  (cli req-1)"),
        ("commands", "grant  2 USD  paid  (first)"),
        ("commands", "authorize  llm  model=gpt-5  0.5"),
        ("commands", "set_terms  tells below USD=0.1"),
        ("balance-changes", "#2  debit  -1.5 USD -> 0.5  llm  output=150000  model=gpt-5"),
        ("balance-changes", "#1  grant  +2 USD -> 2  paid  first"),
        ("balances", "#4  wallet  0.5 USD"),
        ("decisions", "grant  done  2 USD  again  (first)"),
        ("decisions", "authorize  allowed  0.5 USD  available USD=2"),
        ("decisions", "authorize  denied  insufficient_balance  5 USD  short by 3"),
        ("low-balance", "below 1 USD: 2 -> 0.5 available  #2"),
        ("notifications", "usage.unpriced  llm  usage has no price: no rate matches  #3"),
        ("dead-letters", "unknown_meter  type: no meter of price book 'v1' counts 'no.meter'"),
        ("dead-letters", "conflict  id: command 'first' was used before with other content"),
        ("dev.dead-letters", "(usage-events["),
    ],
)
def test_a_topic_is_readable(busy: Drawdown, topic: str, says: str) -> None:
    lines = busy.ok("tail", topic, *THERE, "--customer", "busy").out.splitlines()

    assert any(says in line for line in lines), lines
    assert all("  busy  " in line for line in lines)


def test_json_has_the_record_whole(busy: Drawdown) -> None:
    def records(topic: str) -> list[dict[str, object]]:
        ended = busy.ok("tail", topic, *THERE, "--customer", "busy", "--json")
        return [Ended(0, line, "").json for line in ended.out.splitlines()]

    usage = records("usage-events")
    assert [record["key"] for record in usage] == ["busy"] * 3
    lost = next(record for record in records("dead-letters") if "no.meter" in str(record["value"]))
    rejected = lost["rejected"]
    assert isinstance(rejected, dict)
    assert rejected["reason"] == "unknown_meter"
    assert rejected["field"] == "type"
    assert (rejected["topic"], int(rejected["offset"])) == ("usage-events", usage[2]["offset"])


def test_what_is_there_is_passed_over_without_from_beginning(busy: Drawdown) -> None:
    arguments = ("tail", "balance-changes", "--limit", "1", "--customer", "busy")
    with busy.process(*arguments) as following:
        assert following.stderr is not None
        assert following.stderr.readline() == "dev.balance-changes, 1 partition; end with ctrl-c\n"
        busy.ok("terms", "busy", "--threshold", "USD=0.2")
        out, _ = following.communicate(timeout=20)

    assert following.returncode == 0
    assert "#5  terms" in out
    assert len(out.splitlines()) == 1


def test_a_limit_ends_it(busy: Drawdown) -> None:
    assert len(busy.ok("tail", "commands", "--from-beginning", "-n", 3).rows) == 3


def test_a_topic_that_is_none(stack: Drawdown) -> None:
    assert stack("tail", "ledger").error.startswith("TOPIC: 'ledger' is none of usage-events, ")
    assert stack("tail", "settings").error.endswith("see `drawdown keys list`")
    assert stack("tail", "decisions", "--no-follow").code == USAGE
    ended = stack("tail", "decisions", *THERE, DRAWDOWN_ENVIRONMENT="empty")
    assert ended.code == FAILED
    assert ended.error.endswith("run `drawdown topics create`")
