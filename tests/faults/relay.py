"""A relay between a broker and its clients, in a process of its own, that can be told to hurt.

    python relay.py LISTEN_PORT BROKER_PORT

It reads the clients' requests as Kafka frames them, so that it knows of each connection whose it is
(the client id) and of each request what it asks (its API key): a fault may take one connection, or
one request of one connection, and leave all others alone. Rules come as JSON lines on stdin, each
answered by one line on stdout:

    {"do": "delay", "client": "settlement-0", "ms": 200}    each way, in order, from now on
    {"do": "hold", "client": "settlement-0", "api": 26, "ms": 5000}   the next such request, once
    {"do": "stall", "client": "..."}                        nothing passes, connections stay open
    {"do": "cut", "client": "..."}                          connections are reset; new ones may come
    {"do": "refuse", "client": "..."}                       and new ones are reset as well
    {"do": "heal"}                                          no rules any more; what was held goes on
    {"do": "count"}                                         what was done so far

`client` is the beginning of a client id; empty takes everybody. What a client sent before it went
away is still delivered to the broker, late: that is what a slow network does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

END_TXN = 26
FRAME_BYTES_MAX = 64 << 20


@dataclass
class Rules:
    """What is done to whom."""

    delays: dict[str, float] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    held: list[dict[str, Any]] = field(default_factory=list)
    healed: asyncio.Event = field(default_factory=asyncio.Event)
    done: Counter[str] = field(default_factory=Counter)

    def delay_s(self, client: str) -> float:
        """The longest that applies."""
        return max((s for name, s in self.delays.items() if client.startswith(name)), default=0.0)

    def hits(self, names: set[str], client: str) -> bool:
        return any(client.startswith(name) for name in names)

    def hold_s(self, client: str, api: int) -> float:
        """How long this request is held; the rule is used up by it."""
        for rule in self.held:
            if client.startswith(rule["client"]) and api == rule["api"]:
                self.held.remove(rule)
                self.done["held"] += 1
                return float(rule["ms"]) / 1000
        return 0.0


class Connection:
    """One client's connection and ours to the broker."""

    def __init__(self, rules: Rules, client: tuple[Any, Any], broker: tuple[Any, Any]) -> None:
        self._rules = rules
        self._from_client, self._to_client = client
        self._from_broker, self._to_broker = broker
        self.client = ""
        """Its client id, known from its first request."""

    async def run(self) -> None:
        """Until both sides are done. What was taken from one side is delivered to the other."""
        await asyncio.gather(
            self._pump(self._requests, self._to_broker), self._pump(self._answers, self._to_client)
        )

    def cut(self) -> None:
        """Reset both sides."""
        for writer in (self._to_client, self._to_broker):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _pump(self, source: Any, writer: asyncio.StreamWriter) -> None:
        """What comes from `source` goes out in order, each when it is due."""
        waiting: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        reading = asyncio.create_task(source(waiting))
        loop = asyncio.get_running_loop()
        try:
            while (item := await waiting.get()) is not None:
                due, data = item
                await asyncio.sleep(max(0.0, due - loop.time()))
                while self._rules.hits(self._rules.stalled, self.client):
                    await self._rules.healed.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            reading.cancel()
        finally:
            await asyncio.gather(reading, return_exceptions=True)
            if not writer.transport.is_closing():
                writer.close()

    async def _requests(self, waiting: asyncio.Queue[tuple[float, bytes] | None]) -> None:
        """Frames of the client: length, then api key, version, correlation, client id."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                head = await self._from_client.readexactly(4)
                (size,) = struct.unpack(">i", head)
                if not 8 <= size <= FRAME_BYTES_MAX:
                    return
                body = await self._from_client.readexactly(size)
                api, _, _, length = struct.unpack_from(">hhih", body)
                if not self.client and length > 0:
                    self.client = body[10 : 10 + length].decode("utf-8", "replace")
                if self._rules.hits(self._rules.refused, self.client):
                    self._rules.done["refused"] += 1
                    self.cut()
                    return
                wait_s = self._rules.delay_s(self.client) + self._rules.hold_s(self.client, api)
                self._rules.done["delayed"] += wait_s > 0
                waiting.put_nowait((loop.time() + wait_s, head + body))
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            waiting.put_nowait(None)

    async def _answers(self, waiting: asyncio.Queue[tuple[float, bytes] | None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await self._from_broker.read(1 << 16):
                waiting.put_nowait((loop.time() + self._rules.delay_s(self.client), data))
        except OSError:
            pass
        finally:
            waiting.put_nowait(None)


class Relay:
    """All connections, and the rules."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._connections: set[Connection] = set()
        self.rules = Rules()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            broker = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.transport.abort()
            return
        connection = Connection(self.rules, (reader, writer), broker)
        self._connections.add(connection)
        self.rules.done["connections"] += 1
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def told(self, rule: dict[str, Any]) -> dict[str, Any]:
        """Do what a line says."""
        rules, client = self.rules, rule.get("client", "")
        match rule["do"]:
            case "delay":
                rules.delays[client] = rule["ms"] / 1000
            case "hold":
                rules.held.append(rule)
            case "stall":
                rules.healed.clear()
                rules.stalled.add(client)
                rules.done["stalled"] += 1
            case "cut" | "refuse":
                if rule["do"] == "refuse":
                    rules.refused.add(client)
                for connection in [c for c in self._connections if c.client.startswith(client)]:
                    rules.done["cut"] += 1
                    connection.cut()
            case "heal":
                rules.delays.clear()
                rules.stalled.clear()
                rules.refused.clear()
                rules.held.clear()
                rules.healed.set()
            case "count":
                pass
            case other:
                return {"error": f"no {other!r}"}
        return dict(rules.done)


async def main(listen_port: int, broker_port: int) -> None:
    relay = Relay(broker_port)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", listen_port)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(json.dumps({"listens": server.sockets[0].getsockname()[1]}), flush=True)
    while line := await lines.readline():
        print(json.dumps(relay.told(json.loads(line))), flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
