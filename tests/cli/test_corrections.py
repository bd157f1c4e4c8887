"""`void`, `adjust`, `reverse`, `convert`, `state`, and grants that come again."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka


def test_a_wallet_is_set_right_from_the_command_line(stack: Drawdown) -> None:
    stack.ok(
        *("grant", "right", 20, "--id", "plan", "--category", "included"),
        *("--every", "month", "--cycles", 12, "--rollover", "5:1", "--zone", "Europe/Berlin"),
    )
    stack.ok("grant", "right", 10, "--id", "top-up")
    stack.ok("terms", "right", "--drawdown", "orb")
    stack.ok("adjust", "right", "--reason", "forgotten", "--id", "less", "--", "-2.50")
    stack.settled("right", 4)
    said = stack.ok("reverse", "right", "less", "--reason", "not forgotten", "--id", "undo")
    assert ["balance", "30", "USD"] in said.rows
    stack.ok("void", "right", "top-up", "--reason", "charged back")
    stack.ok("state", "right", "suspended", "--reason", "unpaid")
    row = stack.settled("right", 7)["wallet"]
    (plan,) = row["grants"]
    assert (plan["id"], plan["remaining"], row["state"]) == ("plan", "20", "suspended")
    shown = stack.ok("wallet", "right").out
    assert "comes again every month by the clock of Europe/Berlin" in shown
    assert "the wallet is suspended" in shown
    assert "reverses    entry 4, a adjust" in stack.ok("explain", "right", "undo").out
    assert "ended       grant top-up" in stack.ok("explain", "right", 6).out

    again = stack("reverse", "right", "less", "--reason", "twice")
    assert (again.code, again.error.endswith("[already_reversed]")) == (FAILED, True)


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (("grant", "x", 1, "--every", "minute"), "--every"),
        (("grant", "x", 1, "--cycles", 3), "--cycles"),
        (("grant", "x", 1, "--every", "day", "--cycles", 3, "--rollover", "5:x"), "--rollover"),
        (("terms", "x", "--drawdown", "mine"), "--drawdown"),
        (("state", "x", "asleep"), "STATE"),
        (("adjust", "x", "lots", "--reason", "why"), "AMOUNT"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_sent(
    stack: Drawdown, command: tuple[object, ...], field: str
) -> None:
    said = stack(*command)
    assert (said.code, field in said.error) == (USAGE, True)
