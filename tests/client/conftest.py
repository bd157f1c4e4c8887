"""The services that these tests ask, shared with the tests of the other doors."""

from __future__ import annotations

import pytest
from tests.web.live import Live, shared


@pytest.fixture(scope="session")
def live(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Live:
    return shared(pytestconfig, tmp_path_factory.mktemp)
