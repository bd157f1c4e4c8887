"""The replica's figures: `python -m benchmarks limits`.

`follow` is the process that embeds a replica, and is what is measured; `write` puts wallets onto
`balances` as settlement would, each once or at a rate. A row that is written at a rate has as its
sequence when that was, in microseconds of CLOCK_MONOTONIC, which all processes share: so the
replica's process knows how old a row is when it can be read.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
from confluent_kafka import KafkaError, Message

from benchmarks.load import Sender, customer, now_text
from benchmarks.world import ENVIRONMENT, BenchmarkError, World, say
from drawdown.demo.watch import quantile_ms
from drawdown.events.catalogue import BALANCES
from drawdown.query import Replica
from drawdown.stream.kafka import KafkaCluster
from drawdown.stream.ports import DeliveryCallback

HERE: Final = Path(__file__).parent.parent
EVERY: Final = 100
"""One customer in so many is listened to."""
BURST: Final = 10
ASKED_ALONE: Final = 200_000
QUIET_S: Final = 3.0
LOOK_S: Final = 20.0
"""Longer than the log cleaner rests between two looks, which is 15 s."""
QUIET_SHARE: Final = 0.1
"""Of a core."""
FIRST_S: Final = 60.0
"""The writer has begun by then."""
READ_S: Final = 900.0


def measure(world: World, told: argparse.Namespace) -> dict[str, Any]:
    """The figures of a replica with `told.customers`, following `told.rate` changes a second."""
    shared = ("--bootstrap", world.bootstrap, "--customers", str(told.customers))
    say(f"{told.customers:,} wallets")
    _run("write", *shared).wait()
    follower = _run("follow", *shared, stdout=subprocess.PIPE, text=True)
    try:
        if not follower.stdout or not follower.stdout.readline():
            raise BenchmarkError("the replica has not read to the end")
        _await_quiet(world)
        rate = ("--rate", str(told.rate), "--seconds", str(told.seconds))
        writer = _run("write", *shared, *rate, stdout=subprocess.PIPE, text=True)
        written: dict[str, Any] = json.loads(writer.communicate()[0])
        said = follower.communicate(timeout=READ_S)[0]
    finally:
        follower.kill()
        follower.wait()
    if follower.returncode:
        raise BenchmarkError("the replica's process failed")
    found: dict[str, Any] = json.loads(said)
    return {"customers": told.customers, **written, **found}


def _await_quiet(world: World) -> None:
    """Wait until Kafka has compacted what was written first: that is no part of following."""
    spent = world.cpu_s()["kafka"]

    def quiet() -> bool:
        nonlocal spent
        time.sleep(LOOK_S)
        before, spent = spent, world.cpu_s()["kafka"]
        return spent - before < LOOK_S * QUIET_SHARE

    world.until(quiet, "Kafka at rest", READ_S)


def _run(what: str, *arguments: str, **options: Any) -> subprocess.Popen[Any]:
    command = [sys.executable, "-m", "benchmarks.replica", what, *arguments]
    return subprocess.Popen(command, cwd=HERE, **options)


# The process that embeds a replica


def follow(bootstrap: str, customers: int) -> None:
    """Read all, say so, follow while there are changes, ask meanwhile and after; print figures."""
    began = time.monotonic()
    cluster = KafkaCluster(bootstrap)
    with Replica(cluster, ENVIRONMENT, ready_timeout_s=READ_S) as replica:
        gc.freeze()
        read_s = time.monotonic() - began
        lags = array("d")
        for number in range(0, customers, EVERY):
            replica.listen(customer(number), _lag_of(replica, customer(number), lags))
        print("read", flush=True)
        busy = _ask_meanwhile(replica, customers, lags)
        alone = _ask(replica, customers, ASKED_ALONE)
        rss = psutil.Process().memory_info().rss
    if not lags:
        raise SystemExit("no change arrived")
    print(
        json.dumps(
            {
                "replica_microseconds": _us([each for burst in busy for each in burst], 0.5),
                "replica_microseconds_p99": _us([each for burst in busy for each in burst], 0.99),
                "replica_microseconds_first": _us([burst[0] for burst in busy], 0.5),
                "replica_microseconds_alone": _us(alone, 0.5),
                "replica_lag_ms_p50": quantile_ms(list(lags), 0.5),
                "replica_lag_ms_p99": quantile_ms(list(lags), 0.99),
                "replica_read_per_second": round(customers / read_s),
                "rss_mb": round(rss / 1e6, 1),
            }
        )
    )


def _lag_of(replica: Replica, name: str, lags: array[float]) -> Callable[[], None]:
    def told() -> None:
        balance = replica.balance(name)
        if balance is not None:
            lags.append(time.monotonic() - balance.sequence / 1e6)

    return told


def _ask_meanwhile(replica: Replica, customers: int, lags: array[float]) -> list[list[float]]:
    """Seconds that answers took, a burst about every millisecond, until changes come no more."""
    took: list[list[float]] = []
    heard, since = 0, time.monotonic()
    while time.monotonic() - since < (QUIET_S if heard else FIRST_S):
        if len(lags) > heard:
            heard, since = len(lags), time.monotonic()
        time.sleep(0.001)
        if heard:
            took.append(_ask(replica, customers, BURST))
    return took


def _ask(replica: Replica, customers: int, times: int) -> list[float]:
    names = [customer(random.randrange(customers)) for _ in range(times)]
    took = []
    for name in names:
        began = time.perf_counter()
        replica.balance(name)
        took.append(time.perf_counter() - began)
    return took


def _us(seconds: list[float], quantile: float) -> float:
    ordered = sorted(seconds)
    return round(ordered[int(len(ordered) * quantile)] * 1e6, 1)


# The process that writes


def write(bootstrap: str, customers: int, rate: int, seconds: float) -> None:
    """Each customer's wallet once, or with a rate those of customers at random so long."""
    sender, topic, at = Sender(bootstrap, "bench"), ENVIRONMENT.topic(BALANCES), now_text()
    if not rate:
        for number in range(customers):
            sender.put(topic, customer(number), wallet(customer(number), 1, at))
        sender.producer.flush(120)
        return
    rng, start, sent = random.Random(5), time.monotonic(), 0
    took: list[float] = []
    while (passed := time.monotonic() - start) < seconds:
        for _ in range(int(passed * rate) - sent):
            name, now = customer(int(rng.random() * customers)), time.monotonic()
            value = wallet(name, int(now * 1e6), at)
            if sent % EVERY:
                sender.put(topic, name, value)
            else:
                written = _took_since(now, took)
                sender.producer.produce(topic, value, name.encode(), on_delivery=written)
            sent += 1
        sender.producer.poll(0)
        time.sleep(0.001)
    rate_had = round(sent / (time.monotonic() - start))
    sender.producer.flush(60)
    print(json.dumps({"changes_per_second": rate_had, "written_ms_p50": quantile_ms(took, 0.5)}))


def _took_since(began: float, took: list[float]) -> DeliveryCallback:
    def written(_: KafkaError | None, __: Message) -> None:
        took.append(time.monotonic() - began)

    return written


def wallet(name: str, sequence: int, at: str) -> bytes:
    """A wallet of one grant that was debited, as settlement writes it."""
    left = f"{900 + sequence % 100}.{sequence % 10**12:012d}"
    return (
        f'{{"row":"wallet","customer":"{name}","sequence":{sequence},"digest":"{"0" * 64}"'
        f',"at":"{at}","accounts":[{{"asset":"USD","available":"{left}","balance":"{left}"'
        f',"unspent":"{left}","granted":"1000","debited":"12.345678987655"}}],"grants":[{{"id":'
        f'"g-{name}","asset":"USD","category":"paid","priority":100,"amount":"1000"'
        f',"effective_at":"{at}","paid":"1000","sequence":1,"remaining":"{left}"}}]}}'
    ).encode()


def main() -> int:
    """Parse and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("follow", "write"))
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--customers", type=int, required=True)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    told = parser.parse_args()
    if told.what == "follow":
        follow(told.bootstrap, told.customers)
    else:
        write(told.bootstrap, told.customers, told.rate, told.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
