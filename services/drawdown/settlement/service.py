"""The settlement service: one process, one loop, the only writer of balances."""

from __future__ import annotations

import faulthandler
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawdown.config import Config
from drawdown.events.catalogue import (
    BALANCE_CHANGES,
    BALANCES,
    COMMANDS,
    DEAD_LETTERS,
    DECISIONS,
    LOW_BALANCE,
    NOTIFICATIONS,
    USAGE_EVENTS,
    Environment,
)
from drawdown.health import HealthServer
from drawdown.settlement.application import Settlement
from drawdown.settlement.books import BookShelf
from drawdown.settlement.crashes import crash_at
from drawdown.settlement.restoring import require_whole
from drawdown.settlement.snapshots import Schedule
from drawdown.stream import kafka, loop
from drawdown.stream.clock import Clock, SystemClock
from drawdown.stream.layout import Layout
from drawdown.stream.metrics import StreamMetrics
from drawdown.stream.ports import Cluster
from drawdown.stream.snapshots import Snapshots
from drawdown.stream.store import RocksStores, Stores

log = logging.getLogger("drawdown.settlement")

GROUP = "settlement"
UNKNOWN_AFTER_S = 1.0
UNKNOWN_AFTER_REPLICATED_S = 5.0
END_S = 20.0
"""An end that takes longer is forced, and where every thread stood is written to stderr: nothing is
lost by it, and an orchestrator that has to kill (after 30 s in Kubernetes) tells nobody why."""


class PartitionsError(Exception):
    """The topics do not have the partitions they must have: nothing is read."""


def layout_of(environment: Environment, partitions: int, instance: str) -> Layout:
    """The settlement service's names on the cluster."""
    return Layout(
        usage=environment.topic(USAGE_EVENTS),
        commands=environment.topic(COMMANDS),
        journal=environment.topic(BALANCE_CHANGES),
        rows=environment.topic(BALANCES),
        answers=environment.topic(DECISIONS),
        dead_letters=environment.topic(DEAD_LETTERS),
        notices=(environment.topic(LOW_BALANCE), environment.topic(NOTIFICATIONS)),
        partitions=partitions,
        group=f"{environment.name}.{GROUP}",
        instance=f"{GROUP}-{instance}",
    )


def partitions_of(cluster: Cluster, environment: Environment) -> tuple[int, str]:
    """The number of partitions all customer topics have, and the cluster's id.

    Raises PartitionsError, naming the topic, where they differ or one is missing: a customer's
    records would have two owners. Blocks up to 10 s.
    """
    return _partitions_in(_metadata(cluster), environment)


def _partitions_in(metadata: Any, environment: Environment) -> tuple[int, str]:
    names = layout_of(environment, 0, "0").customer_topics
    counts: dict[str, int] = {}
    for name in names:
        topic = metadata.topics.get(name)
        if topic is None or not topic.partitions:
            raise PartitionsError(f"topic {name} does not exist: run `drawdown topics create`")
        counts[name] = len(topic.partitions)
    if len(set(counts.values())) != 1:
        said = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise PartitionsError(
            f"customer topics must all have the same number of partitions, for life: {said}"
        )
    return counts[names[0]], str(metadata.cluster_id)


def unknown_after_s(metadata: Any, topic: str) -> float:
    """How long a transactional call may take before its answer is not believed: replicas that have
    to be waited for take longer. `metadata` is the cluster's."""
    partitions = metadata.topics[topic].partitions.values()
    replicated = any(len(partition.replicas) > 1 for partition in partitions)
    return UNKNOWN_AFTER_REPLICATED_S if replicated else UNKNOWN_AFTER_S


def _metadata(cluster: Cluster) -> Any:
    consumer = cluster.consumer(kafka.reader())
    try:
        return consumer.list_topics(timeout=10.0)
    finally:
        consumer.close()


def make_worker(
    cluster: Cluster,
    environment: Environment,
    instance: str,
    stores: Stores,
    clock: Clock,
    *,
    budget: loop.Budget | None = None,
    cache_bytes: int = 64 << 20,
    metrics: StreamMetrics | None = None,
    crash: loop.CrashPoints = loop.no_crash,
    shelf: BookShelf | None = None,
) -> loop.Worker:
    """A settlement worker, joined to its group; `shelf` is the caller's, if it looks at the price
    books too. Raises PartitionsError."""
    metadata = _metadata(cluster)
    partitions, cluster_id = _partitions_in(metadata, environment)
    layout = layout_of(environment, partitions, instance)
    shelf = shelf or BookShelf(cluster, environment, kafka.reader(), clock)
    return loop.Worker(
        cluster,
        layout,
        Settlement(environment, shelf),
        stores,
        clock,
        loop.Config(
            usage=kafka.money_consumer(layout.group, layout.instance),
            commands=kafka.reader(layout.group),
            producer=kafka.money_producer(layout.transactional_id),
            reader=kafka.reader(layout.group),
            cluster_id=cluster_id,
            budget=budget or loop.Budget(),
            cache_bytes=cache_bytes,
            unknown_after_s=unknown_after_s(metadata, layout.journal),
        ),
        metrics,
        crash,
    )


def run(config: Config, cluster: Cluster, stop: threading.Event | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises FencedError, PartitionsError, HalfWrittenError."""
    require_whole(cluster, config.topics)
    stop = stop or threading.Event()
    _stop_on_signals(stop.set)
    directory = store_directory(config)
    clock = SystemClock()
    snapshots = Snapshots(config.snapshot_url) if config.snapshot_url else None
    worker = make_worker(
        cluster,
        config.topics,
        config.instance,
        _stores(directory, snapshots),
        clock,
        cache_bytes=config.cache_mib << 20,
        crash=loop.no_crash if config.crash_at is None else crash_at(config.crash_at),
    )
    health = HealthServer(
        config.host,
        config.settlement_port,
        ready=lambda: bool(worker.serving) and not worker.recovering and not worker.stopped,
        status=lambda: {
            "serving": sorted(worker.serving),
            "recovering": worker.recovering,
            "restoring_identities": worker.waiting,
            "stopped": dict(worker.stopped),
        },
    )
    health.start()
    log.info("settlement %s: http://%s:%d/metrics", config.instance, config.host, health.port)
    schedule = None
    if snapshots is not None:
        schedule = Schedule(
            snapshots, directory, config.snapshot_every_s, config.snapshot_keep, clock
        )
    loop.settle_down()
    try:
        while not stop.is_set():
            worker.turn()
            if schedule is not None:
                schedule.turn(worker)
    finally:
        if schedule is not None:
            schedule.close()
        worker.close()
        health.stop()
        faulthandler.cancel_dump_traceback_later()


def store_directory(config: Config) -> Path:
    """Where the stores of this instance are."""
    return config.home / "stores" / config.environment / config.instance


def _stores(directory: Path, snapshots: Snapshots | None) -> RocksStores:
    directory.mkdir(parents=True, exist_ok=True)
    return RocksStores(directory, snapshots=snapshots)


def _stop_on_signals(stop: Callable[[], None]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return

    def told(*_: object) -> None:
        stop()
        faulthandler.dump_traceback_later(END_S, exit=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
