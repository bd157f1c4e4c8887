"""Every test that asks for `world` runs twice: on the in-memory log and on a real broker.

On a broker a test mostly waits. So those on a broker run side by side in threads, each in a world
of its own, as soon as the first of them is asked for its result; only those of a module that says
`ALONE` run by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from tests.stream.contract.kafka_world import KafkaWorld
from tests.stream.contract.world import MemoryWorld, World
from tests.support.brokers import FEW_CORES

from drawdown.broker.local import LocalKafka

SERVER_PROPERTIES = {
    # What the tests wait for comes soon: expired transactions, compaction.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "100",
    "log.cleaner.backoff.ms": "50",
}
THREADS = 8

_shared = pytest.StashKey[dict[str, "Future[None]"]]()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One broker for the whole suite."""
    home = tmp_path_factory.mktemp("kafka")
    with LocalKafka(home, server_properties=SERVER_PROPERTIES, jvm_args=FEW_CORES) as kafka:
        yield kafka


@pytest.fixture(scope="session")
def running(kafka: LocalKafka, request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """The tests that share the broker, by node id, all started."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield {
            item.nodeid: pool.submit(_run, item, kafka)
            for item in request.session.items
            if isinstance(item, pytest.Function) and _shares_the_broker(item)
        }
        pool.shutdown(cancel_futures=True)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def world(request: pytest.FixtureRequest) -> Iterator[World | None]:
    """A cluster: in memory, or real. None where the test runs elsewhere, in `running`."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    running = request.getfixturevalue("running")
    if _shares_the_broker(request.node):
        request.node.stash[_shared] = running
        yield None
    else:
        wait(running.values())
        with KafkaWorld(request.getfixturevalue("kafka")) as world:
            yield world


@pytest.fixture
def memory() -> MemoryWorld:
    """For what only the in-memory log can show."""
    return MemoryWorld()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for the result of a test that runs in `running`."""
    running = pyfuncitem.stash.get(_shared, None)
    if running is None:
        return None
    running[pyfuncitem.nodeid].result()
    return True


def _shares_the_broker(item: pytest.Function) -> bool:
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    return parameters.get("world") == "kafka" and not getattr(item.module, "ALONE", False)


def _run(item: pytest.Function, kafka: LocalKafka) -> None:
    with KafkaWorld(kafka) as world:
        item.obj(**{**item.callspec.params, "world": world})
