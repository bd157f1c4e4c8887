"""Faults of disks: stores that are not whole, disks that are full, topics that were compacted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from rocksdict import Options, Rdict
from tests.faults.children import CampaignError, CannotError, until
from tests.faults.faults import RESTART_S, TAKEOVER_S, Fault
from tests.faults.judge.reading import read_topic

if TYPE_CHECKING:
    from tests.faults.suite import Campaign

DAMAGES = ("lost", "truncated", "bit-flipped", "swapped", "of an older format")
REFUSED = "the store cannot be used and is rebuilt"


class DamagedStore(Fault):
    """A store is damaged while its process is down for a moment."""

    lasts_s = 0.5
    takes_s = 16.0
    shows: Mapping[int, int] = {14: 1}

    def __init__(self, chance: Random, how: str) -> None:
        super().__init__(chance)
        self.how = how
        self.rows = (13, 14) if how == "lost" else (14,)
        self.name = f"store {how}"

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        owner = max(stage.settlers.values(), key=lambda s: len(s.serving()))
        numbers = sorted(owner.serving())
        # Twice: what was in the log of a store becomes a file when it is opened.
        owner.kill()
        owner = stage.settler(owner.instance)
        stage.serving()
        owner.kill()
        stores = [stage.store(owner.instance, number) for number in numbers]
        damage(stores, self.how, self.chance)
        owner = stage.settler(owner.instance)
        stage.serving()
        if self.how != "lost":
            # What is not opened again, because another process took over, is not seen.
            mine = owner.serving() & set(numbers)
            until(
                lambda: REFUSED in owner.log() or not mine & owner.serving(),
                TAKEOVER_S,
                f"a store {self.how} was not refused: {owner.log()[-500:]}",
            )
        campaign.note(14, events=1)


def damage(stores: list[Path], how: str, chance: Random) -> None:
    """Do it to the first of them; swapping takes two."""
    store = stores[0]
    match how:
        case "lost":
            shutil.rmtree(store)
        case "truncated":
            for manifest in store.glob("MANIFEST-*"):
                os.truncate(manifest, manifest.stat().st_size // 2)
        case "bit-flipped":
            tables = sorted(store.glob("*.sst"), key=lambda path: path.stat().st_size)
            if not tables:
                raise CampaignError(f"{store} has no tables to flip a bit in")
            for table in tables:
                content = bytearray(table.read_bytes())
                content[chance.randrange(len(content) // 2)] ^= 1 << chance.randrange(8)
                table.write_bytes(content)
        case "swapped":
            aside = store.with_name("aside")
            store.rename(aside)
            stores[1].rename(store)
            aside.rename(stores[1])
        case _:
            options = Options(raw_mode=True)
            names = [name for name in Rdict.list_cf(str(store), options) if name != "default"]
            db = Rdict(str(store), options, column_families=dict.fromkeys(names, options))
            meta = db.get_column_family("meta")
            owner = json.loads(meta.get(b"owner"))
            meta.put(b"owner", json.dumps({**owner, "format": 0}).encode())
            del meta
            db.close()


class Compacted(Fault):
    """`balances` is compacted by force; then a store is lost, and made anew from what is left."""

    name = "balances compacted"
    rows = (16,)
    takes_s = 25.0

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        topic = f"{stage.environment.name}.balances"
        resource = ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in {
                    "segment.ms": "1000",
                    "min.cleanable.dirty.ratio": "0.01",
                    "delete.retention.ms": "100",
                    "min.compaction.lag.ms": "0",
                }.items()
            ],
        )
        admin = stage.cluster.admin()  # answers come only while it lives
        for altered in admin.incremental_alter_configs([resource]).values():
            altered.result(20.0)

        def compacted() -> bool:
            there = sum(1 for _ in read_topic(stage.kafka.bootstrap, topic))
            return there < sum(stage.ends("balances").values()) / 2

        until(compacted, TAKEOVER_S, "the broker did not compact")
        instance = next(iter(stage.settlers))
        stage.settlers[instance].kill()
        shutil.rmtree(stage.store(instance, 0).parent)
        stage.settler(instance)

    def heal(self, campaign: Campaign) -> None:
        campaign.stage.serving()
        # The query service that is started in the end reads what is left, too.
        campaign.note(16, events=len(campaign.stage.asked_balances()))


class Tmpfs:
    """A small disk. Raises CannotError where it cannot be made: that takes root."""

    def __init__(self, at: Path, mib: int) -> None:
        at.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(at)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotError(f"no small disk can be mounted: {done.stderr.strip()}")
        self.at = at

    def fill(self) -> None:
        """To the last byte."""
        with (self.at / "ballast").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                while True:
                    try:
                        if not file.write(b"\0" * size):
                            break
                    except OSError:
                        break

    def empty(self) -> None:
        (self.at / "ballast").unlink(missing_ok=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.at)], check=False, stderr=sys.stderr)


class StoreDiskFull(Fault):
    """A settlement process whose stores are on a disk that fills up, and is emptied."""

    name = "disk of a store full"
    rows = (18,)
    lasts_s = 0.0
    takes_s = 30.0
    shows: Mapping[int, int] = {18: 1}

    def inject(self, campaign: Campaign) -> None:
        stage = campaign.stage
        self.disk = Tmpfs(stage.folder / "small", 48)
        try:
            service = stage.settler("1", folder=self.disk.at)
            stage.serving()
            self.disk.fill()
            until(
                lambda: not service.running or not service.ready(),
                TAKEOVER_S,
                "nothing was said of a full disk",
            )
            campaign.measured("store_full_exit_code", float(service.code or 0))
            self.disk.empty()
            if not service.running:
                service = stage.settler("1", folder=self.disk.at)
            stage.serving()
            campaign.note(18, events=1)
        finally:
            stage.settler("1")
            stage.serving()
            self.disk.unmount()


class BrokerDiskFull(Fault):
    """The broker's disk fills up: it gives up, and comes back when there is room."""

    name = "disk of the broker full"
    rows = (18,)
    lasts_s = 0.0
    takes_s = 30.0
    shows: Mapping[int, int] = {18: 1}

    def __init__(self, chance: Random, disk: Tmpfs | None) -> None:
        super().__init__(chance)
        self.disk = disk

    def inject(self, campaign: Campaign) -> None:
        if self.disk is None:
            raise CannotError("the broker is on no small disk: mounting one takes root")
        stage = campaign.stage
        broker = stage.kafka.broker(1)
        refused = stage.load.tell(do="count")["refused"]
        self.disk.fill()
        try:
            until(
                lambda: broker.pid is None or stage.load.tell(do="count")["refused"] > refused,
                TAKEOVER_S,
                "nothing was said of a full disk",
            )
            stage.pause(2.0)
        finally:
            self.disk.empty()

    def heal(self, campaign: Campaign) -> None:
        campaign.stage.kafka.broker(1).restart(timeout_s=RESTART_S)
        campaign.stage.serving()
        campaign.note(18, events=1)
