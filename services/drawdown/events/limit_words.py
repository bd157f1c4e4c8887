"""Budgets in words, from open JSON: what a newer version wrote is said as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drawdown.events.limits import EACH, IDLE_S_DEFAULT

WINDOWS: Final = {"hour": "an hour", "day": "a day", "week": "a week", "month": "a month"}
LENGTHS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
ALL: Final = "all use"


def scope_words(scope: Mapping[str, str] | None) -> str:
    """A scope: `team=a key=*`, or all use."""
    return " ".join(f"{name}={value}" for name, value in (scope or {}).items()) or ALL


def unit_words(terms: Mapping[str, Any]) -> str:
    """What a budget's cap is a number of: `USD`, `requests`, `open holds`."""
    measure = str(terms.get("measure", "amount"))
    return str(terms.get("asset") or terms.get("quantity") or measure.replace("_", " "))


def window_words(terms: Mapping[str, Any]) -> str:
    """A budget's window: `a month (Europe/Berlin)`, `in 15m`, `for life, idle 30m`."""
    window = terms.get("window", {})
    every = str(window.get("every", "month"))
    match every:
        case "rolling":
            return f"in {length_text(window['length_s'])}"
        case "life":
            return f"for life, idle {length_text(window.get('idle_s') or IDLE_S_DEFAULT)}"
        case "total":
            return "at a time" if terms.get("measure") == "open_holds" else "in all"
    zone = window.get("zone", "UTC")
    return WINDOWS.get(every, every) + ("" if zone == "UTC" else f" ({zone})")


def terms_words(terms: Mapping[str, Any]) -> str:
    """A budget's cap, floor or watch: `each 500 USD a month`, `margin at least 20 % a month`."""
    each = "each " if EACH in terms.get("scope", {}).values() else ""
    only = ", only told" if terms.get("at_cap") == "alert" else ""
    watch = ""
    if velocity := terms.get("velocity"):
        watch = f", told at {velocity['times']} times its usual {velocity.get('every', 'hour')}"
    if terms.get("measure") == "margin":
        floor = terms.get("floor")
        said = "margin, its sign is told," if floor is None else f"margin at least {floor} %"
        return f"{each}{said} {window_words(terms)}{only if floor is not None else ''}"
    if terms.get("cap") is None:
        return f"{each}{unit_words(terms)} without a cap{watch}"
    return f"{each}{terms['cap']} {unit_words(terms)} {window_words(terms)}{only}{watch}"


def length_text(seconds: int) -> str:
    """90s, 15m, 6h, 7d: in the largest unit that it is a whole number of.

    >>> [length_text(seconds) for seconds in (90, 900, 21_600, 604_800)]
    ['90s', '15m', '6h', '7d']
    """
    unit, letter = next(each for each in LENGTHS if seconds % each[0] == 0)
    return f"{seconds // unit}{letter}"
