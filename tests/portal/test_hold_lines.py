"""The history's lines of holds: what they moved, and what was captured."""

from __future__ import annotations

from tests.support.till import Till

from drawdown.portal.view import line_of


def test_a_line_moves_the_balance_by_what_its_entry_does() -> None:
    till = Till()
    till.grant("ada", "25", "g")
    till.authorize("ada", 5, require="hold", hold={"hold_id": "h"})
    till.use("ada", 1, hold="h")
    till.command("extend", "ada", hold_id="h", expires_in_s=60)
    till.command("capture", "ada", hold_id="h", amount="3.75")
    lines = [line_of(value) for value in till.journal[1:]]
    unit = 10**12
    assert [(line.kind, line.title, line.sign, line.amount) for line in lines] == [
        ("hold", "work", "-", 5 * unit),
        ("capture", "work", "", 0),
        ("extend", "h", "", None),
        ("capture", "work", "+", unit // 4),
    ]
    assert dict(lines[1].facts)["captured"] == "1.00 USD"
    assert dict(lines[3].facts)["captured"] == "3.75 USD"
    assert all(dict(line.facts)["hold"] == "h" for line in lines)
