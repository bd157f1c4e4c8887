"""`wallet` and `customers`: what is left."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, UNREACHABLE, USAGE

pytestmark = pytest.mark.kafka


def test_a_wallet_shows_balances_grants_and_entries(stack: Drawdown) -> None:
    stack.ok("grant", "shown", 25, "--id", "first")
    stack.ok("terms", "shown", "--credit-limit", "USD=10", "--threshold", "USD=5")
    stack.ok("send", "shown", "llm.request", "model=gpt-5", "output=150000")
    stack.ok("send", "shown", "llm.request", "model=nobody-knows", "output=1")
    stack.settled("shown", 4)

    rows = stack.ok("wallet", "shown").rows

    assert rows[0][:3] == ["shown", "entry", "4,"]
    assert ["USD", "33.5", "23.5", "0", "25", "1.5", "0", "10", "0", "0"] in rows
    assert ["first", "paid", "23.5", "25", "USD", "100", "never", "anything"] in rows
    assert ["tells", "below", "5", "USD"] in rows
    assert ["revenue", "1.5,", "cost", "1.2,", "margin", "0.3", "(20.0", "%)"] in rows
    kinds = [(row[0], row[3]) for row in rows[-4:]]
    assert kinds == [("4", "unpriced"), ("3", "debit"), ("2", "terms"), ("1", "grant")]
    assert "-1.5 USD" in stack.ok("wallet", "shown", "-n", 2).out


def test_a_wallet_as_json_is_exact(stack: Drawdown) -> None:
    stack.ok("grant", "exact", "99999999999999.000000000001")

    answer = stack.settled("exact", 1)

    assert answer["wallet"]["accounts"][0]["available"] == "99999999999999.000000000001"
    assert [entry["data"]["sequence"] for entry in answer["entries"]] == [1]


def test_overdrawn_is_shown(stack: Drawdown) -> None:
    stack.ok("send", "over", "response.sent", "responses=2")
    stack.settled("over", 1)

    said = stack.ok("wallet", "over")

    assert ["credit", "0", "-24", "0", "0", "24", "0", "0", "0", "24"] in said.rows
    assert "(24 overdrawn)" in said.out


def test_pages_are_joined(stack: Drawdown) -> None:
    lines = [
        f'{{"id":"p{i}","type":"response.sent","customer":"pages","data":{{"responses":1}}}}'
        for i in range(150)
    ]
    stack.ok("send", "-f", "-", stdin="\n".join(lines))
    stack.settled("pages", 150)

    entries = stack.json("wallet", "pages", "-n", 130)["entries"]

    assert [entry["data"]["sequence"] for entry in entries] == list(range(150, 20, -1))


def test_an_unknown_customer(stack: Drawdown) -> None:
    ended = stack("wallet", "who's that")

    assert ended.code == FAILED
    assert ended.error.startswith('CUSTOMER: no wallet of "who\'s that" is known')
    assert "drawdown grant 'who'\"'\"'s that' 25" in ended.error


def test_customers_are_listed_with_their_balances(stack: Drawdown) -> None:
    for customer in ("aa-1", "aa-2"):
        stack.ok("grant", customer, 3)
        stack.settled(customer, 1)

    rows = stack.ok("customers", "--limit", 1000).rows

    assert rows[0] == ["customer", "available", "balance", "asset", "entries", "last"]
    assert [row[:5] for row in rows if row[0].startswith("aa-")] == [
        ["aa-1", "3", "3", "USD", "1"],
        ["aa-2", "3", "3", "USD", "1"],
    ]
    assert "aa-1" in {row["customer"] for row in stack.json("customers", "--limit", 1000)}
    some = stack.ok("customers", "--limit", 1)
    assert len(some.rows) == 2
    assert some.err == "there are more: --limit 10\n"


def test_a_query_service_that_does_not_answer(stack: Drawdown) -> None:
    ended = stack("wallet", "acme", "--query", "http://127.0.0.1:1")

    assert ended.code == UNREACHABLE
    assert "the query does not answer at http://127.0.0.1:1" in ended.error
    assert stack("wallet", "acme", "--query", "nowhere").code == USAGE
