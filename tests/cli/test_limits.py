"""`budgets`, `budget`, `block`, `unblock`: set, drawn, held to and explained."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import DENIED, FAILED, USAGE

pytestmark = pytest.mark.kafka

GUIDES = "│├└─ \xa0"
"""What a tree draws before a line."""
GPT_5 = ("--dimension", "model=gpt-5")


def given(stack: Drawdown, customer: str) -> None:
    """A customer with 100 USD and budgets for all, a team, each of its keys and each session."""
    stack.ok("grant", customer, 100)
    stack.ok("budget", "set", customer, "all", 50)
    stack.ok("budget", "set", customer, "search", 20, "team=a", "--zone", "Europe/Berlin")
    stack.ok("budget", "set", customer, "keys", 5, "team=a", "key=*", "--every", "day")
    stack.ok("budget", "set", customer, "sessions", 2, "session=*", "--every", "life")


def use(stack: Drawdown, customer: str, dollars: int, *dimensions: str) -> None:
    output = f"output={dollars * 100_000}"
    stack.ok("send", customer, "llm.request", "model=gpt-5", output, *dimensions, "--wait")


def test_budgets_are_drawn_as_a_tree_with_what_is_used(stack: Drawdown) -> None:
    given(stack, "tree")
    use(stack, "tree", 4, "team=a", "key=k1")
    use(stack, "tree", 1, "team=a", "key=k2", "session=s1")
    stack.ok("block", "tree", "key=k9", "--reason", "leaked")
    stack.settled("tree", 8)

    lines = stack.ok("budgets", "tree").out.splitlines()
    assert [line.lstrip(GUIDES).split("  ")[0] for line in lines] == [
        "tree",
        "all",
        "search",
        "keys",
        "key=k1&team=a",
        "key=k2&team=a",
        "sessions",
        "session=s1",
        "blocked",
    ]
    assert lines[1].startswith(
        "└── all  all use  50 USD a month  █░░░░░░░░░ 5 of 50 used, 45 left until"
    )
    assert "search  team=a  20 USD a month (Europe/Berlin)" in lines[2]
    assert "████████░░ 4 of 5 used, 1 left" in lines[4]
    assert lines[-1].startswith("blocked  key=k9 by ")
    assert lines[-1].endswith(": leaked")

    found = stack.json("budgets", "tree", "--values", 1)
    assert {each["id"]: each.get("parent") for each in found["budgets"]} == {
        "all": None,
        "keys": "search",
        "search": "all",
        "sessions": "all",
    }
    assert [each["scope"] for each in found["values"]["keys"]] == ["key=k1&team=a"]
    assert found["blocks"][0]["scope"] == {"key": "k9"}
    few = stack.ok("budgets", "tree", "--limit", 2)
    assert "there are more: --limit 20" in few.err


def test_one_budget_is_shown_with_its_terms(stack: Drawdown) -> None:
    given(stack, "one")
    use(stack, "one", 1, "team=a", "key=k1")
    stack.settled("one", 6)
    shown = stack.ok("budget", "show", "one", "keys").out
    assert "cap      each 5 USD a day" in shown
    assert "within   search" in shown
    assert ["key=k1&team=a", "1", "0", "4", "20"] in stack.ok("budget", "show", "one", "keys").rows
    shown = stack.ok("budget", "show", "one", "search").out
    assert "tells at 50 %, 80 %, 100 %" in shown
    assert "now      █░░░░░░░░░ 1 of 20 used, 19 left until" in shown


def test_at_the_cap_is_a_denial_that_says_which_budget(stack: Drawdown) -> None:
    given(stack, "cap")
    use(stack, "cap", 4, "team=a", "key=k1")
    asked = ("--dimension", "team=a", "--dimension", "key=k1", "--quantity", "output=200000")
    denied = stack("authorize", "cap", "llm", *GPT_5, *asked)
    assert denied.code == DENIED
    assert "budget 'keys' of key=k1&team=a has 1 USD left of 5" in denied.out
    denied_id = stack("authorize", "cap", "llm", *GPT_5, *asked, "--json").json["id"]
    told = stack.ok("explain", "cap", denied_id).out
    assert "budget      keys of key=k1&team=a: 4 of 5 used, 1 left until" in told
    assert "; 2 wanted: denies" in told
    assert "budget      search of team=a: 4 of 20 used, 16 left until" in told

    stack.ok("budget", "set", "cap", "keys", 10, "team=a", "key=*", "--every", "day")
    assert stack.ok("authorize", "cap", "llm", *GPT_5, *asked).code == 0


def test_margins_and_watches_are_drawn_beside_caps(stack: Drawdown) -> None:
    stack.ok("grant", "thin", 100)
    stack.ok("budget", "set", "thin", "floor", 20, "--measure", "margin")
    stack.ok("budget", "set", "thin", "teams", 0, "team=*", "--measure", "margin", "--at-cap",
             "alert")  # fmt: skip
    stack.ok("budget", "set", "thin", "pace", 50, "key=*", "--times", 5)
    use(stack, "thin", 2, "team=a", "key=k1")
    stack.settled("thin", 5)

    drawn = stack.ok("budgets", "thin").out
    assert "floor  all use  margin at least 20 % a month  0.4: revenue 2 less cost 1.6" in drawn
    assert "team=a  0.4: revenue 2 less cost 1.6, floor 0 %" in drawn
    assert "each 50 USD a month, told at 5 times its usual hour" in drawn
    assert (
        "now      0.4: revenue 2 less cost 1.6" in stack.ok("budget", "show", "thin", "floor").out
    )
    assert "team=a  0.4: revenue 2" in stack.ok("budget", "show", "thin", "teams").out
    wrong = stack("budget", "set", "thin", "pace", 50, "--times", 5, "--stretch", "minute")
    assert (wrong.code, "--stretch: 'minute' is none of" in wrong.err) == (USAGE, True)


def test_a_scope_is_blocked_and_unblocked(stack: Drawdown) -> None:
    stack.ok("grant", "leaky", 100)
    asked = ("authorize", "leaky", "llm", *GPT_5, "--dimension", "key=k1", "--amount", 1)
    said = stack.ok("block", "leaky", "key=k1", "--reason", "leaked", "--id", "b1").out
    assert said.splitlines() == ["blocked   key=k1 of leaky", "entry     2"]
    again = stack.ok("block", "leaky", "key=k1", "--reason", "leaked", "--id", "b1").out
    assert "(before: this is that result)" in again
    denied = stack(*asked)
    assert (denied.code, "key=k1 is blocked since" in denied.out) == (DENIED, True)
    stack.ok("unblock", "leaky", "key=k1", "--reason", "rotated")
    assert stack.ok(*asked).code == 0
    twice = stack("unblock", "leaky", "key=k1")
    assert (twice.code, "not_blocked" in twice.out) == (DENIED, True)

    stack.ok("block", "leaky", "--all", "--reason", "review", "--until", "2099-01-01T00:00:00Z")
    assert stack("authorize", "leaky", "llm", *GPT_5).code == DENIED
    assert "all use by" in stack.ok("budgets", "leaky").out
    stack.ok("unblock", "leaky", "--all")


def test_entries_about_limits_are_said_in_words(stack: Drawdown) -> None:
    given(stack, "words")
    use(stack, "words", 4, "team=a", "key=k1")
    stack.ok("block", "words", "key=k1", "--reason", "leaked")
    stack.ok("budget", "remove", "words", "sessions", "--reason", "over")
    stack.settled("words", 8)
    about = stack.ok("wallet", "words").out
    assert "search  team=a  20 USD a month (Europe/Berlin)" in about
    assert "key=k1 blocked  leaked" in about
    assert "sessions removed  over" in about
    assert "counted     budget keys of key=k1&team=a 0 -> 4 used of 5, 50 % reached, 80 %" in (
        stack.ok("explain", "words", 6).out
    )
    assert "scope       key=k1 is blocked" in stack.ok("explain", "words", 7).out
    assert "sessions was removed" in stack.ok("explain", "words", 8).out
    assert "cap" not in stack.ok("explain", "words", 8).out
    for topic, said in (
        ("commands", "set_budget  keys  team=a key=*  each 5 USD a day"),
        ("balance-changes", "#3  budget  search  team=a  20 USD a month (Europe/Berlin)"),
        ("balances", "spent  keys  key=k1&team=a  4 of 5 used"),
    ):
        tailed = stack.ok("tail", topic, "--customer", "words", "--from-beginning", "--no-follow")
        assert said in tailed.out


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("budget", "set", "x", "b", 5, "--every", "fortnight"), USAGE, "--every: 'fortnight'"),
        (("budget", "set", "x", "b", 5, "--idle", "soon", "--every", "life"), USAGE, "--idle"),
        (("budget", "set", "x", "b", 5, "--measure", "tokens"), USAGE, "--measure: 'tokens'"),
        (("budget", "set", "x", "b", 5, "--at-cap", "shout"), USAGE, "--at-cap: 'shout'"),
        (("budget", "set", "x", "b", 5, "team"), USAGE, "NAME=VALUE: 'team' is not NAME=VALUE"),
        (("budget", "set", "x", "b", "-5"), USAGE, None),
        (("budget", "set", "x", "b", 5, "--asset", "EUR"), FAILED, "budget.asset: no asset 'EUR'"),
        (("budget", "set", "x", "b", 5, "--zone", "Mars"), FAILED, "budget.window.zone"),
        (("budget", "set", "x", "b", 5, "--within", "none"), FAILED, "budget.within"),
        (("budget", "show", "nobody", "b"), FAILED, "no wallet of 'nobody'"),
        (("budget", "remove", "nobody", "b"), FAILED, "has no budget 'b'"),
        (("block", "x", "--reason", "r"), USAGE, "say which scope, such as key=k-17, or --all"),
        (("block", "x", "key=k", "--all", "--reason", "r"), USAGE, "say which scope"),
        (("block", "x", "key=k"), USAGE, None),
    ],
)
def test_what_cannot_be_is_one_line_with_the_fix(
    stack: Drawdown, command: tuple[object, ...], code: int, said: str | None
) -> None:
    ended = stack(*command)
    assert ended.code == code, ended.err
    if said is not None:
        assert said in ended.error


def test_who_has_no_budget_is_told_how_to_set_one(stack: Drawdown) -> None:
    stack.ok("grant", "free", 1)
    stack.settled("free", 1)
    assert "drawdown budget set free all 500" in stack.ok("budgets", "free").err
