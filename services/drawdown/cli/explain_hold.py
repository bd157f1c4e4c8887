"""`drawdown explain` of an entry about a hold.

What was held, from where it paid, what went back, and what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drawdown.cli.decided import behind
from drawdown.cli.render import show, show_table, time_text
from drawdown.cli.said import entry_kind
from drawdown.events.numbers import amount_of, amount_text

if TYPE_CHECKING:
    from drawdown.cli.explain import Explained


def show_hold(explained: Explained) -> None:
    hold, asset = explained.hold, explained.asset
    state = "closed by this" if hold.get("closed") else f"until {time_text(hold['expires_at'])}"
    show(f"hold        {hold['id']}: {hold['before']} -> {hold['after']} {asset} held, {state}")
    if hold.get("charge"):
        left = amount_of(hold["charge"]) - amount_of(explained.amount("amount"))
        show(
            f"uncharged   {amount_text(left)} {asset}: the customer's terms cap a capture at what"
            " is held"
        )


def show_read(data: Mapping[str, Any]) -> None:
    read = data["read"]
    show(f"allowed     {read['available']} {data['asset']} were available")
    show(f"read        entry {data['sequence'] - 1}, {behind(read)}")


def show_parts(explained: Explained) -> None:
    """From where a hold paid, and what went back."""
    for name, what in (("taken", "of the hold"), ("returned", "given back")):
        rows: list[tuple[object, ...]] = [
            (f"  grant {part['grant']}", part["amount"]) for part in explained.hold.get(name, ())
        ]
        credit = explained.hold.get(f"{name}_credit", "0")
        if credit != "0":
            rows.append(("  on credit", credit))
        if rows:
            show()
            show_table((what, ">amount"), rows)


def show_since(explained: Explained) -> None:
    """What became of the hold."""
    if explained.hold.get("closed"):
        return
    show()
    for entry in explained.since:
        data = entry["data"]
        amount = f" of {data['amount']} {data['asset']}" if data.get("amount") else ""
        closed = ", which closed it" if data["hold"].get("closed") else ""
        show(
            f"since       entry {data['sequence']}, {time_text(entry['time'])}:"
            f" {entry_kind(entry)}{amount}{closed}"
        )
    if not any(entry["data"]["hold"].get("closed") for entry in explained.since):
        show("since       it is open")
