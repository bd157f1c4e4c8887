"""The broker is killed under load and comes back on the same folder.

Settlement waits for it and goes on by itself; what was open is voided, what was acknowledged stays.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, seed

from drawdown.broker.local import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_killed_and_restarted_under_load(broker: LocalKafka, tmp_path: Path) -> None:
    with World(broker, tmp_path, partitions=4, load=Load(seed())) as world:
        settler = world.start()
        world.ready(settler)
        world.flow(per_second=500)
        time.sleep(world.random.uniform(0.2, 1.2))
        broker.broker(1).kill()
        time.sleep(1.0)
        broker.broker(1).restart()
        time.sleep(1.0)
        world.dry()
        world.decided()
        world.ready(settler)
        world.verdict()
        world.verdict_on_stores(settler)
