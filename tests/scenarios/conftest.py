"""One broker for the scenarios; each has topics of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.brokers import FEW_CORES

from drawdown.broker.local import LocalKafka


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path_factory.mktemp("kafka"), jvm_args=FEW_CORES) as kafka:
        yield kafka
