"""`topup`: set, shown, settled, removed and explained."""

from __future__ import annotations

import pytest
from tests.cli.commands import Drawdown

from drawdown.cli.outcome import FAILED, USAGE

pytestmark = pytest.mark.kafka


def test_an_auto_top_up_is_run_from_the_command_line(stack: Drawdown) -> None:
    stack.ok("grant", "tops", 10)
    said = stack.ok("topup", "set", "tops", "--below", 20, "--buy", 50, "--at-most", 2).out
    assert "top-up   set for USD" in said
    stack.settled("tops", 3)
    shown = stack.ok("topup", "show", "tops").out
    assert "below 20" in shown
    assert "2 or 100 a month" in shown
    assert "asks for topup-USD-3" in shown
    assert "USD has an auto top-up" in stack.ok("wallet", "tops").out
    assert "10 USD left: 50 requested" in stack.ok("explain", "tops", 3).out

    paid = ("topup", "settle", "tops", "topup-USD-3", "paid", "--reference", "pi_1", "--id", "p")
    assert "balance  60 USD" in stack.ok(*paid).out
    assert "(before: this is that result)" in stack.ok(*paid).out
    again = stack("topup", "settle", "tops", "topup-USD-3", "failed")
    assert (again.code, "[topup_settled]" in again.error) == (FAILED, True)
    stack.settled("tops", 4)
    found = stack.ok("topup", "show", "tops", "--json").json
    assert [each["state"] for each in found["requests"]] == ["paid"]
    assert "topup-USD-3  50 USD paid" in stack.ok("wallet", "tops").out

    assert "removed for USD" in stack.ok("topup", "remove", "tops").out
    assert stack.ok("topup", "set", "tops", "--days-left", 3, "--json").json["allowed"]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("set", "x", "--buy", "5", "--at-most", "1"), USAGE, "say what is low"),
        (("set", "x", "--below", "5", "--buy", "5"), USAGE, "--at-most N"),
        (("set", "x", "--below", "5", "--at-most", "1"), USAGE, "give --buy AMOUNT"),
        (("set", "x", "--below", "-5", "--buy", "5", "--at-most", "1"), USAGE, "is no amount"),
        (("set", "x", "--below", "5"), FAILED, "set_terms"),
        (("set", "x", "--below", "5", "--buy", "5", "--at-most", "1", "--per", "year"), USAGE,
         "--per"),
        (("remove", "nobody"), FAILED, "there is no auto top-up"),
        (("settle", "nobody", "r", "paid"), FAILED, "no top-up 'r' was requested"),
        (("settle", "nobody", "r", "maybe"), USAGE, "neither paid nor failed"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_with_the_fix(
    stack: Drawdown, command: tuple[object, ...], code: int, said: str
) -> None:
    ended = stack("topup", *command)
    assert (ended.code, said in ended.error) == (code, True)


def test_nobody_is_charged_without_a_provider(stack: Drawdown) -> None:
    ended = stack("notify")
    assert (ended.code, "DRAWDOWN_PAYMENT_URL" in ended.error) == (USAGE, True)
