"""A real stack, shared by the tests of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.commands import BOOK, Drawdown, free_port


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "prices.yaml"
    path.write_text(BOOK)
    return path


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, book: Path) -> Iterator[Drawdown]:
    """Kafka, settlement, gateway and query, with a price book; shared by all tests."""
    drawdown = Drawdown(tmp_path_factory.mktemp("stack") / "home")
    try:
        drawdown.ok("up", "--broker-only", "--port", free_port())
        drawdown.ok("keys", "create", "--permission", "read", "--title", "of a former life")
        drawdown.ok("down")
        drawdown.ok("up")
        drawdown.ok("price-book", "publish", book)
        yield drawdown
    finally:
        drawdown("down")


@pytest.fixture
def nothing(tmp_path: Path) -> Drawdown:
    """A home where nothing runs, and nothing ever did."""
    return Drawdown(tmp_path / "home")
