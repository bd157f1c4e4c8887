"""Settings of a broker, as a Java program will read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from drawdown.broker.errors import BrokerError
from drawdown.broker.properties import dumps, server_properties
from drawdown.broker.state import Node

NODES = tuple(Node(i, 100 + i, 200 + i, 300 + i) for i in (1, 2, 3))


@pytest.mark.parametrize(("count", "replicas", "in_sync_min"), [(1, "1", "1"), (3, "3", "2")])
def test_internal_topics_are_as_safe_as_the_cluster_allows(
    count: int, replicas: str, in_sync_min: str
) -> None:
    settings = server_properties(NODES[0], NODES[:count], Path("/data"), {})
    assert settings["offsets.topic.replication.factor"] == replicas
    assert settings["transaction.state.log.replication.factor"] == replicas
    assert settings["transaction.state.log.min.isr"] == in_sync_min
    assert settings["min.insync.replicas"] == in_sync_min


def test_only_clients_are_sent_to_the_advertised_port() -> None:
    node = Node(1, 101, 201, 301, advertised_port=9)
    settings = server_properties(node, [node], Path("/data"), {})
    assert settings["listeners"].startswith("CLIENT://127.0.0.1:101,INTERNAL://127.0.0.1:201")
    assert settings["advertised.listeners"] == "CLIENT://127.0.0.1:9,INTERNAL://127.0.0.1:201"
    assert settings["inter.broker.listener.name"] == "INTERNAL"


def test_nothing_listens_beyond_this_machine() -> None:
    settings = server_properties(NODES[0], NODES, Path("/data"), {})
    for listener in settings["listeners"].split(","):
        assert listener.split("://")[1].startswith("127.0.0.1:")


def test_overrides_win() -> None:
    settings = server_properties(NODES[0], NODES, Path("/data"), {"num.io.threads": "7"})
    assert settings["num.io.threads"] == "7"


def test_a_folder_with_a_comma_is_refused() -> None:
    with pytest.raises(BrokerError, match="has a comma"):
        server_properties(NODES[0], NODES, Path("/a,b"), {})


def test_values_survive_javas_escapes() -> None:
    text = dumps({"log.dirs": "/home/zoë 🙂/a\\b"})
    assert text == "log.dirs=/home/zo\\u00eb\\u0020\\ud83d\\ude42/a\\u005cb\n"
