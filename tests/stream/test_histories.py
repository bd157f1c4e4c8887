"""Whatever befalls settlement processes, in whatever order: nothing is lost, nothing counts twice.

Hypothesis makes up histories and shrinks the one that fails to its core. The named ones were found
that way, or are what the design rests on.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.stream.history import (
    CALLS,
    CRASH_POINTS,
    CUSTOMERS,
    FAULTS,
    INSTANCES,
    History,
    Step,
)

from drawdown.stream import identities

names = st.sampled_from(INSTANCES)
customers = st.sampled_from(CUSTOMERS)
mostly = st.sampled_from((False, False, False, True))

work = st.one_of(
    st.tuples(st.just("use"), customers, st.integers(1, 400_000), mostly),
    st.tuples(st.just("use"), customers, st.integers(1, 400_000), mostly),
    st.tuples(st.just("again"), st.integers(0, 100), mostly),
    st.tuples(st.just("break"), customers),
    st.tuples(st.just("grant"), customers, st.integers(0, 8)),
    st.tuples(st.just("authorize"), customers),
)
turns = st.one_of(
    st.tuples(st.just("turn"), names, st.integers(1, 4)),
    st.tuples(st.just("pass"), st.sampled_from((5, 200, 1_100, 3_000, 7_000))),
)
trouble = st.one_of(
    st.tuples(st.just("start"), names),
    st.tuples(st.just("kill"), names),
    st.tuples(st.just("wipe"), names),
    st.tuples(st.just("sleep"), names),
    st.tuples(st.just("wake"), names),
    st.tuples(st.just("cut"), names),
    st.tuples(st.just("heal"), names),
    st.tuples(st.just("broker_away"), st.sampled_from((500, 3_000, 12_000))),
    st.tuples(st.just("crash"), st.sampled_from(CRASH_POINTS)),
    st.tuples(
        st.just("stall"), st.sampled_from(CRASH_POINTS), st.sampled_from((500, 4_000, 15_000))
    ),
    st.tuples(st.just("fault"), st.sampled_from(CALLS), st.sampled_from(sorted(FAULTS))),
)
steps = st.lists(st.one_of(work, work, turns, turns, turns, trouble), min_size=10, max_size=80)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restored identities come in pieces of a few entries."""
    monkeypatch.setattr(identities, "PIECE_FIRST", 2)
    monkeypatch.setattr(identities, "PIECE_MAX", 4)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(steps)
def test_any_history(steps: list[Step]) -> None:
    History().play([("start", "0"), ("turn", "0", 4), ("start", "1"), *steps])
