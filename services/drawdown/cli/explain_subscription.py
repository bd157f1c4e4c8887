"""What `drawdown explain` says of a subscription: its state, a fee, what a use counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drawdown.cli.render import show, time_text
from drawdown.cli.said import subscription_about
from drawdown.events.numbers import amount_of, amount_text

DID: Final = {
    "subscribe": "was subscribed to",
    "begin": "began",
    "renew": "began its next cycle",
    "change": "was changed",
    "cancel": "was canceled",
    "resume": "goes on after all",
    "end": "ended",
}


def show_subscription(data: Mapping[str, Any]) -> None:
    """What an entry says of subscriptions, if it says anything."""
    if facts := data.get("subscription"):
        show(f"subscription {subscription_about(facts)}: {DID[facts['change']]}")
        show(f"cycle       {time_text(facts['starts_at'])} to {time_text(facts['ends_at'])}")
        show(f"plan        {facts['plan']} of price book {facts['book']}")
        for each in facts.get("entitlements", []):
            what = f"{each['limit']} {each['quantity']}" if each.get("meter") else each.get("value")
            show(f"entitled    {each['id']}: {'yes' if what is True else what}")
    if fee := data.get("fee"):
        _show_fee(fee)
    for each in data.get("counted", []):
        before = each.get("before", "0")
        show(
            f"counted     {before} -> {each['after']} of entitlement {each['entitlement']} of"
            f" {each['subscription']}"
        )


def _show_fee(fee: Mapping[str, Any]) -> None:
    back = amount_of(fee["amount"]) < 0
    show(f"fee         {fee['fee']} of {fee['subscription']}, plan {fee['plan']}, {fee['when']}")
    show(f"for         {time_text(fee['starts_at'])} to {time_text(fee['ends_at'])}")
    seats = f" x {fee['seats']} seats" if fee.get("seats") else ""
    part = fee.get("part", "1")
    by_time = f" x {part} of the time" if part != "1" else ""
    rounding = "" if fee.get("rounding", "exact") == "exact" else f", rounded {fee['rounding']}"
    given = "given back  " if back else "charged     "
    amount = amount_text(abs(amount_of(fee["amount"])))
    show(f"{given}{fee['price']}{seats}{by_time} = {amount} {fee['asset']}{rounding}")
    if fee["pay"] == "invoice":
        show("paid        outside: it is to be invoiced, and moves no balance")
