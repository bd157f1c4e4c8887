"""A whole Drawdown on a real Kafka: settlement, two gateways and the query service with its pages.

One broker and one set of services serve the tests of all HTTP doors; each test has customers of its
own. What is sent goes the way of all usage: over HTTP to a gateway, through Kafka, decided by
settlement, and read back over HTTP from the query service.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest
from confluent_kafka import OFFSET_BEGINNING, TopicPartition
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from tests.support.brokers import FEW_CORES

from drawdown import topics
from drawdown.access import new_key, new_token, write_setting
from drawdown.broker.local import LocalKafka
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import Environment, Topic
from drawdown.events.codec import decode_any
from drawdown.events.pricebook import PriceBook
from drawdown.gateway.app import create_app as gateway_app
from drawdown.portal.page import add_pages
from drawdown.query.app import create_app as query_app
from drawdown.settlement.publish import publish
from drawdown.settlement.service import make_worker
from drawdown.stream import kafka
from drawdown.stream.clock import SystemClock
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.store import RocksStores
from drawdown.web.server import Server

LIMIT_S = 60.0
PARTITIONS = 2
ALL = ("admin",)
BOOK = {
    "version": "2026-11",
    "assets": [
        {"code": "credit", "scale": 0},
        {"code": "USD", "scale": 12},
        {"code": "gpu-hour", "scale": 6},
    ],
    "meters": [
        {
            "id": "responses",
            "event_types": ["response.sent"],
            "fields": {"responses": "responses"},
        },
        {
            "id": "llm",
            "event_types": ["llm.request"],
            "fields": {"input": "input", "cached_input": "cached_input", "output": "output"},
        },
        {"id": "gpu", "event_types": ["gpu.lease"], "fields": {"hours": "hours"}},
    ],
    "rates": [
        {
            "id": "response",
            "meter": "responses",
            "asset": "credit",
            "price": {"model": "per_unit", "quantity": "responses", "price": "12"},
        },
        {
            "id": "gpt-5",
            "meter": "llm",
            "match": {"model": "gpt-5"},
            "asset": "USD",
            "price": {
                "model": "token_map",
                "prices": {"input": "1.25", "cached_input": "0.125", "output": "10"},
                "per": 1_000_000,
            },
        },
        {
            "id": "gpu",
            "meter": "gpu",
            "asset": "gpu-hour",
            "price": {"model": "per_unit", "quantity": "hours", "price": "1"},
        },
    ],
    "plans": [
        {
            "id": "team",
            "fees": [{"id": "seats", "asset": "USD", "amount": "19", "per": "seat"}],
            "grants": [{"id": "pool", "asset": "credit", "amount": "100", "per": "seat"}],
            "entitlements": [{"id": "sso"}, {"id": "replies", "meter": "responses", "limit": "2"}],
        }
    ],
}
"""A response costs 12 credits, as in the domain's first example."""


class Live:
    """Where everything runs, and how usage, grants and keys get to it."""

    def __init__(
        self,
        kafka_running: LocalKafka,
        environment: Environment,
        directory: Path,
        gateways: list[str],
        query: str,
        query_service: FastAPI,
    ) -> None:
        self.kafka = kafka_running
        self.cluster = KafkaCluster(kafka_running.bootstrap)
        self.environment = environment
        self.directory = directory
        self.gateways = gateways
        self.address = query
        self.query_service = query_service
        self._numbers = itertools.count(1)
        self._keys: dict[tuple[str, ...], str] = {}
        self.anyone = http()
        """Comes with no key."""
        admin = f"Bearer {self.key(*ALL)}"
        self.gateway, self.other_gateway = (
            http(base_url=address, headers={"Authorization": admin}) for address in gateways
        )
        self.query = http(base_url=query, headers={"Authorization": admin})

    def close(self) -> None:
        for each in (self.anyone, self.gateway, self.other_gateway, self.query):
            each.close()

    # Who may

    def key(self, *permissions: Any) -> str:
        """An API key, known to every service by now."""
        if permissions not in self._keys:
            self._keys[permissions] = self.new_key(*permissions)[1]
        return self._keys[permissions]

    def new_key(self, *permissions: Any) -> tuple[str, str]:
        """A key's id and text, known to every service by now."""
        secret, record = new_key(permissions, datetime.now(UTC))
        write_setting(self.cluster, self.environment, "api_key", record.id, record)
        self.await_known(secret)
        return record.id, secret

    def revoke(self, key_id: str) -> None:
        write_setting(self.cluster, self.environment, "api_key", key_id, None)

    def token(self, customer: str, life: timedelta = timedelta(hours=1)) -> str:
        """A token of a customer, known to every service by now."""
        secret, record = new_token(customer, datetime.now(UTC), life)
        write_setting(self.cluster, self.environment, "customer_token", record.id, record)
        self.await_known(secret)
        return secret

    def await_known(self, secret: str, known: bool = True) -> None:
        headers = {"Authorization": f"Bearer {secret}"}

        def is_known(door: str) -> bool:
            return self.anyone.post(door, headers=headers).status_code != 401

        doors = [f"{gateway}/v1/events" for gateway in self.gateways]
        until(lambda: all(is_known(door) is known for door in doors))
        asked = f"{self.address}/v1/customers"
        until(lambda: (self.anyone.get(asked, headers=headers).status_code != 401) is known)

    # What happens

    def customer(self, name: str = "c") -> str:
        """A customer nobody has seen."""
        return f"{name}-{next(self._numbers)}"

    def event(self, customer: str, kind: str = "response.sent", **data: Any) -> dict[str, Any]:
        """A usage event that nobody has sent yet."""
        return {
            "specversion": "1.0",
            "id": f"event-{next(self._numbers)}",
            "source": "tests",
            "type": kind,
            "subject": customer,
            "time": now(),
            "data": data or {"responses": 1},
        }

    def grant(self, customer: str, asset: str, amount: str, **terms: Any) -> dict[str, Any]:
        """A grant, which the query service knows by now; returns the decision."""
        if terms.get("category", "paid") == "paid" and asset != "USD":
            terms.setdefault("cost_basis", "0.01")
        terms.setdefault("id", f"grant-{next(self._numbers)}")
        answer = self.gateway.post(
            grants_of(customer), json={"asset": asset, "amount": amount, **terms}
        )
        return self._settled(customer, answer, 201)

    def terms(self, customer: str, **terms: Any) -> dict[str, Any]:
        """New terms of a wallet, which the query service knows by now."""
        answer = self.gateway.put(f"/v1/customers/{quoted(customer)}/terms", json=terms)
        return self._settled(customer, answer, 200)

    def budget(self, customer: str, name: str, cap: str, **terms: Any) -> None:
        """A budget of credits, which the query service knows by now."""
        answer = self.gateway.put(
            f"/v1/customers/{quoted(customer)}/budgets/{quoted(name)}",
            json={"budget": {"asset": "credit", "cap": cap, **terms}},
        )
        self._settled(customer, answer, 200)

    def block(self, customer: str, reason: str, **scope: str) -> None:
        """A block, which the query service knows by now."""
        answer = self.gateway.post(
            f"/v1/customers/{quoted(customer)}/blocks", json={"scope": scope, "reason": reason}
        )
        self._settled(customer, answer, 200)

    def _settled(self, customer: str, answer: httpx.Response, status: int) -> dict[str, Any]:
        assert answer.status_code == status, answer.text
        decision: dict[str, Any] = answer.json()
        self.await_entry(customer, decision["sequence"])
        return decision

    def use(self, customer: str, kind: str = "response.sent", **data: Any) -> None:
        """Usage, which the query service knows by now. `data` without a word is one response."""
        before = self.sequence(customer)
        answer = self.gateway.post("/v1/events", json=self.event(customer, kind, **data))
        assert answer.status_code == 202, answer.text
        self.await_entry(customer, before + 1)

    # What is read

    def sequence(self, customer: str) -> int:
        """Of the customer's last entry; 0 where there is none."""
        answer = self.query.get(f"/v1/customers/{quoted(customer)}/balance")
        return int(answer.json()["sequence"]) if answer.status_code == 200 else 0

    def await_entry(self, customer: str, sequence: int) -> None:
        """Wait until balances and entries are read up to this one."""
        entries = f"/v1/customers/{quoted(customer)}/entries"

        def there() -> bool:
            last = self.query.get(entries, params={"limit": 1}).json()["data"]
            return bool(last) and last[0]["data"]["sequence"] >= sequence

        until(lambda: self.sequence(customer) >= sequence)
        until(there)

    def balances(self, customer: str) -> dict[str, dict[str, str]]:
        """The accounts by asset."""
        answer = self.query.get(f"/v1/customers/{quoted(customer)}/balance")
        return {account["asset"]: account for account in answer.json()["balances"]}

    def records(self, topic: Topic) -> list[tuple[Any, dict[str, str]]]:
        """Every record of a topic so far, with its headers."""
        consumer = self.cluster.consumer(kafka.reader())
        name = self.environment.topic(topic)
        partitions = consumer.list_topics(name, LIMIT_S).topics[name].partitions
        consumer.assign([TopicPartition(name, p, OFFSET_BEGINNING) for p in partitions])
        found: list[tuple[Any, dict[str, str]]] = []
        ended: set[Any] = set()
        while len(ended) < len(partitions):
            message = consumer.poll(LIMIT_S)
            assert message is not None
            if message.error() is not None:
                ended.add(message.partition())
            else:
                given = cast("list[tuple[str, bytes]]", message.headers() or [])
                headers = {name: value.decode() for name, value in given}
                found.append((decode_any(message.value() or b"{}"), headers))
        consumer.close()
        return found


LIVE = pytest.StashKey[Live]()


def shared(config: pytest.Config, directory: Callable[[str], Path]) -> Live:
    """The one of this test run: started when it is first asked for, stopped when all is done.

    `directory` makes a temporary directory. A fixture cannot be shared by three folders without
    being everybody's; what is made here belongs to the run.
    """
    if LIVE not in config.stash:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        broker = stack.enter_context(LocalKafka(directory("kafka"), jvm_args=FEW_CORES))
        config.stash[LIVE] = stack.enter_context(live(broker, directory("live")))
    return config.stash[LIVE]


@contextmanager
def live(broker: LocalKafka, directory: Path, name: str = "test") -> Iterator[Live]:
    """Everything, in threads of this process."""
    cluster = KafkaCluster(broker.bootstrap)
    environment = Environment(name)
    prepare(cluster, environment)
    query = query_app(cluster, environment, directory / "query")
    add_pages(query)
    with (
        settling(cluster, environment, directory / "stores"),
        serving(gateway_app(cluster, environment, "0")) as one,
        serving(gateway_app(cluster, environment, "1")) as other,
        serving(query) as address,
    ):
        everything = Live(broker, environment, directory, [one, other], address, query)
        try:
            yield everything
        finally:
            everything.close()


def prepare(cluster: KafkaCluster, environment: Environment) -> None:
    """Topics and a price book."""
    topics.create(cluster.admin(), environment, PARTITIONS)
    book = PriceBook.model_validate(BOOK)
    publish(cluster, environment, book, now=datetime.now(UTC))


@contextmanager
def settling(cluster: KafkaCluster, environment: Environment, directory: Path) -> Iterator[None]:
    """Settlement in a thread."""
    directory.mkdir(parents=True, exist_ok=True)
    worker = make_worker(
        cluster,
        environment,
        "0",
        RocksStores(directory),
        SystemClock(),
        metrics=StreamMetrics(CollectorRegistry()),
    )
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            worker.turn()
        worker.close()

    thread = threading.Thread(target=turn, name="settlement")
    thread.start()
    try:
        until(lambda: len(worker.serving) == PARTITIONS)
        yield
    finally:
        stop.set()
        thread.join(LIMIT_S)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """A service on a free port of the loopback; yields its address once it is ready."""
    server = Server(app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, name=app.title)
    thread.start()
    try:
        until(lambda: server.started)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        with http(base_url=address) as probe:
            until(lambda: probe.get("/readyz").status_code == 200)
        yield address
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)


def http(**options: Any) -> httpx.Client:
    """An HTTP client. What is asked here is on the loopback: loading certificates would take longer
    than most of the tests."""
    return httpx.Client(verify=False, **{"timeout": LIMIT_S, **options})


def until(true: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait for something to come true. Fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s"
        time.sleep(0.01)


def now() -> str:
    return timestamp_text(datetime.now(UTC))


def quoted(customer: str) -> str:
    """A customer's id as one part of a path."""
    return quote(customer, safe="")


def grants_of(customer: str) -> str:
    return f"/v1/customers/{quoted(customer)}/grants"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
