"""What a service takes on at once, and what it says to what is beyond. No Kafka is needed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from tests.web.live import http, serving, until

from drawdown.access import Settings
from drawdown.events.catalogue import Environment
from drawdown.stream.memory import MemoryCluster
from drawdown.web.app import body_of, make_app


class Slow:
    """A service with a door that answers when it is told to."""

    def __init__(self) -> None:
        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            self.go_on = asyncio.Event()
            self.loop = asyncio.get_running_loop()
            yield

        cluster = MemoryCluster(lambda: 0, lambda _: None).process("web")
        settings = Settings(cluster, Environment("test"))
        self.app = make_app("Slow", "", settings, lambda: (True, {}), lifespan)
        self.in_hand = self.app.state.in_hand

        @self.app.post("/slow")
        async def slow(request: Request) -> Response:
            body = await body_of(request)
            await self.go_on.wait()
            return Response(b"%d" % len(body))

    def answer(self) -> None:
        self.loop.call_soon_threadsafe(self.go_on.set)


@pytest.fixture
def slow() -> Iterator[tuple[Slow, httpx.Client]]:
    service = Slow()
    with serving(service.app) as address, http(base_url=address) as client:
        yield service, client


def refused(answer: httpx.Response) -> bool:
    assert answer.headers["content-type"] == "application/problem+json"
    return (answer.status_code, answer.json()["code"]) == (429, "busy") and int(
        answer.headers["retry-after"]
    ) > 0


def test_so_many_requests_and_no_more(slow: tuple[Slow, httpx.Client]) -> None:
    service, client = slow
    service.in_hand.requests_max = 3
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(client.post, "/slow", content=b"x") for _ in range(3)]
        until(lambda: service.in_hand.requests == 3)
        assert refused(client.post("/slow", content=b"x"))
        assert client.get("/readyz").status_code == client.get("/livez").status_code == 200
        service.answer()
        assert {each.result().status_code for each in waiting} == {200}
    assert client.post("/slow", content=b"x").text == "1"
    until(lambda: (service.in_hand.requests, service.in_hand.bytes) == (0, 0))


def test_so_many_bytes_and_no_more_zipped_or_not(slow: tuple[Slow, httpx.Client]) -> None:
    service, client = slow
    service.in_hand.bytes_max = 100_000
    zipped = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 200_000)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/slow", content=b"x" * 60_000)
        until(lambda: service.in_hand.bytes == 60_000)
        assert refused(client.post("/slow", content=b"x" * 60_000))
        assert refused(client.post("/slow", content=bomb, headers=zipped))
        assert service.in_hand.bytes == 60_000
        service.answer()
        assert waiting.result().text == "60000"
    until(lambda: service.in_hand.bytes == 0)
