"""Snapshots that settlement takes of the stores it lives in: one partition after the other.

The checkpoint is taken between two turns of the loop, where store and position agree, and costs a
flush; hashing and copying happen in a thread beside it. What fails is told and tried again when its
turn comes: a snapshot shortens a restore, nothing depends on one.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

from drawdown.stream.clock import Clock
from drawdown.stream.loop import Worker
from drawdown.stream.snapshots import SnapshotError, Snapshots
from drawdown.stream.store import Owner, Positions, RocksStore

log = logging.getLogger("drawdown.snapshots")

SCRATCH: Final = "checkpoints"


class SnapshotMetrics:
    """What became of the snapshots of this process."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.taken = Counter("drawdown_snapshots", "Snapshots taken.", registry=registry)
        self.failed = Counter(
            "drawdown_snapshots_failed",
            "Snapshots that could not be taken: the log says why. A restore takes longer then.",
            registry=registry,
        )
        self.last_at_s = Gauge(
            "drawdown_snapshot_timestamp_seconds",
            "When the last snapshot of a partition was finished.",
            ["partition"],
            registry=registry,
        )


class Schedule:
    """Takes each partition's snapshot every `every_s`, spread over that time. `directory` is on the
    same file system as the stores, so that a checkpoint is links."""

    def __init__(
        self,
        snapshots: Snapshots,
        directory: Path,
        every_s: float,
        keep: int,
        clock: Clock,
        metrics: SnapshotMetrics | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._directory = directory / SCRATCH
        self._every_s = every_s
        self._keep = keep
        self._clock = clock
        self._metrics = metrics or SnapshotMetrics()
        self._last_at: dict[int, float] = {}
        self._running: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "snapshots")
        shutil.rmtree(self._directory, ignore_errors=True)  # of a process that died meanwhile

    def turn(self, worker: Worker) -> None:
        """To be called between two turns of the loop. Blocks for a flush where one is due."""
        if self._running is not None:
            if not self._running.done():
                return
            self._running = None
        now = self._clock.monotonic()
        for partition, store in worker.stores.items():
            last_at = self._last_at.setdefault(partition, now)
            # One that has not all identities yet would be worth less than the one before it.
            if now - last_at < self._every_s or store.positions.identities_from_ms:
                continue
            self._last_at[partition] = now
            assert isinstance(store, RocksStore)
            self._begin(store)
            return

    def _begin(self, store: RocksStore) -> None:
        path = self._directory / uuid4().hex
        owner, positions = store.owner, store.positions
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            store.checkpoint(path)
        except Exception as error:  # noqa: BLE001 - rocksdict raises bare exceptions
            self._failed(owner, error)
            return
        self._running = self._thread.submit(self._put, path, owner, positions)

    def _put(self, path: Path, owner: Owner, positions: Positions) -> None:
        try:
            name = self._snapshots.create(path, owner, positions)
            self._snapshots.prune(self._keep, f"{owner.topic}-{owner.partition}")
        except (SnapshotError, OSError) as error:
            self._failed(owner, error)
        else:
            self._metrics.taken.inc()
            self._metrics.last_at_s.labels(owner.partition).set(self._clock.now_ms() / 1000)
            log.info("partition %d: snapshot %s", owner.partition, name)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _failed(self, owner: Owner, error: Exception) -> None:
        self._metrics.failed.inc()
        log.error("partition %d: no snapshot was taken: %s", owner.partition, error)

    def close(self) -> None:
        """Wait for the one that is on its way."""
        self._thread.shutdown()
