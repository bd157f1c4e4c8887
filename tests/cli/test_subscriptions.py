"""`subscribe` and `subscription`: begun, shown, changed, canceled and explained."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka


def test_a_subscription_is_run_from_the_command_line(stack: Drawdown) -> None:
    said = stack.ok("subscribe", "subs", "team", "--seats", 2, "--subscription", "main")
    assert "subscription  main  team, 2 seats" in said.out
    stack.settled("subs", 3)
    said = stack.ok("subscription", "change", "subs", "main", "--seats", 5)
    assert "subscription  main  team, 5 seats" in said.out
    wallet = stack.settled("subs", 7)["wallet"]
    assert wallet["accounts"][0]["available"] == "9500"
    assert "main is subscribed to team; next" in stack.ok("wallet", "subs").out
    assert "to be invoiced" in stack.ok("wallet", "subs").out

    shown = stack.ok("subscription", "show", "subs").out
    assert next(line.split()[:5] for line in shown.splitlines() if line.startswith("main")) == [
        "main",
        "team",
        "plan",
        "5",
        "active",
    ]
    found = stack.ok("subscription", "show", "subs", "--json").json
    assert [each["id"] for each in found["entitlements"]] == ["sso", "replies"]

    explained = stack.ok("explain", "subs", 2).out
    assert "charged     19 x 2 seats = 38 USD" in explained
    assert "paid        outside: it is to be invoiced" in explained
    assert "granted by  subscription main" in stack.ok("explain", "subs", 3).out

    stack.ok("subscription", "cancel", "subs", "main", "--id", "bye")
    again = stack("subscription", "cancel", "subs", "main")
    assert (again.code, "was canceled before" in again.error) == (FAILED, True)
    assert "(before: this is that result)" in (
        stack.ok("subscription", "cancel", "subs", "main", "--id", "bye").out
    )
    assert "team, 5 seats" in stack.ok("subscription", "resume", "subs", "main").out
    assert stack.ok("subscription", "cancel", "subs", "main", "--when", "now", "--json").json[
        "subscription"
    ]["status"] == ("ended")


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("subscribe", "nobody", "gold"), FAILED, "has no plan 'gold'; its plans are team"),
        (("subscription", "cancel", "nobody", "main"), FAILED, "has no subscription 'main'"),
        (("subscription", "change", "nobody", "main"), USAGE, "give --plan PLAN, --seats N"),
        (("subscription", "cancel", "x", "main", "--when", "soon"), USAGE, "--when: 'soon'"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_fix(
    stack: Drawdown, command: tuple[object, ...], code: int, said: str
) -> None:
    ended = stack(*command)
    assert (ended.code, said in ended.error) == (code, True)
