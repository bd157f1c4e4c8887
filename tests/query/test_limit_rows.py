"""Limits read page by page, whatever their scopes are called; over a ledger's own rows."""

from __future__ import annotations

import pytest
from tests.portal.test_limits import Rows, given, use

from drawdown.pure import Ledger
from drawdown.query.limits import LimitRows, LostPlaceError, place_of

LONG = "é" * 256
"""A value whose text is a kilobyte and a half."""


def with_long_scopes() -> Ledger:
    """Sessions with names that no address can hold, each of which used 1 and is blocked."""
    ledger = given(sessions={"scope": {"session": "*", "task": "*", "agent": "*", "key": "*"}})
    for number in range(7):
        long = dict.fromkeys(("task", "agent", "key"), LONG)
        use(ledger, 1, session=f"s{number}", **long)
        ledger.block("ada", {"session": f"s{number}", **long}, reason="r")
    return ledger


def test_every_value_and_block_is_read_once_page_by_page() -> None:
    ledger = with_long_scopes()
    rows = LimitRows(Rows(ledger))
    values: list[str] = []
    blocks: list[str] = []
    place = ""
    while page := rows.values("ada", "sessions", place, 2, ledger.at_ms):
        values += [each.scope for each in page]
        place = place_of(values[-1])
        assert len(place) < 100
    place = ""
    while found := rows.blocks("ada", place, 2, ledger.at_ms):
        blocks += [scope for scope, _ in found]
        place = place_of(blocks[-1])
    assert len(set(values)) == len(values) == 7
    assert values == blocks == sorted(values)


def test_behind_a_row_that_is_gone_nothing_is_made_up() -> None:
    ledger = with_long_scopes()
    gone = place_of("x" * 2_000)
    rows = LimitRows(Rows(ledger))
    with pytest.raises(LostPlaceError):
        rows.blocks("ada", gone, 2, ledger.at_ms)
    with pytest.raises(LostPlaceError):
        rows.values("ada", "sessions", gone, 2, ledger.at_ms)
