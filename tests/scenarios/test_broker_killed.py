"""The broker is killed under load and comes back on the same folder.

Settlement waits for it and goes on by itself; what was open is voided, what was acknowledged stays.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, _now, seed, until

from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import USAGE_EVENTS

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


def test_a_process_whose_broker_is_away_ends_when_told_to(
    broker: LocalKafka, tmp_path: Path
) -> None:
    with World(broker, tmp_path, partitions=2, load=Load(seed())) as world:
        settler = world.start()
        world.ready(settler)
        world.flow(per_second=200)
        until(lambda: world.debited() > 100, what="no load")
        broker.broker(1).kill()
        try:
            until(lambda: "outcome is unknown" in settler.log(), what="not noticed")
            assert settler.stop(20.0) == 0, settler.log()[-3000:]
        finally:
            broker.broker(1).restart()
        world.dry()
        again = world.start()
        world.ready(again, limit_s=60.0)
        world.decided()
        world.verdict()


def test_restarted_while_nothing_was_to_be_decided(broker: LocalKafka, tmp_path: Path) -> None:
    """The client library may wait for ever for a coordinator that left meanwhile."""
    load = Load(seed())
    with World(broker, tmp_path, partitions=2, load=load) as world:
        settler = world.start()
        world.ready(settler)
        world.flow(per_second=100)
        until(lambda: world.debited() > 20, what="no load")
        world.dry()
        until(world._taken, what="not at rest")
        broker.broker(1).restart()
        for _ in range(20):
            world._send(USAGE_EVENTS, *load.event(_now()))
        assert world._producer.flush(30.0) == 0
        world.decided()
        world.ready(settler)
        world.verdict()
        world.verdict_on_stores(settler)
