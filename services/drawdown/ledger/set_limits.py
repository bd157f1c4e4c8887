"""Commands about limits: budgets are set and removed, scopes are blocked and unblocked.

Each is an entry that states what it set. The wallet keeps how many scopes of which dimensions have
any, so that a customer without limits pays nothing for them, and one with thousands a few reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from drawdown.events.base import milliseconds
from drawdown.events.codec import Command, RecordError, encode, kind_of
from drawdown.events.commands import Block, RemoveBudget, SetBudget, Unblock
from drawdown.events.limits import EACH, BlockFacts, BudgetFacts, BudgetTerms, LimitScope
from drawdown.events.reasons import Reason
from drawdown.events.structs import as_read, replaced, struct_of
from drawdown.ledger.ahead import Ahead
from drawdown.ledger.book import Book, Books
from drawdown.ledger.budget_terms import TermsError, check_terms
from drawdown.ledger.budgets import (
    Budget,
    Scoped,
    budget_key,
    scope_key,
    scope_text,
    shape_text,
)
from drawdown.ledger.evolve import Rows
from drawdown.ledger.grants import REPORTING_DEFAULT, SCALES_DEFAULT
from drawdown.ledger.journal import Entry, Origin, Rare
from drawdown.ledger.limits import NESTED_MAX, is_blocked
from drawdown.ledger.outcome import Moment, blank
from drawdown.ledger.plans import PLAN_BUDGET
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
    return _entry(wallet, says, counts, origin, now)


def _set_budget(
    rows: Rows, wallet: Wallet, command: SetBudget, book: Book | None, _now: Moment
) -> Says:
    terms = as_read(BudgetTerms, command.budget)
    _check_own(command.budget_id)
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


def plan_budget_entries(
    ahead: Ahead,
    old: Mapping[str, BudgetTerms],
    new: Mapping[str, BudgetTerms],
    origin: Origin,
    now: Moment,
) -> None:
    """Set the budgets that a plan has, and remove those that only the plan before had: an entry for
    each that is other than before. They are as many as plans have, whatever else there is."""
    for budget_id, terms in new.items():
        before: Budget | None = ahead.row(budget_key(ahead.wallet.customer, budget_id))
        if before is None or encode(before.terms) != encode(terms):
            counts = dict(ahead.wallet.scopes)
            left = _moved(ahead, before, terms, counts)
            facts = _BudgetFacts(id=budget_id, terms=terms, left_scope=left)
            ahead.add(_entry(ahead.wallet, {"budget": facts}, counts, origin, now))
    for budget_id in [each for each in old if each not in new]:
        before = ahead.row(budget_key(ahead.wallet.customer, budget_id))
        if before is not None:
            says, counts = _removed(ahead, ahead.wallet, before)
            ahead.add(_entry(ahead.wallet, says, counts, origin, now))


def _moved(
    rows: Ahead, before: Budget | None, terms: BudgetTerms, counts: dict[str, int]
) -> LimitScope | None:
    """Count the scope of a plan's budget, and no more the one it leaves, which is returned."""
    if before is not None and before.terms.scope == terms.scope:
        return None
    left = None
    if before is not None:
        left = before.terms.scope
        _leave(counts, _scoped(rows, rows.wallet, left), left)
    if _scoped(rows, rows.wallet, terms.scope) is None:
        shape = shape_text(terms.scope)
        counts[shape] = counts.get(shape, 0) + 1
    return left


def _entry(
    wallet: Wallet, says: dict[str, Any], counts: dict[str, int], origin: Origin, now: Moment
) -> Entry:
    if counts != dict(wallet.scopes):
        says = {**says, "scopes": counts}
    kind = "block" if "block" in says else "budget"
    return replaced(blank(wallet, kind, origin, now), rare=Rare(**says))


def _check(
    rows: Rows, wallet: Wallet, budget_id: str, terms: BudgetTerms, book: Book | None
) -> None:
    """Raises RecordError, naming the field, for terms that cannot be."""
    try:
        if book is None:
            check_terms(terms, "", SCALES_DEFAULT, REPORTING_DEFAULT)
        else:
            scales = {code: asset.scale for code, asset in book.assets.items()}
            check_terms(terms, book.version, scales, book.reporting, book.meters, book.dimensions)
    except TermsError as error:
        raise RecordError(error.reason, error.detail, f"budget.{error.field}") from None
    _check_within(rows, wallet, budget_id, terms)


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
    _check_own(command.budget_id)
    before: Budget | None = rows.row(budget_key(wallet.customer, command.budget_id))
    if before is None:
        raise RecordError(
            Reason.BUDGET_UNKNOWN,
            f"{wallet.customer} has no budget {command.budget_id!r}",
            "budget_id",
        )
    return _removed(rows, wallet, before)


def _removed(rows: Rows, wallet: Wallet, before: Budget) -> Says:
    scope = before.terms.scope
    counts = dict(wallet.scopes)
    _leave(counts, _scoped(rows, wallet, scope), scope)
    return {"budget": _BudgetFacts(id=before.id, left_scope=scope)}, counts


def _check_own(budget_id: str) -> None:
    if budget_id.startswith(PLAN_BUDGET):
        raise RecordError(
            Reason.INVALID,
            f"{PLAN_BUDGET} begins the ids of plans' budgets, which the price book sets: use"
            " another id",
            "budget_id",
        )


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
