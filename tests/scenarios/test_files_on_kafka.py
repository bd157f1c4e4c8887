"""Every scenario file on a real broker, by settlement's own worker: as expected, and each entry,
answer and row the same to the byte as on the ledger alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.test_files import FILES

from drawdown import topics
from drawdown.broker.local import LocalKafka
from drawdown.events.catalogue import Environment
from drawdown.scenarios.compared import unlike
from drawdown.scenarios.kafka_world import kafka_world
from drawdown.scenarios.play import difference, play
from drawdown.scenarios.scenario_file import read_scenario
from drawdown.stream.kafka import KafkaCluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_file_expects_is_so_on_kafka(broker: LocalKafka, path: Path) -> None:
    scenario = read_scenario(path)
    with kafka_world(KafkaCluster(broker.bootstrap)) as world:
        played = list(play(scenario, world))
        assert [d for each in played if (d := difference(scenario, each))] == []
        assert unlike(scenario, world, played) == []


def test_only_a_scenarios_topics_are_deleted(broker: LocalKafka) -> None:
    with pytest.raises(ValueError, match="is no scenario"):
        topics.delete(KafkaCluster(broker.bootstrap).admin(), Environment("live"))
