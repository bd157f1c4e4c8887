"""Settlement takes snapshots under load; killed and without its stores it goes on from them."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, seed, until

from drawdown.broker.local import LocalKafka
from drawdown.stream.snapshots import Snapshots

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_restored_from_a_snapshot_and_the_tail(
    broker: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "snapshots")
    monkeypatch.setenv("DRAWDOWN_SNAPSHOT_URL", url)
    monkeypatch.setenv("DRAWDOWN_SNAPSHOT_EVERY_S", "2")
    with World(broker, tmp_path, partitions=2, load=Load(seed())) as world:
        settler = world.start()
        world.ready(settler, limit_s=90)
        world.flow(per_second=200)

        def taken() -> bool:
            found = Snapshots(url).listed() if Path(url).exists() else []
            finished = {each.manifest.owner.partition for each in found if each.manifest}
            return finished == {0, 1}

        until(taken, 90, "no snapshot of each partition")
        time.sleep(0.5)
        settler.kill()
        shutil.rmtree(settler.home / "stores")
        settler = world.start()
        world.ready(settler, limit_s=90)
        assert settler.log().count("is taken") == 2
        world.dry()
        world.decided(limit_s=90)
        world.verdict()
        world.verdict_on_stores(settler)
