"""The portal with everything real behind it: a broker, settlement, and the query service over HTTP.

What is sent here goes the way of all usage: produced to Kafka, decided by settlement, read by the
query service's replica.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from drawdown import topics
from drawdown.access import new_key, new_token, write_setting
from drawdown.broker.local import LocalKafka
from drawdown.events.base import timestamp_text
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS, Environment
from drawdown.events.codec import encode
from drawdown.events.pricebook import PriceBook
from drawdown.portal.page import add_pages
from drawdown.query.app import create_app
from drawdown.settlement.publish import publish
from drawdown.settlement.service import make_worker
from drawdown.stream import kafka
from drawdown.stream.clock import SystemClock
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.store import RocksStores

LIMIT_S = 20.0
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
}
"""A response costs 12 credits, as in the domain's first example."""


class Portal:
    """Where the portal runs, and how usage and grants get to it."""

    def __init__(self, cluster: KafkaCluster, environment: Environment, address: str) -> None:
        self.cluster = cluster
        self.environment = environment
        self.address = address
        self._producer = cluster.producer(kafka.plain_producer())
        self._numbers = itertools.count(1)

    def key(self, *permissions: Any) -> str:
        """A new API key, known to the service by now."""
        secret, record = new_key(permissions or ("read",), datetime.now(UTC))
        write_setting(self.cluster, self.environment, "api_key", record.id, record)
        return self._known(secret)

    def token(self, customer: str, life: timedelta = timedelta(hours=1)) -> str:
        """A new token of a customer, known to the service by now."""
        secret, record = new_token(customer, datetime.now(UTC), life)
        write_setting(self.cluster, self.environment, "customer_token", record.id, record)
        return self._known(secret)

    def _known(self, secret: str) -> str:
        until(
            lambda: httpx.post(f"{self.address}/session", json={"token": secret}).status_code == 200
        )
        return secret

    def grant(self, customer: str, asset: str, amount: str, **terms: Any) -> None:
        terms.setdefault("cost_basis", "0.01" if asset != "USD" else "1")
        self.send(
            COMMANDS.name,
            customer,
            {
                "type": "grant",
                "id": f"grant-{next(self._numbers)}",
                "customer": customer,
                "time": _now(),
                "asset": asset,
                "amount": amount,
                **terms,
            },
        )

    def credit_limits(self, customer: str, **limits: str) -> None:
        self.send(
            COMMANDS.name,
            customer,
            {
                "type": "set_terms",
                "id": f"terms-{next(self._numbers)}",
                "customer": customer,
                "time": _now(),
                "credit_limits": limits,
            },
        )

    def use(self, customer: str, kind: str = "response.sent", **data: Any) -> None:
        self.send(
            USAGE_EVENTS.name,
            customer,
            {
                "specversion": "1.0",
                "id": f"event-{next(self._numbers)}",
                "source": "tests",
                "type": kind,
                "subject": customer,
                "time": data.pop("time", None) or _now(),
                "data": data or {"responses": 1},
            },
        )

    def send(self, topic: str, customer: str, record: dict[str, Any]) -> None:
        name = f"{self.environment.name}.{topic}"
        self._producer.produce(name, encode(record), customer.encode())
        self._producer.flush(LIMIT_S)


@contextmanager
def portal(kafka_running: LocalKafka, directory: Path, name: str = "test") -> Iterator[Portal]:
    """Settlement in a thread, and the query service on a free port."""
    cluster = KafkaCluster(kafka_running.bootstrap)
    environment = Environment(name)
    topics.create(cluster.admin(), environment, 2)
    book = PriceBook.model_validate(BOOK)
    publish(cluster, environment, book, now=datetime.now(UTC))
    app = create_app(cluster, environment, directory / "query")
    add_pages(app)
    with _settling(cluster, environment, directory / "stores"), _serving(app) as address:
        yield Portal(cluster, environment, address)


@contextmanager
def _settling(cluster: KafkaCluster, environment: Environment, directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True)
    worker = make_worker(cluster, environment, "0", RocksStores(directory), SystemClock())
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            worker.turn()
        worker.close()

    thread = threading.Thread(target=turn, name="settlement")
    thread.start()
    try:
        until(lambda: len(worker.serving) == 2)
        yield
    finally:
        stop.set()
        thread.join(LIMIT_S)


@contextmanager
def _serving(app: Any) -> Iterator[str]:
    config = uvicorn.Config(
        app, port=0, log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="query")
    thread.start()
    try:
        until(lambda: server.started)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
        yield address
    finally:
        server.should_exit = True
        thread.join(LIMIT_S)


def until(true: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait for something to come true. Fails after `limit_s`."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s"
        time.sleep(0.02)


def _now() -> str:
    return timestamp_text(datetime.now(UTC))
