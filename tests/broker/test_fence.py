"""A lone broker that was killed is declared dead before it starts again."""

from __future__ import annotations

from pathlib import Path

import pytest

from drawdown.broker import fence
from drawdown.broker.properties import server_properties
from drawdown.broker.state import Node

READ = (
    "2026-11-22T04:18:07,011+00:00 INFO  ClusterControlManager: [QuorumController id=1] Replayed"
    " initial RegisterBrokerRecord for broker 1: RegisterBrokerRecord(brokerId=1, incarnationId=n2,"
    " brokerEpoch=12, endPoints=[], features=[], rack=null, fenced={}, inControlledShutdown=false)"
)
CHANGED = (
    "2026-11-22T04:18:07,019+00:00 INFO  ClusterControlManager: [QuorumController id=1] Replayed"
    " BrokerRegistrationChangeRecord modifying the registration for broker 1:"
    " BrokerRegistrationChangeRecord(brokerId=1, brokerEpoch=12, fenced={}, inControlledShutdown=0)"
)
ACTIVE = (
    "2026-11-22T04:18:07,422+00:00 INFO  QuorumController: [QuorumController id=1] Becoming the"
    " active controller at epoch 4, next write offset 454."
)
STARTED, STOPPED, CORDONED = CHANGED.format(-1), CHANGED.format(1), CHANGED.format(0)


@pytest.mark.parametrize(
    ("log", "done"),
    [
        ([], False),
        ([READ.format("true"), STARTED], False),
        ([READ.format("true"), STARTED, ACTIVE], False),
        ([READ.format("true"), STARTED, CORDONED, ACTIVE], False),
        ([READ.format("true"), STARTED, ACTIVE, STOPPED], True),
        # A snapshot of the metadata has the registration as it is.
        ([READ.format("false"), ACTIVE], False),
        ([READ.format("false"), ACTIVE, STOPPED], True),
        # It was killed before it served.
        ([READ.format("true"), ACTIVE], True),
        ([ACTIVE], True),
    ],
)
def test_it_is_done_when_the_metadata_were_read_and_nobody_serves(
    log: list[str], done: bool
) -> None:
    assert fence.is_done(log) == done


def test_it_is_due_where_a_broker_ran_and_did_not_end_by_itself(tmp_path: Path) -> None:
    assert not fence.is_due(tmp_path)
    (tmp_path / "__cluster_metadata-0").mkdir()
    assert fence.is_due(tmp_path)
    (tmp_path / ".kafka_cleanshutdown").touch()
    assert not fence.is_due(tmp_path)


def test_the_controller_has_the_brokers_metadata_and_nothing_for_clients(tmp_path: Path) -> None:
    node = Node(id=1, port=9001, internal_port=9002, controller_port=9003, advertised_port=None)
    broker = server_properties(node, [node], tmp_path, {})
    alone = fence.settings(broker)
    assert alone["process.roles"] == "controller"
    assert alone["listeners"] == "CONTROLLER://127.0.0.1:9003"
    assert not [name for name in alone if name.startswith(("advertised", "inter.broker"))]
    for same in ("node.id", "log.dirs", "controller.quorum.voters"):
        assert alone[same] == broker[same]
    assert (
        int(alone["broker.session.timeout.ms"]) < 1_000 < int(broker["broker.session.timeout.ms"])
    )
