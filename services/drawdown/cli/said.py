"""Records in words: an entry, a decision, a notice, each in a few of them.

They are read as open JSON: a command shows what a newer settlement wrote as far as it knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from drawdown.cli.render import pairs, short_time
from drawdown.events.entries import kind_of_type
from drawdown.events.limit_words import scope_words, terms_words
from drawdown.events.numbers import amount_of, amount_text

Json = Mapping[str, Any]

OUT: Final = frozenset({"debit", "lapse", "hold", "capture"})
"""Kinds of entry whose amount leaves the wallet, or is set aside."""


OTHER: Final = frozenset({"rollover", "settle", "void", "adjust", "convert", "reversal"})
"""Kinds that move the balance either way, or not at all."""


def entry_kind(entry: Json) -> str:
    """`grant`, `debit`, ..."""
    return kind_of_type(str(entry["type"]))


def signed_amount(entry: Json) -> str | None:
    """By how much an entry moves the balance, with its sign and asset; None where it has none."""
    data = entry["data"]
    amount = data.get("amount")
    if amount is None:
        return None
    if (
        "hold" in data or entry_kind(entry) in OTHER
    ):  # what a hold had was not in the balance any more
        moved = amount_of(data["after"]) - amount_of(data["before"])
        return f"{'+' if moved > 0 else ''}{amount_text(moved)} {data['asset']}"
    if entry_kind(entry) in OUT:
        amount = amount_text(-amount_of(amount))  # a debit below zero gives back
    sign = "" if amount == "0" or amount.startswith("-") else "+"
    return f"{sign}{amount} {data['asset']}"


def subscription_about(facts: Json) -> str:
    """A subscription in a few words: what it is to, and what is to become of it."""
    said = f"{facts['id']}  {facts['plan']}"
    if facts["phase"] != "plan":
        said += f", phase {facts['phase']}"
    if facts["seats"] > 1:
        said += f", {facts['seats']} seats"
    if facts["status"] != "active":
        said += f", {facts['status']}"
    if facts.get("canceled"):
        said += f", ends {short_time(facts['ends_at'])}"
    if following := facts.get("next"):
        said += f", then {following['plan']} with {following['seats']} seats"
    return said


def fee_about(facts: Json) -> str:
    """A fee in a few words: of what, for when, and what part of it."""
    seats = f" x {facts['seats']} seats" if facts.get("seats") else ""
    said = (
        f"fee {facts['fee']} of {facts['subscription']}  {facts['price']}{seats}"
        f"  {short_time(facts['starts_at'])} to {short_time(facts['ends_at'])}"
    )
    if facts["pay"] == "invoice":
        said += f"  {facts['amount']} {facts['asset']} to be invoiced"
    return said


def topup_about(facts: Json) -> str:
    """What an entry did about an auto top-up, in a few words."""
    asset, amount = facts["asset"], facts.get("amount")
    until = f" until {short_time(facts['waits_until'])}" if facts.get("waits_until") else ""
    left = f"{facts.get('available')} {asset} left"
    match facts["change"]:
        case "set":
            return f"set for {asset}"
        case "remove":
            return f"removed for {asset}"
        case "request":
            return f"{facts['request']}  {left}: {amount} requested"
        case "capped":
            return f"{left}: the caps allow none{until}"
        case "low":
            return f"{left}: {facts.get('days_left', 0)} days at {facts['burn_a_day']} a day"
        case "rearm":
            return f"armed again for {asset}"
        case ended:
            late = ", late" if facts.get("late") else ""
            wait = f"; waits{until}" if until else ""
            return f"{facts['request']}  {amount} {asset} {ended}{late}{wait}"


def left_about(state: Json) -> str:
    """How a budget stands in a few words."""
    held = state.get("held", "0")
    until = f" until {short_time(state['resets_at'])}" if state.get("resets_at") else ""
    return (
        f"{state['used']} of {state['cap']} used{f', {held} held' if held != '0' else ''},"
        f" {state['left']} left{until}"
    )


def margin_about(state: Json) -> str:
    """How a margin stands in a few words."""
    of = f", floor {state['floor']} %" if state.get("floor") is not None else ""
    until = f" until {short_time(state['resets_at'])}" if state.get("resets_at") else ""
    return (
        f"{state.get('margin', '0')}: revenue {state.get('revenue', '0')} less cost"
        f" {state.get('cost', '0')}{of}{until}"
    )


def blocked_about(blocked: Json) -> str:
    """A block in a few words: of what, by whom, since when and why."""
    block = blocked["block"]
    by = f" by {block['by']}" if block.get("by") else ""
    until = f" until {short_time(block['until_at'])}" if block.get("until_at") else ""
    return (
        f"{scope_words(blocked.get('scope'))}{by} since {short_time(block['since_at'])}{until}:"
        f" {block['reason']}"
    )


def limits_about(facts: Iterable[Json]) -> str:
    """What an entry counts in budgets, in a few words each."""
    return "; ".join([counted_about(each) for each in facts])


def counted_about(facts: Json) -> str:
    """What an entry counts in one budget."""
    of = f" of {facts['scope']}" if facts.get("scope") else ""
    used = f"{facts.get('before', '0')} -> {facts.get('after', '0')}"
    if facts.get("closed"):
        return f"budget {facts['budget']}{of} is over, {facts.get('before', '0')} used"
    held = f"{facts.get('held_before', '0')} -> {facts.get('held', '0')}"
    parts = [
        *([f"{used} used"] if used != _same(facts.get("before", "0")) else []),
        *([f"{held} held"] if held != _same(facts.get("held_before", "0")) else []),
    ]
    told = "".join(f", {percent} % reached" for percent in facts.get("tells", ()))
    return f"budget {facts['budget']}{of} {', '.join(parts)} of {facts['cap']}{told}"


def _same(text: str) -> str:
    return f"{text} -> {text}"


def limit_about(data: Json) -> str | None:
    """What an entry about limits says: a budget, a block, a window that is over; None for another
    entry."""
    if budget := data.get("budget"):
        if budget.get("terms") is None:
            return f"{budget['id']} removed"
        terms = budget["terms"]
        return f"{budget['id']}  {scope_words(terms.get('scope'))}  {terms_words(terms)}"
    if block := data.get("block"):
        until = f" until {short_time(block['until_at'])}" if block.get("until_at") else ""
        done = "blocked" if block["blocked"] else "unblocked"
        return f"{scope_words(block.get('scope'))} {done}{until}"
    return None


def _correction_about(data: Json) -> str | None:
    """What a correction, a conversion or a change of state is about; None for another entry."""
    if reverses := data.get("reverses"):
        return f"of entry {reverses['sequence']}, a {reverses['kind']}"
    if void := data.get("void"):
        if void.get("refunded") is not None:
            return f"{void['grant']}, refunded"
        return f"{void['grant']}{', kept to its end' if void.get('kept') else ''}"
    if conversion := data.get("conversion"):
        way = "from" if data.get("grant") else "to"
        return f"{way} {conversion['amount']} {conversion['asset']}"
    if statement := data.get("statement"):
        sums = statement["sums"]
        return f"{statement['number']}, {sums['starts_at']} to {sums['ends_at']}"
    return data.get("state")


def entry_about(entry: Json) -> str:
    """What an entry is about, in one line."""
    data = entry["data"]
    hold = data.get("hold")
    usage = data.get("usage")
    if hold and not usage:
        use = hold.get("use")
        parts = ["hold", hold["id"]]
        if use:
            parts += [use["meter"], pairs(use["quantities"]), pairs(use["dimensions"])]
        return "  ".join(part for part in [*parts, data.get("reason")] if part)
    if usage:
        parts = [usage["meter"], pairs(usage["quantities"]), pairs(usage["dimensions"])]
        if unpriced := data.get("price", {}).get("unpriced"):
            parts.append(f"({unpriced})")
        if data.get("overdrawn", "0") != "0":
            parts.append(f"({data['overdrawn']} overdrawn)")
        if hold:
            parts.append(f"({data['amount']} captured of hold {hold['id']})")
        if rerates := data.get("rerates"):
            parts.append(f"(re-rating {rerates['run']} of entry {rerates['sequence']})")
        return "  ".join(part for part in parts if part)
    if about := limit_about(data) or _correction_about(data):
        return "  ".join(filter(None, (about, data.get("reason"))))
    if fee := data.get("fee"):
        return fee_about(fee)
    if subscription := data.get("subscription"):
        parts = [subscription["change"], subscription_about(subscription), data.get("reason")]
        return "  ".join(filter(None, parts))
    if topup := data.get("topup"):
        why = topup.get("detail") or data.get("reason")
        return "  ".join(filter(None, (topup_about(topup), topup.get("reference"), why)))

    limits = data.get("limits", ())
    if limits and all(each.get("closed") for each in limits):
        return limits_about(limits)
    running = data.get("running")
    if running:
        since = running.get("starts_at", "")[:10]
        counter = f"counter {running['counter']}" + (f" from {since}" if since else "")
        return "  ".join(filter(None, (counter, data.get("reason"))))
    grant = data.get("grant")
    if grant:
        return "  ".join(filter(None, (grant["category"], grant["id"], data.get("reason"))))
    terms = data.get("terms")
    if terms:
        limits = terms.get("credit_limits", {})
        amounts = {name: "|".join(texts) for name, texts in terms.get("thresholds", {}).items()}
        said = []
        if limits:
            said.append(f"credit limit {pairs(limits)}")
        if amounts:
            said.append(f"tells below {pairs(amounts)}")
        if terms.get("plan"):
            said.append(f"on plan {terms['plan']}")
        if terms.get("drawdown"):
            said.append(f"pays first as {terms['drawdown']}")
        return "; ".join(said)
    if data.get("allocations"):
        return " ".join(part["grant"] for part in data["allocations"])
    return str(data.get("reason") or "")
