"""Plays the trace as live traffic: authorize over HTTP, run, report usage on Kafka.

The demo is a customer of Drawdown here, and nothing more: it asks the gateway as any backend would,
and publishes usage with a producer of its own. A request that is denied runs after its customer has
bought a fixed top-up, so that all of the trace is used in the end.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from drawdown.demo.traffic import EVENT_TYPE, OUTPUT_ESTIMATE, TOP_UP, Request
from drawdown.demo.watch import Watch
from drawdown.events.base import at_text
from drawdown.events.codec import decode_any, encode
from drawdown.gateway.publisher import BusyError, Publisher
from drawdown.integrations.litellm import METER
from drawdown.stream.ports import Cluster, Headers

AT_ONCE: Final = 48
"""Authorizations in flight: what comes above waits, as with any client's pool."""
PATIENCE_S: Final = 60.0
"""How long one request is tried again while no decision can be had."""


class DemoError(Exception):
    """The demo cannot go on; one line."""


@dataclass
class Played:
    """What the player did so far."""

    authorized: int = 0
    denials: Counter[str] = field(default_factory=Counter)
    last_denial: str = ""
    retried: int = 0
    """Attempts that got no decision in time and were made again, with the same id."""
    grants: list[tuple[str, str]] = field(default_factory=list)
    """Customer and amount of every grant that was made, in order."""
    top_ups: int = 0
    decision_s: list[float] = field(default_factory=list)
    """Of each question to the gateway, once it was asked: what waits for one of the `AT_ONCE`
    connections is late, and shows in how long the play took."""
    holds: dict[str, str] = field(default_factory=dict)
    """By request: the hold its usage is captured from."""


class Player:
    """Plays requests against one gateway and one topic."""

    def __init__(
        self, cluster: Cluster, usage_topic: str, gateway: str, key: str, watch: Watch, run: str
    ) -> None:
        self.played = Played()
        self._topic = usage_topic
        self._watch = watch
        self._run = run
        self._publisher = Publisher(cluster)
        self._gateway = gateway
        self._key = key
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._buying: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Player:
        # aiohttp, because it takes a fifth of httpx's time for a request, and the player shares two
        # cores with what it plays to.
        self._client = aiohttp.ClientSession(
            self._gateway,
            headers={"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=None, sock_read=10.0, sock_connect=3.0),
            connector=aiohttp.TCPConnector(limit=AT_ONCE + 8),
        )
        self._publisher.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await self._publisher.stop()

    async def grant(
        self, customer: str, amount: str, category: str, name: str, *, proved: bool = True
    ) -> None:
        """Grant USD, once: `name` makes the id. Included value is sold with the plan, at par. The
        proof knows of the grants that are `proved`."""
        content = {
            "id": f"{self._run}-{name}",
            "asset": "USD",
            "amount": amount,
            "category": category,
            "cost_basis": "1",
        }
        await self._ask(f"/v1/customers/{customer}/grants", content, asyncio.Semaphore())
        if proved:
            self.played.grants.append((customer, amount))

    async def subscribe(self, customer: str, plan: str) -> None:
        """Subscribe to a plan, once. Raises DemoError."""
        id_ = f"{self._run}-subscribe-{customer}"
        content = {"id": id_, "plan": plan, "subscription_id": "main"}
        await self._ask(f"/v1/customers/{customer}/subscriptions", content, asyncio.Semaphore())

    async def play(self, requests: Sequence[Request], start_ms: int) -> None:
        """Play each request at its time, from `start_ms` on. Returns when all usage is published.

        Raises DemoError.
        """
        async with asyncio.TaskGroup() as group:
            for request in requests:
                wait_s = (start_ms + request.offset_ms) / 1000 - time.time()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(self._run_one(request, start_ms))

    async def flood(self, requests: Sequence[Request], start_ms: int, reply_to: str) -> None:
        """Publish the same events again, as fast as Kafka takes them."""
        headers: Headers = [("reply_to", reply_to.encode())]
        for first in range(0, len(requests), 1000):
            await asyncio.gather(
                *(self._publish(r, start_ms, headers) for r in requests[first : first + 1000])
            )

    async def _run_one(self, request: Request, start_ms: int) -> None:
        denied = 0
        estimate = {"input": request.input, "output": OUTPUT_ESTIMATE}
        more = {"require": "hold"} if request.held else {}
        buying = self._buying.setdefault(request.customer, asyncio.Lock())
        while True:
            async with buying:  # nobody asks while their top-up is on its way
                pass
            decision = await self.authorize(
                f"{request.id}-{denied}",
                request.customer,
                METER,
                request.dimensions,
                estimate,
                more,
            )
            if decision["allowed"]:
                break
            await self._top_up(request, decision)
            denied += 1
        self.played.authorized += 1
        if hold := decision.get("hold"):
            self.played.holds[request.id] = hold["id"]
        self._watch.sent[request.id] = time.monotonic()
        await self._publish(request, start_ms, [])

    async def authorize(
        self,
        name: str,
        customer: str,
        meter: str,
        dimensions: dict[str, str],
        quantities: dict[str, int],
        more: dict[str, str],
    ) -> dict[str, Any]:
        """The gateway's decision; `name` makes the id. Raises DemoError."""
        content = {
            "id": f"{self._run}-{name}",
            "customer": customer,
            "meter": meter,
            "dimensions": dimensions,
            "estimate": {"quantities": quantities},
            **more,
        }
        return await self._ask("/v1/authorizations", content)

    async def _top_up(self, request: Request, decision: dict[str, Any]) -> None:
        """Count the denial, and buy, unless another request of the customer is buying already."""
        played, customer = self.played, request.customer
        played.denials[decision["reason"]] += 1
        played.last_denial = (
            f"{customer} {request.feature}: {decision['reason']}, {decision.get('shortfall')} USD"
            " short"
        )
        lock = self._buying[customer]
        if lock.locked():
            async with lock:  # who is waited for buys for both
                return
        async with lock:
            played.top_ups += 1
            await self.grant(customer, TOP_UP, "paid", f"top-up-{played.top_ups}")

    async def _ask(
        self, path: str, content: dict[str, Any], turns: asyncio.Semaphore | None = None
    ) -> dict[str, Any]:
        """Ask until there is an answer: the same id gets the same decision, however often asked.
        Who has `turns` of its own does not wait for those of others: a payment goes first."""
        body, deadline = encode(content), time.monotonic() + PATIENCE_S
        while True:
            try:
                async with turns or self._turns:
                    began = time.monotonic()
                    async with self._client.post(path, data=body) as response:
                        status, answered = response.status, await response.read()
                    if turns is None:  # a payment is no authorization
                        self.played.decision_s.append(time.monotonic() - began)
            except (aiohttp.ClientConnectionError, TimeoutError) as error:
                status, answered = 503, (str(error) or type(error).__name__).encode()
            if status < 300:
                answer: dict[str, Any] = decode_any(answered)
                return answer
            if status not in (429, 503) or time.monotonic() > deadline:
                detail = answered[:200].decode("utf-8", "replace")
                raise DemoError(f"the gateway answered {status}: {detail}")
            self.played.retried += 1
            await asyncio.sleep(0.1)

    async def _publish(self, request: Request, start_ms: int, headers: Headers) -> None:
        data = {"input": request.input, "output": request.output, **request.dimensions}
        if hold := self.played.holds.get(request.id):
            data |= {"hold": hold, "final": True}
        await self.report(
            request.id,
            request.customer,
            EVENT_TYPE,
            data,
            start_ms + request.offset_ms,
            headers,
        )

    async def report(
        self,
        event_id: str,
        customer: str,
        event_type: str,
        data: dict[str, Any],
        at_ms: int | None,
        headers: Headers | None = None,
    ) -> None:
        """Publish one use; returns when the cluster has it. Without `at_ms` its arrival counts."""
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": event_id,
            "source": f"demo/{self._run}",
            "type": event_type,
            "subject": customer,
            "data": data,
        }
        if at_ms is not None:
            event["time"] = at_text(at_ms)
        value = encode(event)
        while True:
            try:
                sent = self._publisher.send(self._topic, customer.encode(), value, headers or [])
            except BusyError:
                await asyncio.sleep(0.01)
            else:
                await sent
                return
