"""Advisory answers: from a replica, said to be so, and with nobody else asked.

The replica here is a real one over the in-memory log; the gateway is a function that must not be
asked before there is usage.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.support.balances import Log

from drawdown.client import Amount, AsyncClient, Client, Denied, UnavailableError
from drawdown.events.decisions import Decision
from drawdown.events.limits import LimitState
from drawdown.events.reasons import Reason
from drawdown.pure import Ledger
from drawdown.query import LIMITS, Replica


def nobody(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"{request.url} was asked")


def client_of(replica: Replica | None, gateway: Any = nobody) -> Client:
    transport = httpx.MockTransport(gateway)
    return Client("http://gateway", "drw_sk_x", replica=replica, transport=transport)


@pytest.fixture
def log() -> Log:
    log = Log()
    log.wallet("acme", 7, ("USD", "5", "20"), ("credit", "0"))
    return log


def test_enough_may_run_and_the_decision_says_who_said_so(log: Log) -> None:
    with log.replica() as replica, client_of(replica) as client:
        log.seconds += 0.25
        with client.authorize("acme", "llm", estimate=Amount("5"), require="advisory") as run:
            said = run.decision
    assert (said.allowed, said.reason, said.advisory, said.stale_ms) == (True, "ok", True, 250)
    assert (said.sequence, said.asset, said.amount) == (7, "USD", "5")
    assert said.available == {"USD": "5", "credit": "0"}
    assert said.hold is None


@pytest.mark.parametrize(
    ("customer", "estimate", "reason", "shortfall"),
    [
        ("acme", Amount("5.000000000001"), "insufficient_balance", "0.000000000001"),
        ("acme", Amount(1, "credit"), "insufficient_balance", "1"),
        ("acme", Amount(1, "token"), "insufficient_balance", "1"),
        ("nobody", Amount("5"), "unknown_customer", None),
        ("suspended", Amount("5"), "wallet_suspended", None),
        ("closed", None, "wallet_closed", None),
        ("empty", None, "insufficient_balance", None),
    ],
)
def test_what_is_denied(
    log: Log, customer: str, estimate: Amount | None, reason: str, shortfall: str | None
) -> None:
    for state in ("suspended", "closed"):
        log.wallet(state, 1, ("USD", "100"), state=state)
    log.wallet("empty", 1, ("USD", "0"), ("credit", "0"))
    with (
        log.replica() as replica,
        client_of(replica) as client,
        pytest.raises(Denied) as raised,
        client.authorize(customer, "llm", estimate=estimate, require="advisory"),
    ):
        pytest.fail("it must not run")
    assert (raised.value.reason, raised.value.shortfall) == (reason, shortfall)
    assert raised.value.decision.advisory


def test_without_an_estimate_it_is_whether_anything_is_left(log: Log) -> None:
    with (
        log.replica() as replica,
        client_of(replica) as client,
        client.authorize("acme", "llm", require="advisory") as run,
    ):
        assert run.decision.allowed


def test_what_such_a_run_used_is_reported_as_an_event(log: Log) -> None:
    asked: list[tuple[str, Any]] = []

    def gateway(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, json.loads(request.content)))
        outcome = {"index": 0, "id": "r/capture-0", "decision": None}
        return httpx.Response(200, json={"accepted": 1, "rejected": [], "outcomes": [outcome]})

    with (
        log.replica() as replica,
        client_of(replica, gateway) as client,
        client.authorize("acme", "llm", id="r", require="advisory") as run,
    ):
        run.used(output=5)
    ((path, events),) = asked
    assert path == "/v1/events"
    assert [(event["id"], event["data"]) for event in events] == [("r/capture-0", {"output": "5"})]


def test_asyncio_asks_it_too(log: Log) -> None:
    async def main(replica: Replica) -> None:
        transport = httpx.MockTransport(nobody)
        async with AsyncClient("http://g", "k", replica=replica, transport=transport) as client:
            async with client.authorize("acme", "llm", require="advisory") as run:
                assert run.decision.advisory
            with pytest.raises(Denied):
                await client.authorize(
                    "acme", "llm", estimate=Amount(6), require="advisory"
                ).__aenter__()

    with log.replica() as replica:
        asyncio.run(main(replica))


def test_a_replica_that_is_too_old_says_nothing(log: Log) -> None:
    with log.replica(max_staleness_ms=1_000) as replica, client_of(replica) as client:
        log.seconds += 1.5
        with (
            pytest.raises(UnavailableError, match="the replica: up to 1500 ms behind"),
            client.authorize("acme", "llm", require="advisory"),
        ):
            pytest.fail("it must not run")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"estimate": {"output": 5}}, "estimate: a replica knows no prices: give an Amount"),
        ({"estimate": Amount(0)}, "estimate: give an amount above 0"),
        ({"estimate": Amount("-1")}, "estimate: give an amount above 0"),
        ({"expires_in_s": 60}, "hold: not for require: advisory"),
        ({"max_usage_lag_ms": 60}, "max_usage_lag_ms: not for require: advisory"),
        ({"require": "promise"}, "require: 'promise': use one of hold, check, advisory"),
    ],
)
def test_what_a_replica_cannot_say_is_refused(log: Log, how: dict[str, Any], said: str) -> None:
    with log.replica() as replica, client_of(replica) as client, pytest.raises(ValueError) as error:
        client.authorize("acme", "llm", **{"require": "advisory", **how})
    assert str(error.value).startswith(said)


def test_without_a_replica_there_is_no_advice() -> None:
    with (
        client_of(None) as client,
        pytest.raises(ValueError, match="give the client a replica"),
        client.authorize("acme", "llm", require="advisory"),
    ):
        pytest.fail("it must not run")


# Limits


def with_limits() -> Log:
    """Acme has budgets of 10 for its team and of 4 for each session, and a key that is blocked; of
    the team's, 7 are used."""
    book = {
        "version": "v1",
        "assets": [{"code": "USD", "scale": 12}],
        "meters": [{"id": "llm", "event_types": ["llm"], "fields": {"n": "n"}}],
        "rates": [
            {
                "id": "llm",
                "meter": "llm",
                "asset": "USD",
                "price": {"model": "per_unit", "quantity": "n", "price": "1"},
            }
        ],
    }
    ledger = Ledger(book, at="2025-01-15T12:00:00Z")
    ledger.grant("acme", 100)
    total: dict[str, Any] = {"asset": "USD", "window": {"every": "total"}}
    ledger.set_budget("acme", "team", 10, scope={"team": "a"}, **total)
    ledger.set_budget("acme", "sessions", 4, scope={"session": "*"}, **total)
    ledger.block("acme", {"key": "k"}, reason="leaked")
    ledger.block("acme", {"key": "old"}, reason="tried", until="2025-01-15T12:00:01Z")
    ledger.use("acme", "llm", {"n": 7, "team": "a"})
    log = Log()
    for key, value in ledger.rows().items():
        log.write("acme", key, value)
    return log


def advised(keep: Any, estimate: Amount | None = None, **dimensions: str) -> Any:
    log = with_limits()
    with log.replica(keep=keep) as replica, client_of(replica) as client:
        try:
            with client.authorize(
                "acme", "llm", dimensions=dimensions, estimate=estimate, require="advisory"
            ) as run:
                return run.decision
        except Denied as denied:
            return denied


def test_a_block_that_the_replica_knows_denies() -> None:
    denied = advised({"scope"}, Amount(1), key="k")
    assert denied.reason == "blocked"
    assert "key=k is blocked since 2025-01-15T12:00:00Z: leaked" in str(denied)
    assert denied.retry_at is None
    assert advised({"scope"}, Amount(1), key="other").allowed
    assert advised({"scope"}, Amount(1), key="old").allowed, "its time is over"


def test_a_budget_that_the_replica_knows_denies() -> None:
    denied = advised(LIMITS, Amount(4), team="a")
    assert denied.reason == "budget_exceeded"
    assert [(each.budget, each.left, each.wanted) for each in denied.budgets] == [
        ("team", "3", "4")
    ]
    allowed = advised(LIMITS, Amount(3), team="a", session="s")
    assert {each.budget: each.left for each in allowed.limits} == {"team": "3", "sessions": "4"}
    assert advised(LIMITS, Amount(5), session="s").budgets[0].scope == "session=s"
    assert advised(LIMITS, None, team="a").allowed


def test_limits_that_were_not_looked_at_are_said() -> None:
    unseen = "the customer's blocks and budgets were not looked at"
    assert unseen in advised((), Amount(50), team="a", key="k").detail
    assert "the customer's budgets were not looked at" in advised({"scope"}, team="a").detail
    assert "looked at" not in advised(LIMITS, team="b").detail


def test_a_denial_says_when_to_come_again() -> None:
    """Not before the last of the budgets that deny begins anew; never, where one does not."""

    def denied(*ends: datetime | None) -> Denied:
        limits = [
            LimitState(budget=f"b{place}", cap="1", used="0", left="1", wanted="2", resets_at=end)
            for place, end in enumerate(ends)
        ]
        limits.append(LimitState(budget="roomy", cap="9", used="0", left="9"))
        return Denied(
            Decision(
                kind="authorization",
                id="r",
                customer="acme",
                command="authorize",
                at=datetime(2027, 1, 15, tzinfo=UTC),
                allowed=False,
                reason=Reason.BUDGET_EXCEEDED,
                limits=limits,
            )
        )

    day, month = datetime(2027, 1, 16, tzinfo=UTC), datetime(2027, 2, 1, tzinfo=UTC)
    assert denied(day, month).retry_at == month
    assert denied(day, None).retry_at is None
    assert denied().retry_at is None
    assert [each.budget for each in denied(day).budgets] == ["b0"]
