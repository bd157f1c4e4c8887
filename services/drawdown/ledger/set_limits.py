"""Commands about limits: budgets are set and removed, scopes are blocked and unblocked.

Each is an entry that states what it set. The wallet keeps how many scopes of which dimensions have
any, so that a customer without limits pays nothing for them, and one with thousands a few reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from drawdown.events.base import milliseconds
from drawdown.events.calendar import ZoneError, zone_named
from drawdown.events.codec import Command, RecordError, kind_of
from drawdown.events.commands import Block, RemoveBudget, SetBudget, Unblock
from drawdown.events.limits import EACH, BlockFacts, BudgetFacts, BudgetTerms, Window
from drawdown.events.numbers import amount_of
from drawdown.events.reasons import Reason
from drawdown.events.structs import as_read, replaced, struct_of
from drawdown.ledger.book import Book, Books
from drawdown.ledger.budgets import (
    LIFE,
    ROLLING,
    Budget,
    Scoped,
    budget_key,
    scope_key,
    scope_text,
    shape_text,
)
from drawdown.ledger.evolve import Rows
from drawdown.ledger.grants import checked_amount
from drawdown.ledger.journal import Entry, Origin, Rare
from drawdown.ledger.limits import NESTED_MAX, is_blocked
from drawdown.ledger.outcome import Moment, blank
from drawdown.ledger.values import Wallet

Says = tuple[dict[str, Any], dict[str, int]]
"""What an entry says of a limit, and how many scopes of each shape there are after it."""
SCOPES_MAX: Final = 10_000
"""Scopes of a customer that have a budget or a block."""
SHAPES_MAX: Final = 16
"""Different combinations of dimensions: each is looked at by every use."""
BUDGETS_OF_SCOPE_MAX: Final = 16

_BudgetFacts = struct_of(BudgetFacts)
_BlockFacts = struct_of(BlockFacts)


def limits_entry(
    rows: Rows, wallet: Wallet, command: Command, origin: Origin, books: Books, now: Moment
) -> Entry:
    """The entry of a command about limits, without its id. Raises RecordError."""
    says, counts = LIMITS[kind_of(command)](rows, wallet, command, books.at(now.at_ms), now)
    if counts != dict(wallet.scopes):
        says["scopes"] = counts
    kind = "block" if "block" in says else "budget"
    return replaced(blank(wallet, kind, origin, now), rare=Rare(**says))


def _set_budget(
    rows: Rows, wallet: Wallet, command: SetBudget, book: Book | None, _now: Moment
) -> Says:
    terms = as_read(BudgetTerms, command.budget)
    _check(rows, wallet, command.budget_id, terms, book)
    before: Budget | None = rows.row(budget_key(wallet.customer, command.budget_id))
    counts = dict(wallet.scopes)
    left = None
    if before is None or before.terms.scope != terms.scope:
        scoped = _scoped(rows, wallet, terms.scope)
        if scoped is not None and len(scoped.budgets) >= BUDGETS_OF_SCOPE_MAX:
            raise RecordError(
                Reason.TOO_MANY_BUDGETS,
                f"{len(scoped.budgets)} budgets have this scope: that is as many as may be",
                "budget.scope",
            )
        if before is not None:
            left = before.terms.scope
            _leave(counts, _scoped(rows, wallet, left), left)
        if scoped is None:
            _enter(counts, terms.scope, "budget.scope")
    facts = _BudgetFacts(id=command.budget_id, terms=terms, left_scope=left)
    return {"budget": facts}, counts


def _check(
    rows: Rows, wallet: Wallet, budget_id: str, terms: BudgetTerms, book: Book | None
) -> None:
    """Raises RecordError, naming the field, for terms that say too much or too little."""
    measure = terms.measure
    if (terms.asset is not None) != (measure == "amount"):
        fix = "say of which asset" if measure == "amount" else "is for measure: amount"
        raise RecordError(Reason.INVALID, fix, "budget.asset")
    if (terms.quantity is not None) != (measure == "quantity"):
        fix = "say which quantity" if measure == "quantity" else "is for measure: quantity"
        raise RecordError(Reason.INVALID, fix, "budget.quantity")
    if terms.asset is not None:
        checked_amount(terms.cap, terms.asset, "budget.cap", book, asset_field="budget.asset")
    elif not amount_of(terms.cap):
        raise RecordError(
            Reason.INVALID, "a cap of nothing lets nothing run: block the scope", "budget.cap"
        )
    _check_window(terms.window, measure)
    if any(EACH in value and value != EACH for value in terms.scope.values()):
        raise RecordError(
            Reason.INVALID, f"give a value, or {EACH} alone for each value", "budget.scope"
        )
    for name in terms.scope:
        if book is not None and book.dimensions and name not in book.dimensions:
            raise RecordError(
                Reason.INVALID,
                f"no meter of price book {book.version!r} has the dimension {name!r}; there are "
                + ", ".join(sorted(book.dimensions)),
                f"budget.scope.{name}",
            )
    for meter in terms.meters:
        if book is not None and book.meter(meter) is None:
            raise RecordError(
                Reason.UNKNOWN_METER,
                f"price book {book.version!r} has no meter {meter!r}",
                "budget.meters",
            )
    _check_within(rows, wallet, budget_id, terms)


def _check_window(window: Window, measure: str) -> None:
    every = window.every
    if measure == "open_holds" and every != "total":
        raise RecordError(
            Reason.INVALID, "open holds are counted at a time: say total", "budget.window.every"
        )
    if (window.length_s is not None) != (every == ROLLING):
        fix = "say how long" if every == ROLLING else "is for rolling windows"
        raise RecordError(Reason.INVALID, fix, "budget.window.length_s")
    if window.idle_s is not None and every != LIFE:
        raise RecordError(Reason.INVALID, "is for windows of a life", "budget.window.idle_s")
    try:
        zone_named(window.zone)
    except ZoneError as error:
        raise RecordError(Reason.INVALID, str(error), "budget.window.zone") from None


def _check_within(rows: Rows, wallet: Wallet, budget_id: str, terms: BudgetTerms) -> None:
    """Budgets within budgets end somewhere."""
    outer, depth = terms.within, 0
    while outer is not None:
        depth += 1
        if outer == budget_id:
            raise RecordError(
                Reason.INVALID, f"{budget_id!r} would be within itself", "budget.within"
            )
        if depth > NESTED_MAX:
            raise RecordError(
                Reason.INVALID, f"more than {NESTED_MAX} budgets within each other", "budget.within"
            )
        found: Budget | None = rows.row(budget_key(wallet.customer, outer))
        if found is None:
            if depth == 1:
                raise RecordError(
                    Reason.BUDGET_UNKNOWN, f"there is no budget {outer!r}", "budget.within"
                )
            return
        if depth == 1 and EACH in found.terms.scope.values():
            raise RecordError(
                Reason.INVALID,
                f"{outer!r} is for each value of a dimension: name a budget of one scope",
                "budget.within",
            )
        outer = found.terms.within


def _remove_budget(
    rows: Rows, wallet: Wallet, command: RemoveBudget, _: Book | None, _now: Moment
) -> Says:
    before: Budget | None = rows.row(budget_key(wallet.customer, command.budget_id))
    if before is None:
        raise RecordError(
            Reason.BUDGET_UNKNOWN,
            f"{wallet.customer} has no budget {command.budget_id!r}",
            "budget_id",
        )
    scope = before.terms.scope
    counts = dict(wallet.scopes)
    _leave(counts, _scoped(rows, wallet, scope), scope)
    facts = _BudgetFacts(id=command.budget_id, left_scope=scope)
    return {"budget": facts}, counts


def _block(rows: Rows, wallet: Wallet, command: Block, _: Book | None, now: Moment) -> Says:
    if any(EACH in value for value in command.scope.values()):
        raise RecordError(Reason.INVALID, f"{EACH} is no value: name one", "scope")
    if command.until_at is not None and milliseconds(command.until_at) <= now.at_ms:
        raise RecordError(Reason.INVALID, "is not after now", "until_at")
    counts = dict(wallet.scopes)
    if _scoped(rows, wallet, command.scope) is None:
        _enter(counts, command.scope, "scope")
    facts = _BlockFacts(scope=command.scope, blocked=True, until_at=command.until_at)
    return {"block": facts}, counts


def _unblock(rows: Rows, wallet: Wallet, command: Unblock, _: Book | None, now: Moment) -> Says:
    scoped = _scoped(rows, wallet, command.scope)
    if scoped is None or scoped.block is None or not is_blocked(scoped.block, now.at_ms):
        what = scope_text(command.scope) or "the customer"
        raise RecordError(Reason.NOT_BLOCKED, f"{what} is not blocked", "scope")
    counts = dict(wallet.scopes)
    if not scoped.budgets:
        _one_less(counts, command.scope)
    facts = _BlockFacts(scope=command.scope, blocked=False)
    return {"block": facts}, counts


LIMITS: Final[Mapping[str, Callable[..., Says]]] = {
    "set_budget": _set_budget,
    "remove_budget": _remove_budget,
    "block": _block,
    "unblock": _unblock,
}
"""What makes the entry of each command about limits."""


def _scoped(rows: Rows, wallet: Wallet, scope: Mapping[str, str]) -> Scoped | None:
    return cast(Scoped | None, rows.row(scope_key(wallet.customer, scope_text(scope))))


def _enter(counts: dict[str, int], scope: Mapping[str, str], field: str) -> None:
    """One scope more. Raises RecordError where there are as many as may be."""
    shape = shape_text(scope)
    if sum(counts.values()) >= SCOPES_MAX:
        raise RecordError(
            Reason.TOO_MANY_BUDGETS,
            f"{SCOPES_MAX} scopes have budgets or blocks: that is as many as may be",
            field,
        )
    if shape not in counts and len(counts) >= SHAPES_MAX:
        raise RecordError(
            Reason.TOO_MANY_BUDGETS,
            f"{SHAPES_MAX} combinations of dimensions have budgets: that is as many as may be",
            field,
        )
    counts[shape] = counts.get(shape, 0) + 1


def _leave(counts: dict[str, int], scoped: Scoped | None, scope: Mapping[str, str]) -> None:
    """One budget of a scope less: the last one takes the scope with it, unless it is blocked."""
    if scoped is not None and len(scoped.budgets) == 1 and scoped.block is None:
        _one_less(counts, scope)


def _one_less(counts: dict[str, int], scope: Mapping[str, str]) -> None:
    shape = shape_text(scope)
    counts[shape] -= 1
    if not counts[shape]:
        del counts[shape]
