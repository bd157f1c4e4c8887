"""The frame of every HTTP service: ids, problems, bounded bodies, metrics. No Kafka is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from tests.web.live import http, serving

from drawdown.access import Settings
from drawdown.events.catalogue import Environment
from drawdown.stream.memory import MemoryCluster
from drawdown.web.app import body_of, caller_of, make_app
from drawdown.web.problems import ProblemError


@dataclass
class Service:
    client: httpx.Client
    state: dict[str, bool]
    settings: Settings

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)


@pytest.fixture
def service() -> Iterator[Service]:
    """A service with one door that echoes, one that fails and one that is busy."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    cluster = MemoryCluster(lambda: 0, lambda _: None).process("web")
    settings = Settings(cluster, Environment("test"))
    state = {"ready": True}
    app = make_app("Echo", "", settings, lambda: (state["ready"], {"part": "well"}), lifespan)

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await body_of(request))

    @app.post("/locked")
    async def locked(request: Request) -> Response:
        return Response(caller_of(request, "ingest").id)

    @app.get("/fault")
    async def fault() -> Response:
        raise RuntimeError("secret detail")

    @app.get("/busy")
    async def busy() -> Response:
        raise ProblemError(503, "no_decision", "not now", retry_after_s=2, extra={"id": "x"})

    with serving(app) as address, http(base_url=address) as client:
        yield Service(client, state, settings)


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_fault_is_a_problem_that_gives_nothing_away(service: Service) -> None:
    answer = service.get("/fault", headers={"X-Request-Id": "mine"})
    assert_problem(answer, 500, "internal")
    assert answer.headers.get_list("x-request-id") == ["mine"]
    assert "secret" not in answer.text


def test_a_problem_says_when_to_try_again(service: Service) -> None:
    answer = service.get("/busy")
    assert_problem(answer, 503, "no_decision")
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["id"] == "x"


def test_a_key_is_not_called_unknown_before_all_keys_are_read(service: Service) -> None:
    """A caller told 401 would not come back."""
    key = {"Authorization": "Bearer drw_sk_aaaaaaaa_" + "a" * 32}
    answer = service.client.post("/locked", headers=key)
    assert_problem(answer, 503, "starting")
    assert answer.headers["retry-after"] == "1"
    service.settings.caught_up.set()
    assert_problem(service.client.post("/locked", headers=key), 401, "unauthenticated")


def test_each_request_has_an_id_its_own_or_the_callers(service: Service) -> None:
    first, second = (service.get("/livez").headers["x-request-id"] for _ in range(2))
    assert first != second
    assert service.get("/livez", headers={"X-Request-Id": "a-1"}).headers["x-request-id"] == "a-1"
    too_long = service.get("/livez", headers={"X-Request-Id": "x" * 65})
    assert len(too_long.headers["x-request-id"]) == 16


def test_ready_is_not_the_same_as_alive(service: Service) -> None:
    assert service.get("/readyz").json() == {"ready": True, "part": "well"}
    service.state["ready"] = False
    assert service.get("/readyz").status_code == 503
    assert service.get("/livez").text == "ok\n"


def test_requests_are_counted_by_door_and_never_by_customer(service: Service) -> None:
    service.client.post("/echo", content=b"x")
    service.get("/nowhere/acme")
    metrics = service.get("/metrics").text
    assert 'drawdown_http_requests_total{door="/echo",status="200"}' in metrics
    assert 'drawdown_http_requests_total{door="unknown",status="404"}' in metrics
    assert 'drawdown_http_request_duration_seconds_bucket{door="/echo",le="0.005"}' in metrics
    assert "acme" not in metrics
