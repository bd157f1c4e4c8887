"""What `drawdown explain` says of limits: a budget that was set, a block, what an entry counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drawdown.cli.render import show, time_text
from drawdown.cli.said import counted_about
from drawdown.events.limit_words import scope_words, terms_words


def show_limits(data: Mapping[str, Any]) -> None:
    """What an entry says of limits, if it says anything."""
    if budget := data.get("budget"):
        if budget.get("terms") is None:
            show(f"budget      {budget['id']} was removed, with what was counted in it")
        else:
            _show_terms(budget)
    if block := data.get("block"):
        done = "is blocked" if block["blocked"] else "may run again"
        until = f" until {time_text(block['until_at'])}" if block.get("until_at") else ""
        show(f"scope       {scope_words(block.get('scope'))} {done}{until}")
    for each in data.get("limits", ()):
        show(f"counted     {counted_about(each)}")


def _show_terms(budget: Mapping[str, Any]) -> None:
    terms = budget["terms"]
    show(f"budget      {budget['id']}: {terms_words(terms)}")
    show(f"counts      {scope_words(terms.get('scope'))}")
    if terms.get("meters"):
        show(f"meters      {', '.join(terms['meters'])}")
    if terms.get("within"):
        show(f"within      {terms['within']}")
    if budget.get("left_scope") is not None:
        show(f"counted of  {scope_words(budget['left_scope'])} before")
