"""The load of the authorize benchmark, in a process of its own: `python -m benchmarks.asker ...`.

Arrivals are open-loop: the n-th question is due at n / rate whatever became of those before it, and
its latency counts from when it was due, so that waiting counts. `kafka` asks over the topics and
reads the decisions read_committed, `http` asks the gateway. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import threading
import time
from array import array

import aiohttp
from confluent_kafka import TopicPartition

from benchmarks.load import customer, now_text
from benchmarks.world import PARTITIONS
from drawdown.demo import traffic
from drawdown.stream import kafka
from drawdown.stream.kafka import KafkaCluster

WAIT_S = 10.0
"""A question that is not answered so long after the last one was asked is lost."""
LEAD_S = 0.5
SETTLING_S = 1.0
"""Of each run's beginning, left out: connections and caches fill."""


def question(run: str, number: int, customers: int) -> tuple[str, dict[str, object]]:
    """Who asks, and what: a hold for one request to a model."""
    name = customer(number * 7919 % customers)
    return name, {
        "id": f"{run}-{number}",
        "customer": name,
        "meter": traffic.EVENT_TYPE,
        "dimensions": {"model": "gpt-5", "feature": "chat"},
        "estimate": {"quantities": {"input": 2000, "output": 500}},
        "require": "hold",
    }


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
    total = int(told.seconds * told.rate)
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
    start, number = time.monotonic() + LEAD_S, 0
    while number < total:
        due = min(int((time.monotonic() - start) * told.rate) + 1, total)
        for asked in range(number, max(number, due)):
            name, content = question(told.run, asked, told.customers)
            content |= {"type": "authorize", "time": now_text()}
            headers = [("reply_to", me), ("attempt_id", b"%d" % asked)]
            value = json.dumps(content).encode()
            producer.produce(told.questions, value, name.encode(), headers=headers)
        number = max(number, due)
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush(30)
    done.wait(WAIT_S)
    done.set()
    follower.join()
    consumer.close()
    return [
        at - (start + n / told.rate)
        for n, at in enumerate(answered)
        if at and n >= SETTLING_S * told.rate
    ]


async def over_http(told: argparse.Namespace) -> list[float]:
    """The same, through the gateway."""
    total = int(told.seconds * told.rate)
    took: list[float] = []
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    headers = {"Authorization": f"Bearer {told.key}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        start = time.monotonic() + LEAD_S

        async def ask(number: int) -> None:
            _, content = question(told.run, number, told.customers)
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


def main() -> int:
    """Parse, ask, and say how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("kafka", "http"))
    parser.add_argument("--bootstrap", default="")
    parser.add_argument("--questions", default="")
    parser.add_argument("--answers", default="")
    parser.add_argument("--gateway", default="")
    parser.add_argument("--key", default="")
    parser.add_argument("--run", required=True, help="names the run; its questions' ids begin so")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--customers", type=int, required=True)
    told = parser.parse_args()
    if told.seconds <= SETTLING_S:
        parser.error(f"--seconds: more than {SETTLING_S:g}")
    took = over_kafka(told) if told.what == "kafka" else asyncio.run(over_http(told))
    counted = int(told.seconds * told.rate) - int(SETTLING_S * told.rate)
    print(json.dumps({"seconds": took, "lost": counted - len(took)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
