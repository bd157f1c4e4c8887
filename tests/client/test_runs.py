"""Runs through the client on a real Kafka: held, captured, released, also where it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.web.live import LIMIT_S, Live, until

from drawdown.client import Amount, AsyncClient, Client, Denied, HoldGoneError, RefusedError

pytestmark = pytest.mark.kafka

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    key = live.key("ingest", "authorize", "read", "admin")
    with Client(live.gateways[0], key, query_url=live.address) as client:
        yield client


def funded(live: Live, credits: str = "120") -> str:
    customer = live.customer()
    live.grant(customer, "credit", credits)
    return customer


def settled(live: Live, customer: str, available: str, held: str = "0") -> None:
    """Wait until this is what there is."""

    def there() -> bool:
        found = live.balances(customer)["credit"]
        return (found["available"], found.get("held", "0")) == (available, held)

    until(there)


def test_what_was_used_is_paid_and_the_rest_is_free(live: Live, client: Client) -> None:
    customer = funded(live)
    with client.authorize(customer, "responses", id="run-1", estimate={"responses": 5}) as run:
        assert run.decision.hold is not None
        assert (run.decision.amount, run.decision.hold.id) == ("60", "run-1")
        settled(live, customer, "60", held="60")
        decision = run.capture({"responses": 2})
    assert decision is not None
    assert (decision.amount, decision.asset) == ("24", "credit")
    settled(live, customer, "96")
    wallet = client.wallet(customer)
    assert wallet.accounts[0].debited == "24"


def test_the_same_run_again_is_the_same_hold(live: Live, client: Client) -> None:
    """As after a crash between two steps: each step again is the step that was."""
    customer = funded(live)
    for _ in range(3):
        with client.authorize(customer, "responses", id="r", estimate={"responses": 5}) as run:
            run.capture({"responses": 2})
    settled(live, customer, "96")


def test_denied_it_does_not_run(live: Live, client: Client) -> None:
    customer = funded(live, "20")
    with (
        pytest.raises(Denied) as raised,
        client.authorize(customer, "responses", estimate={"responses": 2}),
    ):
        pytest.fail("it must not run")
    assert (raised.value.reason, raised.value.shortfall) == ("insufficient_balance", "4")
    assert raised.value.decision.available == {"credit": "20"}


def test_an_error_releases_and_a_broken_stream_pays_what_it_had_used(
    live: Live, client: Client
) -> None:
    customer = funded(live)
    for used in ((), (1, 2)):
        with (
            pytest.raises(RuntimeError),
            client.authorize(customer, "responses", estimate={"responses": 5}) as run,
        ):
            for count in used:
                run.used(responses=count)
            raise RuntimeError("the model broke")
    settled(live, customer, "84")


def test_parts_of_a_stream_are_captured_as_they_come(live: Live, client: Client) -> None:
    customer = funded(live)
    with client.authorize(customer, "responses", estimate={"responses": 5}) as run:
        for _ in range(3):
            run.used(responses=1)
            run.capture(final=False)
        settled(live, customer, "60", held="24")
        run.extend(1800)
    settled(live, customer, "84")


def test_usage_of_a_run_that_outlived_its_hold_is_booked(live: Live, client: Client) -> None:
    customer = funded(live)
    with client.authorize(customer, "responses", estimate={"responses": 5}, expires_in_s=2) as run:
        settled(live, customer, "60", held="60")
        settled(live, customer, "120")
        decision = run.capture({"responses": 2})
        assert decision is not None
        assert (decision.kind, decision.amount) == ("usage", "24")
    settled(live, customer, "96")


def test_a_check_holds_nothing_and_its_usage_is_an_event(live: Live, client: Client) -> None:
    customer = funded(live)
    with client.authorize(customer, "responses", estimate={"responses": 5}, require="check") as run:
        settled(live, customer, "120")
        run.used(responses=1)
    settled(live, customer, "108")


def test_a_price_known_beforehand_is_charged_at_once(live: Live, client: Client) -> None:
    customer = funded(live, "36")
    for _ in range(2):
        decision = client.charge(customer, "responses", id="c-1", estimate={"responses": 2})
        assert decision.amount == "24"
    with pytest.raises(Denied):
        client.charge(customer, "responses", id="c-2", estimate=Amount(24, "credit"))
    settled(live, customer, "12")


def test_grants_and_events(live: Live, client: Client) -> None:
    customer = live.customer()
    for _ in range(2):
        client.grant(customer, Amount(24, "credit"), id="g", cost_basis="0.01")
    events = [
        {"id": name, "type": kind, "customer": customer, "data": {"responses": 1}}
        for name, kind in (("e1", "response.sent"), ("e2", "telepathy"), ("e1", "response.sent"))
    ]
    report = client.events(events, wait=True)
    assert [(each.index, each.code) for each in report.rejected] == [(1, "unknown_meter")]
    decisions = [each.decision for each in report.outcomes]
    assert [(d.amount, d.duplicate) for d in decisions if d] == [("12", False), ("12", True)]
    assert client.events(events[:1]).outcomes == []
    settled(live, customer, "12")
    with pytest.raises(RefusedError) as raised:
        client.events([{**events[0], "id": ""}])
    assert (raised.value.code, raised.value.errors[0]["field"]) == ("malformed", "id")
    with pytest.raises(HoldGoneError):
        client.authorize(customer, "responses", estimate={"responses": 1}).release()


def test_asyncio_runs_end_when_they_are_cancelled(live: Live) -> None:
    customer = funded(live)

    async def main() -> None:
        key = live.key("ingest", "authorize")
        async with AsyncClient(live.gateways[0], key) as client:
            began = asyncio.Event()

            async def stream() -> None:
                async with client.authorize(
                    customer, "responses", estimate={"responses": 5}
                ) as run:
                    run.used(responses=2)
                    began.set()
                    await asyncio.sleep(LIMIT_S)

            task = asyncio.create_task(stream())
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(once(client, customer))

    asyncio.run(main())
    settled(live, customer, "36")


async def once(client: AsyncClient, customer: str) -> None:
    async with client.authorize(customer, "responses", estimate={"responses": 1}) as run:
        await run.capture({"responses": 1})


def test_the_readmes_example_runs(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = live.customer()
    live.grant(customer, "USD", "1")
    section = README.read_text().partition("## Authorize before it runs")[2]
    example = section.partition("```python\n")[2].partition("```")[0]
    monkeypatch.setenv("DRAWDOWN_KEY", live.key("authorize", "ingest"))
    for said, here in (("http://127.0.0.1:8791", live.gateways[0]), ("acme", customer)):
        assert said in example
        example = example.replace(said, here)
    exec(compile(example, "README.md", "exec"), {})
    # 2,000 in at 1.25 and 4 out at 10 for a million.
    until(lambda: live.balances(customer)["USD"]["available"] == "0.99746")
