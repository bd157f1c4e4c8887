"""Work that runs by the terms for an outage, on a real Kafka: settlement goes, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.gateway.test_events import problem
from tests.web.live import Live, bearer, http, prepare, serving, settling, until

from drawdown.access import new_key, write_setting
from drawdown.broker.local import LocalKafka
from drawdown.client import Amount, Client
from drawdown.events.catalogue import Environment
from drawdown.gateway.app import create_app
from drawdown.gateway.outage import Allowances
from drawdown.query.app import create_app as query_app
from drawdown.stream.kafka import KafkaCluster

pytestmark = pytest.mark.kafka

SHORT = {"Request-Timeout": "1"}
OPEN = {"mode": "open", "amount": "30", "asset": "credit"}


class World:
    """An environment whose gateways and settlement are started and stopped by the test."""

    def __init__(self, cluster: KafkaCluster, name: str, directory: Path) -> None:
        self.cluster = cluster
        self.environment = Environment(name)
        self.directory = directory
        prepare(cluster, self.environment)
        self.secret, record = new_key(("admin",), datetime.now(UTC))
        write_setting(cluster, self.environment, "api_key", record.id, record)

    @contextmanager
    def gateway(self) -> Iterator[httpx.Client]:
        app = create_app(self.cluster, self.environment, "0")
        self.allowances: Allowances = app.state.gateway.outages.allowances
        with (
            serving(app) as address,
            http(base_url=address, headers=bearer(self.secret)) as client,
        ):
            yield client

    @contextmanager
    def query(self) -> Iterator[httpx.Client]:
        app = query_app(self.cluster, self.environment, self.directory / "query")
        with serving(app) as address, http(base_url=address, headers=bearer(self.secret)) as client:
            yield client

    def settling(self) -> Any:
        return settling(self.cluster, self.environment, self.directory / "stores")


def ask(client: httpx.Client, id: str, amount: str, of: str = "c", **more: Any) -> httpx.Response:
    body = {
        "id": id,
        "customer": of,
        "meter": "responses",
        "estimate": {"amount": amount, "asset": "credit"},
        **more,
    }
    return client.post("/v1/authorizations", json=body, headers=SHORT)


def opened(client: httpx.Client, customer: str, granted: str = "12") -> None:
    door = f"/v1/customers/{customer}"
    grant = {"id": "g", "asset": "credit", "amount": granted, "cost_basis": "0.01"}
    # A broker that has just started may take longer than the gateway waits: asked again then.
    until(lambda: client.post(f"{door}/grants", json=grant).status_code in (200, 201))
    until(lambda: client.put(f"{door}/terms", json={"outage": OPEN}).status_code == 200)


def test_an_outage_from_its_beginning_to_its_end(live: Live, tmp_path: Path) -> None:
    world = World(live.cluster, "outages", tmp_path)
    with world.gateway() as client:
        with world.settling():
            opened(client, "c")
            opened(client, "closed-again")
            terms = {"outage": {"mode": "closed"}}
            client.put("/v1/customers/closed-again/terms", json=terms)
            assert ask(client, "before", "12").json()["reason"] == "ok"
            until(lambda: len(world.allowances) == 1)
        first = ask(client, "run-1", "18", require="hold")
        assert first.status_code == 200, first.text
        decision = first.json()
        assert (decision["allowed"], decision["reason"]) == (True, "outage_open")
        assert (decision["amount"], decision["asset"]) == ("18", "credit")
        assert "hold" not in decision
        assert " 12 are left" in decision["detail"]
        said = problem(ask(client, "run-2", "13"), 503, "no_decision")
        assert said["id"] == "run-2"
        assert "12 are left" in said["detail"]
        problem(ask(client, "run-3", "1", capture=True), 503, "no_decision")
        problem(ask(client, "run-4", "1", of="closed-again"), 503, "no_decision")
        problem(ask(client, "run-5", "1", of="nobody"), 503, "no_decision")
        assert "drawdown_outage_allowed_total" in client.get("/metrics").text
    with world.gateway() as client:  # the terms are read again, and what was allowed is forgotten
        assert ask(client, "run-6", "30").json()["reason"] == "outage_open"
        problem(ask(client, "run-7", "1"), 503, "no_decision")
        with world.settling():
            usage = {"id": "u", "type": "responses", "customer": "c", "data": {"responses": 2}}
            answer = client.post("/v1/events?wait=decided", json=usage)
            assert answer.json()["outcomes"][0]["decision"]["amount"] == "24"
            denied = ask(client, "run-8", "12").json()
            assert (denied["allowed"], denied["reason"]) == (False, "insufficient_balance")
            with world.query() as query:
                wallet = query.get("/v1/customers/c/wallet").json()["wallet"]
                (account,) = wallet["accounts"]
                assert (account["balance"], account["overdrawn"]) == ("-12", "12")
                # What was asked in the outage made no hold when settlement came to it.
                assert wallet.get("holds", 0) == 0
        again = ask(client, "run-9", "30")
        assert again.json()["reason"] == "outage_open"


def test_runs_of_the_client_report_what_they_used(live: Live, tmp_path: Path) -> None:
    world = World(live.cluster, "outage-runs", tmp_path)
    with world.gateway() as http_client:
        with world.settling():
            opened(http_client, "c", "120")
            until(lambda: len(world.allowances) == 1)
        address = str(http_client.base_url).rstrip("/")
        with Client(address, world.secret, timeout_s=1.0) as client:
            with client.authorize("c", "responses", id="r", estimate=Amount(24, "credit")) as run:
                assert (run.decision.reason, run.decision.hold) == ("outage_open", None)
                assert run.capture({"responses": 1}, final=False) is None  # Kafka has it
                run.used(responses=1)
            with client.authorize("c", "responses", estimate=Amount(6, "credit")) as unused:
                assert unused.decision.reason == "outage_open"
        with world.settling(), world.query() as query:

            def debited() -> bool:
                found = query.get("/v1/customers/c/balance").json()["balances"][0]
                return bool(found.get("debited") == "24")

            until(debited)


@pytest.mark.slow
def test_kafka_away_and_back(tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "kafka") as broker:
        world = World(KafkaCluster(broker.bootstrap), "kafka-away", tmp_path)
        usage = {"id": "u", "type": "responses", "customer": "c", "data": {"responses": 2}}
        with world.settling(), world.gateway() as client:
            opened(client, "c")
            until(lambda: ask(client, "before", "12").json().get("reason") == "ok")
            until(lambda: len(world.allowances) == 1)
            broker.broker(1).pause()
            try:
                answer = ask(client, "away", "24", require="hold")
                assert answer.json()["reason"] == "outage_open", answer.text
                problem(ask(client, "more", "12"), 503, "no_decision")
                problem(client.post("/v1/events", json=usage, headers=SHORT), 503, "not_stored")
            finally:
                broker.broker(1).resume()

            def stored() -> bool:
                return client.post("/v1/events", json=usage).status_code == 202

            until(stored)

            def decided() -> bool:
                answer = ask(client, "after", "12")
                return bool(answer.status_code == 200 and answer.json()["reason"] != "outage_open")

            until(decided)
            with world.query() as query:

                def overdrawn() -> bool:
                    (account,) = query.get("/v1/customers/c/balance").json()["balances"]
                    return bool(account.get("overdrawn") == "12")

                until(overdrawn)
