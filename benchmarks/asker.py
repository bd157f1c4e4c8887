"""The load of the authorize benchmark, in a process of its own: `python -m benchmarks.asker ...`.

Arrivals are open-loop: the n-th question is due at n / rate whatever became of those before it, and
its latency counts from when it was due, so that waiting counts. `kafka` asks over the topics and
reads the decisions read_committed, `http` asks the gateway, `postgres` and `redis` ask the peers
over as many connections as `benchmarks/peers.py` says. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import queue
import sys
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
from confluent_kafka import TopicPartition

from benchmarks import peers
from benchmarks.load import customer, now_text
from benchmarks.world import PARTITIONS
from drawdown.demo import traffic
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster

WAIT_S = 10.0
"""A question that is not answered so long after the last one was asked is lost."""
LEAD_S = 0.5
SETTLING_S = 1.0
"""Of each run's beginning, left out: connections and caches fill. A pile has no beginning."""


def question(told: argparse.Namespace, number: int) -> tuple[str, dict[str, object]]:
    """Who asks, and what: a hold for one request to a model."""
    name = customer(told.first + number * 7919 % told.customers)
    return name, {
        "id": f"{told.run}-{number}",
        "customer": name,
        "meter": traffic.EVENT_TYPE,
        "dimensions": {"model": "gpt-5", "feature": "chat", **told.dimensions},
        "estimate": {"quantities": {"input": 2000, "output": 500}},
        "require": "hold",
    }


def arrivals(start: float, rate: float, total: int) -> Iterator[range]:
    """Which questions are due, as time goes."""
    number = 0
    while number < total:
        due = max(number, min(int((time.monotonic() - start) * rate) + 1, total))
        yield range(number, due)
        number = due
        time.sleep(0.0005)


def latencies(start: float, rate: float, answered: Sequence[float]) -> list[float]:
    """Since each was due; of those that were answered, after the run's beginning."""
    return [
        at - (start + n / rate) for n, at in enumerate(answered) if at and n >= SETTLING_S * rate
    ]


def over_kafka(told: argparse.Namespace) -> list[float]:
    """Seconds each answer took; those without one are left out."""
    cluster = KafkaCluster(told.bootstrap)
    producer = cluster.producer(kafka.plain_producer())
    consumer = cluster.consumer(kafka.reader())
    ends = []
    for number in range(PARTITIONS):
        where = TopicPartition(told.answers, number)
        _, end = consumer.get_watermark_offsets(where, 10, cached=False)
        ends.append(TopicPartition(told.answers, number, end))
    consumer.assign(ends)
    total = told.pile or int(told.seconds * told.rate)
    me, answered = told.run.encode(), array("d", bytes(8 * total))
    left, done = total, threading.Event()

    def follow() -> None:
        nonlocal left
        while left and not done.is_set():
            first = consumer.poll(0.1)
            if first is None:
                continue
            messages = [first, *consumer.consume(500, 0)]
            now = time.monotonic()
            for message in messages:
                headers = dict(message.headers() or ()) if message.error() is None else {}
                if headers.get("reply_to") == me:
                    answered[int(headers["attempt_id"])] = now
                    left -= 1
        done.set()

    follower = threading.Thread(target=follow, name="answers")
    follower.start()
    start = time.monotonic() + (0.0 if told.pile else LEAD_S)
    for due in [range(total)] if told.pile else arrivals(start, told.rate, total):
        for asked in due:
            name, content = question(told, asked)
            content |= {"type": "authorize", "time": now_text()}
            headers = [("reply_to", me), ("attempt_id", b"%d" % asked)]
            value = json.dumps(content).encode()
            producer.produce(told.questions, value, name.encode(), headers=headers)
            if told.pile:
                producer.poll(0)
        producer.poll(0)
    producer.flush(30)
    done.wait(WAIT_S)
    done.set()
    follower.join()
    consumer.close()
    if told.pile:
        told.took_s = max(answered) - start
        return [at - start for at in answered if at]
    return latencies(start, told.rate, answered)


async def over_http(told: argparse.Namespace) -> list[float]:
    """The same, through the gateway."""
    total = int(told.seconds * told.rate)
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    headers = {"Authorization": f"Bearer {told.key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        start = time.monotonic() + LEAD_S

        async def ask(number: int) -> None:
            _, content = question(told, number)
            timeout = aiohttp.ClientTimeout(WAIT_S)
            try:
                async with session.post(
                    f"{told.gateway}/v1/authorizations", data=json.dumps(content), timeout=timeout
                ) as answer:
                    await answer.read()
                    well = answer.status == 201
            except (aiohttp.ClientError, TimeoutError):
                well = False
            if well and number >= SETTLING_S * told.rate:
                took.append(time.monotonic() - (start + number / told.rate))

        async with asyncio.TaskGroup() as asked:
            for number in itertools.takewhile(lambda n: n < total, itertools.count()):
                await asyncio.sleep(max(0.0, start + number / told.rate - time.monotonic()))
                asked.create_task(ask(number))
    return took


def over_peer(told: argparse.Namespace) -> list[float]:
    """The same of a peer; a question waits until a connection is free."""
    total = int(told.seconds * told.rate)
    answered = array("d", bytes(8 * total))
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def work(client: peers.Client) -> None:
        while (number := waiting.get()) is not None:
            if client.hold(f"{told.run}-{number}", customer(number * 7919 % told.customers)):
                answered[number] = time.monotonic()

    clients = [peers.CLIENTS[told.what](told.socket) for _ in range(peers.CONNECTIONS)]
    workers = [threading.Thread(target=work, args=(client,), daemon=True) for client in clients]
    for worker in workers:
        worker.start()
    start = time.monotonic() + LEAD_S
    for due in arrivals(start, told.rate, total):
        for number in due:
            waiting.put(number)
    for _ in workers:
        waiting.put(None)
    end = time.monotonic() + WAIT_S
    for worker in workers:
        worker.join(max(0.0, end - time.monotonic()))
    return latencies(start, told.rate, answered[:])


def main() -> int:
    """Parse, ask, and say how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("kafka", "http", *peers.CLIENTS))
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--questions", default="")
    parser.add_argument("--answers", default="")
    parser.add_argument("--gateway", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--socket", type=Path, help="the folder of a peer's socket")
    parser.add_argument("--run", required=True, help="names the run; its questions' ids begin so")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--pile", type=int, default=0, help="over kafka: so many at once, instead")
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first customer")
    parser.add_argument("--dimensions", type=json.loads, default={}, help="more of them, as JSON")
    told = parser.parse_args()
    told.took_s = None
    if told.seconds <= SETTLING_S:
        parser.error(f"--seconds: more than {SETTLING_S:g}")
    if told.what == "kafka":
        took = over_kafka(told)
    elif told.what == "http":
        took = asyncio.run(over_http(told))
    else:
        took = over_peer(told)
    counted = told.pile or int(told.seconds * told.rate) - int(SETTLING_S * told.rate)
    said = {"seconds": took, "lost": counted - len(took), "took_s": told.took_s}
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
