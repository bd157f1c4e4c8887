"""The limits of a wallet page: below each other, with their bars, and no more than fit."""

from __future__ import annotations

from typing import Any

import pytest

from drawdown.events.base import KEY_SEPARATOR
from drawdown.portal import limits
from drawdown.portal.limits import LimitsShown, limits_of
from drawdown.pure import Ledger
from drawdown.query.limit_doors import shapes_in
from drawdown.query.limits import LimitRows

PICO = 10**12
BOOK = {
    "version": "v1",
    "assets": [{"code": "USD", "scale": 12}],
    "meters": [{"id": "work", "event_types": ["work"], "fields": {"n": "n"}}],
    "rates": [
        {
            "id": "work",
            "meter": "work",
            "asset": "USD",
            "price": {"model": "per_unit", "quantity": "n", "price": "1"},
        }
    ],
}


class Rows:
    """A ledger's rows as a replica has them."""

    def __init__(self, ledger: Ledger) -> None:
        self._rows = ledger.rows()

    def row(self, key: str) -> bytes | None:
        return self._rows.get(key)

    def rows(self, customer: str, kind: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        first = KEY_SEPARATOR.join((customer, kind, ""))
        found = [
            (key.removeprefix(first), value)
            for key, value in sorted(self._rows.items())
            if key.startswith(first) and key > first + after
        ]
        return found[:limit]


def given(**budgets: dict[str, Any]) -> Ledger:
    ledger = Ledger(BOOK, at="2027-01-15T12:00:00Z")
    ledger.grant("ada", 1000)
    for name, terms in budgets.items():
        ledger.set_budget("ada", name, **{"asset": "USD", "cap": "10", **terms})
    return ledger


def page(ledger: Ledger) -> LimitsShown:
    rows = Rows(ledger)
    wallet = rows.row("ada")
    assert wallet is not None
    return limits_of(LimitRows(rows), "ada", shapes_in(wallet), ledger.at_ms)


def use(ledger: Ledger, n: int, **dimensions: str) -> None:
    ledger.use("ada", "work", {"n": n, **dimensions})


def test_who_has_no_limits_is_shown_none() -> None:
    assert page(given()) == LimitsShown((), (), more=False)


def test_budgets_stand_below_the_one_they_are_within() -> None:
    ledger = given(
        z={},
        team={"scope": {"team": "a"}},
        key={"scope": {"team": "a", "key": "*"}},
        a={"within": "z"},
    )
    shown = page(ledger).budgets
    assert [(each.depth, each.id, each.scope) for each in shown] == [
        (0, "z", ""),
        (1, "a", ""),
        (1, "team", "team=a"),
        (2, "key", "team=a key=*"),
    ]


@pytest.mark.parametrize(
    ("used", "held", "share", "set_aside", "level"),
    [
        (0, 0, 0, 0, ""),
        (3, 4, 300, 400, ""),
        (7, 1, 700, 100, "low"),
        (10, 0, 1000, 0, "full"),
        (25, 0, 1000, 0, "full"),
    ],
)
def test_a_bar_is_what_is_used_and_what_is_held(
    used: int, held: int, share: int, set_aside: int, level: str
) -> None:
    ledger = given(all={})
    if used:
        use(ledger, used)
    if held:
        assert ledger.authorize("ada", "work", quantities={"n": held}, hold="h")["allowed"]
    (shown,) = page(ledger).budgets
    stand = shown.stand
    assert stand is not None
    assert (stand.used, stand.held, stand.cap) == (used * PICO, held * PICO, 10 * PICO)
    assert (stand.share, stand.set_aside, stand.level) == (share, set_aside, level)


def test_of_each_value_those_most_used_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = given(keys={"scope": {"key": "*"}})
    for n, key in enumerate(("a", "b", "c", "d"), 1):
        use(ledger, n, key=key)
    (shown,) = page(ledger).budgets
    assert [(scope, stand.used // PICO) for scope, stand in shown.values] == [
        ("key=d", 4),
        ("key=c", 3),
        ("key=b", 2),
    ]
    monkeypatch.setattr(limits, "VALUES_READ", 3)
    (shown,) = page(ledger).budgets
    assert shown.values == (), "reading more of them would keep the page waiting"


def test_a_page_shows_the_first_budgets_and_says_that_there_are_more() -> None:
    ledger = given(**{f"b{number:02}": {} for number in range(1)})
    for number in range(limits.BUDGETS_MAX):
        ledger.set_budget("ada", f"c{number:02}", 1, asset="USD", scope={"team": str(number)})
    shown = page(ledger)
    assert (len(shown.budgets), shown.more) == (limits.BUDGETS_MAX, True)


def test_what_is_blocked_says_why_and_until_when() -> None:
    ledger = given()
    ledger.block("ada", {"key": "k"}, reason="leaked", until="2027-01-16T00:00:00Z")
    (block,) = page(ledger).blocks
    assert (block.scope, block.reason) == ("key=k", "leaked")
    assert block.until_at is not None
    ledger.advance("2027-01-16T00:00:00Z")
    assert page(ledger).blocks == ()
