"""What the client does where there is no answer: the same question again, and an end to it.

The gateway here is a function; `test_runs.py` has the real one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest

import drawdown.client
from drawdown.client import (
    AccessError,
    Amount,
    AsyncClient,
    Client,
    ConflictError,
    Denied,
    DrawdownError,
    HoldGoneError,
    RefusedError,
    UnavailableError,
)

DIGEST = "0" * 64
Handler = Callable[[httpx.Request], httpx.Response]


def decision(allowed: bool = True, **more: Any) -> httpx.Response:
    said = {
        "kind": "authorization",
        "id": "run-1",
        "customer": "acme",
        "command": "authorize",
        "at": "2026-11-03T09:30:00Z",
        "allowed": allowed,
        "reason": "ok",
        "sequence": 1,
        "digest": DIGEST,
        **more,
    }
    return httpx.Response(200, json=said)


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"status": status, "code": code, "detail": "words", "field": None}
    return httpx.Response(status, json=body, headers=headers)


class Gateway:
    """Answers in turn what it is given; what is left last, for ever."""

    def __init__(self, *answers: httpx.Response | type[Exception]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, bytes]] = []
        self.headers: list[httpx.Headers] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.raw_path.decode(), request.content))
        self.headers.append(request.headers)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.Response):
            return httpx.Response(
                answer.status_code, content=answer.content, headers=answer.headers
            )
        raise answer("no")

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@contextmanager
def client_of(gateway: Handler, patience_s: float = 5.0) -> Iterator[Client]:
    transport = httpx.MockTransport(gateway)
    with Client("http://gateway", "drw_sk_x", patience_s=patience_s, transport=transport) as client:
        yield client


@pytest.mark.parametrize(
    "first",
    [problem(503, "no_decision"), problem(429, "busy"), httpx.ConnectError, httpx.ReadTimeout],
)
def test_without_an_answer_the_very_same_is_asked_again(
    first: httpx.Response | type[Exception],
) -> None:
    gateway = Gateway(first, first, decision())
    with client_of(gateway) as client:
        client.charge("acme", "llm", id="run-1", estimate={"output": 5})
    assert len(gateway.asked) == 3
    assert len(set(gateway.asked)) == 1
    assert gateway.headers[0]["authorization"] == "Bearer drw_sk_x"
    assert gateway.headers[0]["request-timeout"] == "5"


def test_patience_has_an_end() -> None:
    gateway = Gateway(problem(503, "no_decision"))
    began = time.monotonic()
    with client_of(gateway, patience_s=0.5) as client, pytest.raises(UnavailableError):
        client.grant("acme", Amount("5"), id="g-1")
    assert time.monotonic() - began < 1.5
    assert 2 <= len(gateway.asked) <= 20


def test_it_waits_as_long_as_it_is_told_to() -> None:
    gateway = Gateway(problem(429, "busy", **{"Retry-After": "1"}), decision())
    began = time.monotonic()
    with client_of(gateway) as client:
        client.grant("acme", Amount("5"), id="g-1")
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(400, "invalid"), RefusedError),
        (problem(401, "unauthenticated"), AccessError),
        (problem(403, "forbidden"), AccessError),
        (problem(422, "conflict"), ConflictError),
        (problem(409, "hold_closed"), HoldGoneError),
        (problem(404, "hold_unknown"), HoldGoneError),
        (problem(409, "too_many_grants"), RefusedError),
        (httpx.Response(500, text="<html>"), RefusedError),
    ],
)
def test_what_is_refused_is_not_asked_again(
    answer: httpx.Response, error: type[RefusedError]
) -> None:
    gateway = Gateway(answer)
    with client_of(gateway) as client, pytest.raises(error) as raised:
        client.grant("acme", Amount("5"), id="g-1")
    assert type(raised.value) is error
    assert raised.value.status == answer.status_code
    assert len(gateway.asked) == 1


def test_every_error_is_of_one_tree_and_exported() -> None:
    assert sorted(drawdown.client.__all__) == drawdown.client.__all__
    for name in drawdown.client.__all__:
        part = getattr(drawdown.client, name)
        if isinstance(part, type) and issubclass(part, Exception):
            assert issubclass(part, DrawdownError)


def test_a_denial_says_why_and_how_much_is_missing() -> None:
    denied = {"asset": "USD", "reason": "insufficient_balance", "shortfall": "0.5"}
    gateway = Gateway(decision(allowed=False, **denied))
    with (
        client_of(gateway) as client,
        pytest.raises(Denied) as raised,
        client.authorize("acme", "llm", id="run-1", estimate={"output": 5}),
    ):
        pytest.fail("it must not run")
    assert (raised.value.reason, raised.value.shortfall) == ("insufficient_balance", "0.5")
    assert gateway.paths() == ["/v1/authorizations"]


def test_ids_are_derived_and_quantities_exact() -> None:
    gateway = Gateway(decision())
    with (
        client_of(gateway) as client,
        client.authorize("a/b", "llm", id="r.1", estimate={"output": Decimal("2.50")}) as run,
    ):
        run.capture({"output": Decimal("0.10")}, final=False)
        run.capture({"output": 2})
    assert gateway.paths() == [
        "/v1/authorizations",
        "/v1/holds/r%2E1/capture",
        "/v1/holds/r%2E1/capture",
    ]
    asked = [json.loads(body) for _, body in gateway.asked]
    assert asked[0] == {
        "id": "r.1",
        "customer": "a/b",
        "meter": "llm",
        "require": "hold",
        "estimate": {"quantities": {"output": "2.5"}},
    }
    assert [(each["id"], each["final"], each["quantities"]) for each in asked[1:]] == [
        ("r.1/capture-0", False, {"output": "0.1"}),
        ("r.1/capture", True, {"output": 2}),
    ]


def test_a_float_is_no_quantity() -> None:
    with client_of(Gateway(decision())) as client:
        with pytest.raises(TypeError):
            client.authorize("acme", "llm", estimate={"output": 0.1})  # type: ignore[dict-item]
        with pytest.raises(TypeError):
            client.events([{"id": "1", "type": "t", "customer": "c", "data": {"n": 0.1}}])


def test_a_capture_without_an_answer_is_repeated_as_it_was() -> None:
    """It may have been done: another content under its id would be a conflict."""
    gateway = Gateway(decision(), httpx.ReadTimeout, httpx.ReadTimeout)
    with (
        client_of(gateway, patience_s=0.0) as client,
        client.authorize("acme", "llm", id="run-1", estimate={"output": 9}) as run,
    ):
        run.used(output=2)
        with pytest.raises(UnavailableError):
            run.capture(final=False)
        run.used(output=3)
        with pytest.raises(ValueError, match="not answered"):
            run.capture({"output": 4})
        gateway.answers = [decision()]
        run.capture(final=False)
        run.capture()
    captures = [json.loads(body) for path, body in gateway.asked if "capture" in path]
    assert [(each["id"], each["quantities"]) for each in captures] == [
        ("run-1/capture-0", {"output": "2"}),
        ("run-1/capture-0", {"output": "2"}),
        ("run-1/capture", {"output": "3"}),
    ]


def test_usage_whose_hold_is_gone_is_reported_as_an_event() -> None:
    report = {"accepted": 1, "rejected": [], "outcomes": [
        {"index": 0, "id": "run-1/capture", "decision": None}
    ]}  # fmt: skip
    gateway = Gateway(decision(), problem(409, "hold_expired"), httpx.Response(202, json=report))
    with (
        client_of(gateway) as client,
        client.authorize(
            "acme", "llm", id="run-1", dimensions={"model": "m"}, estimate={"o": 9}
        ) as run,
    ):
        assert run.capture({"o": 4}) is None
    assert gateway.paths()[1:] == ["/v1/holds/run-1/capture", "/v1/events?wait=decided"]
    (event,) = json.loads(gateway.asked[-1][1])
    assert event == {
        "source": "drawdown.client",
        "id": "run-1/capture",
        "type": "llm",
        "customer": "acme",
        "data": {"model": "m", "o": 4},
    }


def test_what_could_not_be_ended_is_noted_on_the_error_that_ended_it() -> None:
    gateway = Gateway(decision(), httpx.ConnectError)
    with (
        client_of(gateway, patience_s=0.0) as client,
        pytest.raises(RuntimeError) as raised,
        client.authorize("acme", "llm", id="run-1", estimate={"output": 9}),
    ):
        raise RuntimeError("the model broke")
    assert "run-1 could not be ended" in raised.value.__notes__[0]


def test_cancelled_while_asking_gives_back_what_may_have_been_held() -> None:
    asked: list[str] = []

    async def slow(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/v1/authorizations":
            await asyncio.sleep(30)
        return decision()

    async def main() -> None:
        transport = httpx.MockTransport(slow)
        async with AsyncClient("http://gateway", "k", transport=transport) as client:

            async def run() -> None:
                async with client.authorize("acme", "llm", id="run-1", estimate={"output": 1}):
                    pytest.fail("it must not run")

            task = asyncio.create_task(run())
            while not asked:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert asked == ["/v1/authorizations", "/v1/holds/run-1/release"]
