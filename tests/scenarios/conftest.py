"""One broker for the scenarios; each has topics of its own on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from drawdown.broker.local import LocalKafka


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka
