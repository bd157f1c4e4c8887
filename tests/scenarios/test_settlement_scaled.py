"""Settlement in several processes while events flow: one dies, one comes, one sleeps.

What a process owned moves when its session ends (6 s), to whoever is there; each event is debited
once all the same, by whoever had the right to.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, seed, until

from drawdown.broker.local import LocalKafka

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_one_of_two_killed_and_another_added(broker: LocalKafka, tmp_path: Path) -> None:
    with World(broker, tmp_path, partitions=8, load=Load(seed())) as world:
        first, second = world.start("0"), world.start("1")
        until(lambda: len(first.serving()) == len(second.serving()) == 4)
        world.flow(per_second=500)
        time.sleep(world.random.uniform(0.2, 1.2))
        second.kill()
        third = world.start("2")
        world.ready(first, third)
        until(lambda: len(third.serving()) == 4, what="the third did not get its half")
        time.sleep(0.5)
        world.dry()
        world.decided()
        world.verdict()
        world.verdict_on_stores(first, third)


def test_a_stopped_process_that_goes_on_after_its_partitions_moved(
    broker: LocalKafka, tmp_path: Path
) -> None:
    with World(broker, tmp_path, partitions=4, load=Load(seed())) as world:
        first, second = world.start("0"), world.start("1")
        until(lambda: len(first.serving()) == len(second.serving()) == 2)
        world.flow(per_second=500)
        time.sleep(world.random.uniform(0.2, 1.2))
        second.pause()
        until(lambda: len(first.serving()) == 4, what="the first did not take over")
        second.resume()
        until(lambda: len(first.serving()) == len(second.serving()) == 2)
        time.sleep(0.5)
        world.dry()
        world.decided()
        world.verdict()
        world.verdict_on_stores(first, second)
