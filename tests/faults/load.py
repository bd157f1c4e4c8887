"""The load of a campaign: a program of its own, which writes down what it asked and was told.

    python load.py CONFIG.json

Usage follows the sizes of the Azure trace, straight to Kafka; 10 % of it is sent again 1 to 5
times, soon or much later, and 1 % of what is sent is poison. Agents ask two gateways, hold, and
capture, release, or let expire; what is not answered they ask again under the same id, at the other
one, as long as their patience lasts. It imports nothing of Drawdown.

It is told what to do besides by JSON lines on stdin and answers each by one line on stdout. Its
history is JSON lines: one per usage event, poison and call, each with its outcome - `ok`, `failed`
(refused, so it cannot have happened) or `unknown`.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import itertools
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from confluent_kafka import KafkaError, Message, Producer

ASK_S = 2.0
"""How long a client lets a gateway wait."""
LATE_S = 3.0
"""An answer may come that much after it, on a machine that does everything at once."""
LATENESS = timedelta(days=35)
RESENT_SHARE, POISON_SHARE = 0.1, 0.01
RACE_HOLD_S = 86_400
"""Of a race's holds: none expires in a campaign, so that what is made is what is held at once. Who
got no answer asks again in the end."""
RACES_AT_ONCE = 6
"""While nobody answers, no more are begun."""


def text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Load:
    """All of it; `run` returns when it is told to stop and everything is written down."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.random = random.Random(config["seed"])
        self.prefix = config["environment"]
        with Path(config["trace"]).open(encoding="utf-8") as file:
            self.trace = [
                (int(row["ContextTokens"]), int(row["GeneratedTokens"]))
                for row in csv.DictReader(file)
            ]
        self.history = Path(config["history"]).open("a", encoding="utf-8")  # noqa: SIM115
        self.producer = Producer(
            {
                "bootstrap.servers": config["bootstrap"],
                "client.id": "load",
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "message.timeout.ms": 600_000,
                "reconnect.backoff.max.ms": 1000,
                "message.max.bytes": 12 << 20,
            }
        )
        self.numbers = itertools.count(1)
        self.run_id = config["run"]
        self.going = asyncio.Event()
        self.stopping = False
        self.again: list[tuple[float, str, bytes]] = []
        """Usage to be sent again, when: (time, customer, value)."""
        self.unsure: list[Callable[[], Any]] = []
        """Calls whose outcome is not known, to be asked again in the end."""
        self.count = dict.fromkeys(
            ("usage", "resends", "poison", "calls", "unknown", "slow", "refused", "races"), 0
        )
        self.video: list[tuple[str, bytes]] = []

    def write(self, **line: Any) -> None:
        self.history.write(json.dumps(line) + "\n")
        self.history.flush()

    def customer(self) -> str:
        return f"c-{self.random.randrange(self.config['customers'])}"

    # usage, straight to Kafka

    def send(
        self, customer: str, value: bytes, line: dict[str, Any], partition: int = -1, key: Any = 0
    ) -> None:
        """Hand a record to the client; its outcome is written when the broker has told it."""

        def told(error: KafkaError | None, message: Message) -> None:
            where = {} if error else {"partition": message.partition(), "offset": message.offset()}
            self.write(**line, outcome="unknown" if error else "ok", **where)

        topic = f"{self.prefix}.usage-events"
        who = customer.encode() if key == 0 else key
        while True:
            try:
                self.producer.produce(topic, value, who, partition, on_delivery=told)
            except BufferError:
                self.producer.poll(0.05)
            else:
                break

    def event(self, customer: str, at: datetime, kind: str = "llm.completion") -> dict[str, Any]:
        number = next(self.numbers)
        given, made = self.trace[number % len(self.trace)]
        data: dict[str, Any] = {"model": "gpt-5", "input": given, "output": made}
        if kind == "video.render":
            data = {"seconds": 1 + number % 60}
        return {
            "specversion": "1.0",
            "id": f"{self.run_id}-e{number}",
            "source": "faults",
            "type": kind,
            "subject": customer,
            "time": text(at),
            "data": data,
        }

    def use(self, event: dict[str, Any], again: int = 0, *, late: bool = False) -> None:
        """Send an event, and have it sent again so many times; `late`: beyond the window."""
        customer, value = event["subject"], json.dumps(event).encode()
        line = {"k": "late" if late else "usage", **{n: event[n] for n in ("id", "time", "data")}}
        self.send(customer, value, {**line, "c": customer, "type": event["type"]})
        self.count["usage"] += 1
        now = time.monotonic()
        for _ in range(again):
            wait_s = self.random.choice((0.0, 0.2, 3.0, 15.0, 60.0))
            self.again.append((now + wait_s, customer, value))

    def resend(self, everything: bool) -> None:
        now = time.monotonic()
        due = [item for item in self.again if everything or item[0] <= now]
        self.again = [item for item in self.again if not everything and item[0] > now]
        for _, customer, value in due:
            id = json.loads(value)["id"]
            self.send(customer, value, {"k": "resent", "id": id, "c": customer})
            self.count["resends"] += 1

    def poison(self) -> None:
        number = next(self.numbers)
        customer = self.customer()
        event = self.event(customer, datetime.now(UTC))
        kind, value, key = poisoned(self.random, event, number)
        line = {"k": "poison", "kind": kind, "sha": hashlib.sha256(value).hexdigest(), "n": number}
        named = customer.encode() if key == 0 else key
        line["key"] = None if named is None else named.hex()
        self.send(customer, value, line, key=key)
        self.count["poison"] += 1

    async def flow(self) -> None:
        """Usage at the trace's sizes, `rate` a second."""
        began, sent = time.monotonic(), 0
        while not self.stopping:
            due = int((time.monotonic() - began) * self.config["rate"])
            now = datetime.now(UTC)
            for _ in range(min(due - sent, 500)):
                draw = self.random.random()
                if draw < POISON_SHARE:
                    self.poison()
                    continue
                at, late = now, False
                if draw < 0.02:
                    at -= LATENESS - timedelta(hours=1)
                elif draw < 0.025:
                    at, late = at - LATENESS - timedelta(hours=1), True
                repeated = not late and self.random.random() < RESENT_SHARE
                again = self.random.randint(1, 5) if repeated else 0
                self.use(self.event(self.customer(), at), again, late=late)
                if draw > 0.997 and len(self.video) < 200:
                    self.unknown_meter(now)
            sent = due
            self.resend(False)
            self.producer.poll(0)
            await asyncio.sleep(0.01)

    def unknown_meter(self, now: datetime) -> None:
        """Usage that no meter of the first book counts: a dead letter, to be sent again later."""
        event = self.event(self.customer(), now, "video.render")
        value = json.dumps(event).encode()
        sha = hashlib.sha256(value).hexdigest()
        who = event["subject"]
        line = {"k": "early", "id": event["id"], "c": who, "sha": sha, "key": who.encode().hex()}
        if not self.config.get("knows_video"):
            self.send(who, value, line)
            self.video.append((who, value))

    def redrive(self) -> int:
        """Send what nobody knew again, twice, now that the book knows it: it counts once. The
        event's own time is moved: a book is in effect from its own time on."""
        for _, value in self.video:
            event = json.loads(value)
            event["time"] = text(datetime.now(UTC))
            self.use(event, again=1)
        return len(self.video)

    # calls

    async def ask(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: dict[str, Any],
        first: int | None = None,
        patience_s: float = 30.0,
    ) -> tuple[int, dict[str, Any]]:
        """Ask until answered or out of patience; status 0 when nobody said."""
        payload = json.dumps(body)
        began = time.monotonic()
        start = self.random.randrange(2) if first is None else first
        self.count["calls"] += 1
        for tries in itertools.count(start):
            url = self.config["gateways"][tries % 2] + path
            asked = time.monotonic()
            try:
                async with session.post(url, data=payload) as answer:
                    said: dict[str, Any] = await answer.json(content_type=None)
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError, ValueError):
                status, said = 0, {}
            took = time.monotonic() - asked
            if status == 503:
                self.count["refused"] += 1
            if took > ASK_S + 1.0:
                self.count["slow"] += 1
            if status not in (0, 429, 500, 502, 503):
                return status, said
            if self.stopping or time.monotonic() - began > patience_s:
                self.count["unknown"] += 1
                return 0, {}
            await asyncio.sleep(self.random.uniform(0.2, 1.0))
        raise AssertionError("count ends never")

    async def grant(
        self, session: aiohttp.ClientSession, who: str, asset: str, amount: str
    ) -> None:
        body = {"id": f"{self.run_id}-g{next(self.numbers)}", "asset": asset, "amount": amount}
        if asset != "USD":
            body["cost_basis"] = "0.01"
        await self.call(session, "grant", who, f"/v1/customers/{who}/grants", body)

    async def call(
        self,
        session: aiohttp.ClientSession,
        op: str,
        who: str,
        path: str,
        body: dict[str, Any],
        **more: Any,
    ) -> dict[str, Any]:
        """A call with its line in the history; the decision, or nothing."""
        status, said = await self.ask(session, path, body)
        line = {"k": "call", "op": op, "c": who, "id": body["id"], **more}
        if status == 0:
            self.write(**line, outcome="unknown")
            self.unsure.append(lambda: (op, who, path, body, more))
            return {}
        ok = status in (200, 201)
        self.write(**line, outcome="ok" if ok else "failed", status=status, said=said)
        return said if ok else {}

    async def authorize(
        self, session: aiohttp.ClientSession, who: str, id: str, life_s: int, **more: Any
    ) -> dict[str, Any]:
        body = {
            "id": id,
            "customer": who,
            "meter": "responses",
            "estimate": {"quantities": {"responses": 1}},
            "require": "hold",
            "hold": {"expires_in_s": life_s},
        }
        return await self.call(session, "authorize", who, "/v1/authorizations", body, **more)

    async def agent(self, session: aiohttp.ClientSession, number: int) -> None:
        """Asks before it runs, runs, and says what it was."""
        chance = random.Random(self.config["seed"] * 1000 + number)
        while not self.stopping:
            await asyncio.sleep(chance.expovariate(1.0) * self.config["agent_pause_s"])
            who = f"c-{chance.randrange(self.config['customers'])}"
            id = f"{self.run_id}-r{next(self.numbers)}"
            fate = chance.random()
            life_s = chance.randint(1, 6) if fate < 0.15 else 600
            said = await self.authorize(session, who, id, life_s)
            if not said.get("allowed"):
                if said.get("reason") in ("insufficient_balance", "unknown_customer"):
                    await self.grant(session, who, "credit", str(12 * chance.randint(1, 20)))
                continue
            if fate < 0.15:
                continue  # forgotten: it expires
            await asyncio.sleep(0.05)
            if fate < 0.3:
                body = {"id": f"{id}/release", "customer": who, "reason": "no"}
                await self.call(session, "release", who, f"/v1/holds/{id}/release", body)
            else:
                body = {"id": f"{id}/capture", "customer": who, "quantities": {"responses": 1}}
                await self.call(session, "capture", who, f"/v1/holds/{id}/capture", body)

    async def races(self, session: aiohttp.ClientSession, rounds: int, every_s: float) -> None:
        """Rounds of a race, one begun so often, whatever becomes of the others meanwhile."""
        running: set[asyncio.Task[None]] = set()
        while self.count["races"] < rounds and not self.stopping:
            if len(running) < RACES_AT_ONCE:
                running.add(asyncio.create_task(self.race(session)))
            await asyncio.sleep(every_s)
            running = {task for task in running if not task.done()}
        await asyncio.gather(*running)

    async def race(self, session: aiohttp.ClientSession) -> None:
        """64 clients for a balance that is worth fewer requests."""
        number = next(self.numbers)
        who, worth = f"race-{self.run_id}-{number}", self.random.randint(1, 63)
        body = {
            "id": f"{who}-grant",
            "asset": "credit",
            "amount": str(12 * worth),
            "cost_basis": "0.01",
        }
        said = await self.call(session, "grant", who, f"/v1/customers/{who}/grants", body)
        if not said:
            return
        told = await asyncio.gather(
            *(self.authorize(session, who, f"{who}-{n}", RACE_HOLD_S) for n in range(64))
        )
        whole = all(told)
        allowed = sum(bool(one.get("allowed")) for one in told)
        self.write(k="race", c=who, worth=worth, allowed=allowed, whole=whole)
        self.count["races"] += 1

    async def duplicates(self, session: aiohttp.ClientSession, groups: int, copies: int) -> int:
        """The same id from many at once at both gateways; then the same id with other content."""
        for _ in range(groups):
            who = f"dup-{self.run_id}-{next(self.numbers)}"
            await self.grant(session, who, "credit", "120")
            id = f"{who}-a"
            body = {
                "id": id,
                "customer": who,
                "meter": "responses",
                "estimate": {"quantities": {"responses": 1}},
                "require": "hold",
            }
            told = await asyncio.gather(
                *(self.ask(session, "/v1/authorizations", body, n) for n in range(copies))
            )
            other = {**body, "estimate": {"quantities": {"responses": 2}}}
            refused, _ = await self.ask(session, "/v1/authorizations", other)
            said = [
                [s, a.get("allowed"), a.get("sequence"), a.get("digest"), a.get("hold")]
                for s, a in told
            ]
            self.write(k="dup", c=who, id=id, said=said, other=refused)
        return groups * copies

    async def settle_unsure(self, session: aiohttp.ClientSession) -> int:
        """Ask again, under the same id, what nobody answered; twice at most."""
        todo, self.unsure = self.unsure, []
        for made in todo:
            op, who, path, body, more = made()
            await self.call(session, op, who, path, body, again=True, **more)
        return len(todo)

    # what it is told

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ASK_S + LATE_S)
        headers = {
            "Authorization": f"Bearer {self.config['key']}",
            "Request-Timeout": f"{ASK_S:g}",
            "Content-Type": "application/json",
        }
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        tasks: list[asyncio.Task[None]] = []
        async with aiohttp.ClientSession(
            headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            while line := await lines.readline():
                answer = await self.told(json.loads(line), session, tasks)
                print(json.dumps(answer), flush=True)

    async def told(
        self,
        line: dict[str, Any],
        session: aiohttp.ClientSession,
        tasks: list[asyncio.Task[None]],
    ) -> dict[str, Any]:
        match line["do"]:
            case "grants":
                for number in range(self.config["customers"]):
                    await self.grant(session, f"c-{number}", "USD", "500" if number % 4 else "0.5")
                    await self.grant(session, f"c-{number}", "credit", "1200")
            case "flow":
                tasks.append(asyncio.create_task(self.flow()))
                tasks += [
                    asyncio.create_task(self.agent(session, number))
                    for number in range(self.config["agents"])
                ]
            case "races":
                races = self.races(session, line["rounds"], line["every_s"])
                tasks.append(asyncio.create_task(races))
            case "duplicates":
                return {"did": await self.duplicates(session, line["groups"], line["copies"])}
            case "known":
                self.config["knows_video"] = True
            case "redrive":
                return {"did": self.redrive()}
            case "count":
                pass
            case "stop":
                self.stopping = True
                await asyncio.gather(*tasks)
                self.resend(True)
                left = await asyncio.to_thread(self.producer.flush, line.get("flush_s", 60.0))
                self.stopping = False
                asked = await self.settle_unsure(session)
                self.history.flush()
                return {**self.count, "left": left, "asked_again": asked}
            case other:
                return {"error": f"no {other!r}"}
        return dict(self.count)


POISONS = (
    *("bad json", "unknown type", "negative", "NaN", "1e400", "missing key", "key not subject"),
    *("deep nesting", "NUL", "lone surrogate", "10 MB", "not an object", "missing field"),
)


def poisoned(chance: random.Random, event: dict[str, Any], number: int) -> tuple[str, bytes, Any]:
    """A kind, a value that is no usage, and its key (0: as it should be)."""
    kind = POISONS[number % len(POISONS)]
    if kind == "10 MB" and chance.random() < 0.8:
        kind = "bad json"  # they are heavy: a few will do
    good = json.dumps(event)
    data = event["data"]
    match kind:
        case "bad json":
            return kind, good[:-1].encode(), 0
        case "unknown type":
            return kind, json.dumps({**event, "type": "nobody.knows"}).encode(), 0
        case "negative":
            return kind, json.dumps({**event, "data": {**data, "input": -1}}).encode(), 0
        case "NaN":
            return kind, json.dumps({**event, "data": {**data, "input": float("nan")}}).encode(), 0
        case "1e400":
            return kind, good.replace(f'"input": {data["input"]}', '"input": 1e400').encode(), 0
        case "missing key":
            return kind, good.encode(), None
        case "key not subject":
            return kind, good.encode(), b"somebody-else"
        case "deep nesting":
            deep = "[" * 5000 + "]" * 5000
            return kind, f'{good[:-1]},"x":{deep}}}'.encode(), 0
        case "NUL":
            return kind, json.dumps({**event, "id": f"nul\x00{number}"}).encode(), 0
        case "lone surrogate":
            return kind, good.replace(f'"id": "{event["id"]}"', '"id": "\\ud800"').encode(), 0
        case "10 MB":
            return kind, json.dumps({**event, "pad": "x" * (10 << 20)}).encode(), 0
        case "not an object":
            return kind, f"[{number}]".encode(), 0
        case _:
            return kind, json.dumps({**event, "id": None}).encode(), 0


if __name__ == "__main__":
    asyncio.run(Load(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run())
