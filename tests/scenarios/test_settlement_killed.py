"""Settlement is killed at random moments under load and started again.

With its store, it goes on from there; without, it builds a new one from `balances` and the journal.
Either way every event is debited once, and balances are right to the digit.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from tests.scenarios.reckoning import Load
from tests.scenarios.world import World, seed, until

from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import USAGE_EVENTS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def test_killed_and_restarted_with_and_without_its_store(
    broker: LocalKafka, tmp_path: Path
) -> None:
    with World(broker, tmp_path, partitions=4, load=Load(seed())) as world:
        settler = world.start()
        world.ready(settler)
        world.flow(per_second=700)
        for store_lost in (False, True, False):
            time.sleep(world.random.uniform(0.2, 1.2))
            settler.kill()
            if store_lost:
                shutil.rmtree(settler.home / "stores")
            settler = world.start()
            world.ready(settler)
        time.sleep(0.5)
        world.dry()
        world.decided()
        world.verdict()
        world.verdict_on_stores(settler)


def test_restarted_after_retention_took_what_was_decided(
    broker: LocalKafka, tmp_path: Path
) -> None:
    with World(broker, tmp_path, partitions=4, load=Load(seed())) as world:
        settler = world.start()
        world.ready(settler)
        world.flow(per_second=500)
        until(lambda: world.debited() > 500)
        settler.kill()
        world.trim(USAGE_EVENTS)
        settler = world.start()
        world.ready(settler)
        world.dry()
        world.decided()
        world.verdict()
