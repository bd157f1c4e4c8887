"""Statements: a customer's entries of a period, folded into opening, movements and closing.

Relies on the wallets before and after each entry, which the reader has from `evolve`; the lines are
added up from the entries alone, and must come to what the wallets say.

An entry belongs to a period by its place in the journal and not by the time of the usage: a period
begins with the first entry decided at or after its start, so that periods that follow each other
share the journal out without a gap. What was issued stays: an issued period is its range of
entries for good, and what is decided later belongs to a later one, also if it was used before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import tzinfo
from hashlib import sha256
from typing import Any, Final

from drawdown.events import statements as wire
from drawdown.events.base import Value, milliseconds, moment
from drawdown.events.codec import canonical, decode_entry
from drawdown.events.entries import TYPE_PREFIX
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.folded import CustomerRows
from drawdown.ledger.journal import Entry, Sealed, unseal
from drawdown.ledger.slices import BrokenInvariantError, deferred_revenue
from drawdown.ledger.values import GENESIS, Account, Wallet

ISSUED_MARK: Final = f'"type":"{TYPE_PREFIX}statement"'.encode()
"""In the bytes of an entry that issued a statement, and of few others."""
BY_DEFAULT: Final = ("meter", "rate")
"""What usage is grouped by."""

_Statement: Callable[..., wire.Statement] = struct_of(wire.Statement)
_AssetStatement: Callable[..., wire.AssetStatement] = struct_of(wire.AssetStatement)
_Line: Callable[..., wire.Line] = struct_of(wire.Line)
_Standing: Callable[..., wire.Standing] = struct_of(wire.Standing)
_RevenueSums: Callable[..., wire.RevenueSums] = struct_of(wire.RevenueSums)
_GrantRevenue: Callable[..., wire.GrantRevenue] = struct_of(wire.GrantRevenue)
_AssetSums: Callable[..., wire.AssetSums] = struct_of(wire.AssetSums)
_StatementSums: Callable[..., wire.StatementSums] = struct_of(wire.StatementSums)


class Period(Value, frozen=True):
    """From `starts_ms`, included, to `ends_ms`, not included; months are those of `zone`."""

    starts_ms: int
    ends_ms: int
    zone_name: str
    zone: tzinfo

    def month_of(self, at_ms: int) -> str:
        """The calendar month an instant lies in: `2026-09`."""
        here = moment(at_ms).astimezone(self.zone)
        return f"{here.year:04d}-{here.month:02d}"


class Boundary:
    """Where in a customer's entries an instant lies, told as they come by."""

    def __init__(self, at_ms: int, issued: Iterable[wire.StatementFacts]) -> None:
        self._at_ms = at_ms
        self._exact: int | None = None
        self._most: int | None = None
        self.reached = False
        for facts in issued:
            ends_ms, behind = milliseconds(facts.sums.ends_at), facts.sums.last_sequence + 1
            if ends_ms == at_ms:
                self._exact = behind
            elif ends_ms > at_ms:
                self._most = behind if self._most is None else min(self._most, behind)
                if self._exact is None and milliseconds(facts.sums.starts_at) == at_ms:
                    self._exact = facts.sums.first_sequence

    def passed(self, entry: Entry) -> bool:
        """Whether the entry lies at or behind it; entries are asked for in their order."""
        if not self.reached:
            if self._exact is not None:
                self.reached = entry.sequence >= self._exact
            else:
                late = self._most is not None and entry.sequence >= self._most
                self.reached = entry.at_ms >= self._at_ms or late
        return self.reached


class Movement(Value, frozen=True):
    """By how much an entry moves a balance, and what it is grouped by."""

    kind: str
    amount: int
    category: str | None = None
    meter: str | None = None
    rate: str | None = None
    other: str | None = None
    late: str | None = None
    dimensions: tuple[tuple[str, str], ...] = ()


class StatementFold:
    """One customer's entries, in order from the first, into the statement of a period."""

    def __init__(
        self,
        customer: str,
        period: Period,
        reporting: str,
        *,
        by: tuple[str, ...] = BY_DEFAULT,
        issued: Iterable[wire.StatementFacts] = (),
    ) -> None:
        """`by`: `meter`, `rate` and names of dimensions. `issued`: all the statements that the
        customer's journal has, also those behind the period."""
        known = tuple(issued)
        self.customer = customer
        self._period = period
        self._reporting = reporting
        self._by = by
        self._start = Boundary(period.starts_ms, known)
        self._end = Boundary(period.ends_ms, known)
        self._issued = _same_period(period, known)
        self.opening = Wallet(customer)
        self.closing = self.opening
        self._lines: dict[str, dict[tuple[Any, ...], _Sum]] = {}
        self._charged: dict[str, int] = {}
        self._money = _Money()
        self._by_grant: dict[str | None, list[int]] = {}
        self._unpriced = 0

    def add(self, sealed: Sealed, before: Wallet | None, after: Wallet) -> bool:
        """The next entry, with the wallet before and after it; whether it belongs to the period."""
        entry = sealed.entry
        if self._end.passed(entry):
            return False
        self.closing = after
        if not self._start.passed(entry):
            self.opening = after
            return False
        self._count(entry, before or Wallet(entry.customer), after)
        return True

    @property
    def ended(self) -> bool:
        """Whether no later entry can belong to it."""
        return self._end.reached

    def _count(self, entry: Entry, before: Wallet, after: Wallet) -> None:
        self._unpriced += entry.kind == "unpriced"
        late = None
        if entry.usage is not None and entry.kind in USES:
            used_ms = milliseconds(entry.usage.time)
            if used_ms < self._period.starts_ms:
                late = self._period.month_of(used_ms)
        if entry.asset is not None:
            moved = 0
            lines = self._lines.setdefault(entry.asset, {})
            for movement in movements(entry, self._by, late):
                moved += movement.amount
                key = (movement.kind, *[getattr(movement, name) for name in GROUPED])
                lines.setdefault(key, _Sum()).add(movement.amount, entry)
            if moved != entry.after - entry.before:
                raise BrokenInvariantError(
                    "statement-sums",
                    f"{entry.customer}: the movements of entry {entry.sequence} are"
                    f" {amount_text(moved)}, its balance moves by"
                    f" {amount_text(entry.after - entry.before)}",
                )
            if entry.usage is not None:
                taken = entry.amount if entry.kind in USES else -moved
                self._charged[entry.asset] = self._charged.get(entry.asset, 0) + taken
        self._money.add(entry, before, after, self._reporting)
        self._earn(entry)

    def _earn(self, entry: Entry) -> None:
        """Revenue and breakage by the grant they are of."""
        rest = entry.revenue
        for part in entry.slices:
            if part.revenue:
                self._of(part.grant)[0] += part.revenue
                rest -= part.revenue
        if rest:
            own = entry.grant is not None and entry.kind in NEW
            self._of(entry.grant.id if own and entry.grant is not None else None)[0] += rest
        if entry.rare.breakage:
            self._of(entry.slices[0].grant if entry.slices else None)[1] += entry.rare.breakage

    def _of(self, grant: str | None) -> list[int]:
        return self._by_grant.setdefault(grant, [0, 0])

    # what came of it

    def statement(self) -> wire.Statement:
        """The statement. Raises BrokenInvariantError where it does not add up."""
        period, money, issued = self._period, self._money, self._issued
        assets = sorted({*self.opening.accounts, *self.closing.accounts})
        made = _Statement(
            customer=self.customer,
            starts_at=moment(period.starts_ms),
            ends_at=moment(period.ends_ms),
            zone=period.zone_name,
            reporting=self._reporting,
            first_sequence=self.opening.sequence + 1,
            last_sequence=self.closing.sequence,
            closing_digest=self.closing.digest,
            assets=[self._asset(asset) for asset in assets],
            revenue=money.sums(self.opening, self.closing, self._reporting),
            grants=[
                _GrantRevenue(
                    grant=grant, recognized=amount_text(recognized), breakage=amount_text(breakage)
                )
                for grant, (recognized, breakage) in self._by_grant.items()
            ],
            unpriced=self._unpriced,
        )
        if issued is None:
            return made
        return replaced(
            made,
            number=issued.number,
            digest=issued.statement_digest,
            as_issued=sums_of(made) == issued.sums
            and statement_digest(issued) == issued.statement_digest,
        )

    def _asset(self, asset: str) -> wire.AssetStatement:
        opening, closing = self.opening.account(asset), self.closing.account(asset)
        lines = self._lines.get(asset, {})
        moved = sum(each.amount for each in lines.values())
        if opening.balance + moved != closing.balance:
            raise BrokenInvariantError(
                "statement-sums",
                f"{self.customer}: {asset} opens with {opening.balance_text} and closes with"
                f" {closing.balance_text}; its movements are {amount_text(moved)}",
            )
        return _AssetStatement(
            asset=asset,
            opening=_standing(opening),
            closing=_standing(closing),
            charged=amount_text(self._charged.get(asset, 0)),
            lines=[
                _Line(
                    kind=kind,
                    amount=amount_text(found.amount),
                    entries=found.entries,
                    dimensions=dict(dimensions),
                    revenue=amount_text(found.revenue),
                    cost=amount_text(found.cost),
                    **dict(zip(GROUPED, said, strict=False)),
                )
                for (kind, *said, dimensions), found in sorted(lines.items(), key=_line_order)
                # What was held and came back within the period is no movement of it.
                if kind != "held" or found.amount
            ],
        )


GROUPED: Final = ("category", "meter", "rate", "other", "late", "dimensions")
"""What lines of a kind are told apart by."""
USES: Final = frozenset({"debit", "capture", "unpriced"})
NEW: Final = frozenset({"grant", "adjust", "convert"})
"""Kinds whose own grant may have earned at once, by what it paid of debts."""


class _Sum:
    """A line as it grows."""

    def __init__(self) -> None:
        self.amount = self.entries = self.revenue = self.cost = 0

    def add(self, amount: int, entry: Entry) -> None:
        self.amount += amount
        self.entries += 1
        # Of a capture's two movements, what it took from the hold is none.
        if amount != -entry.amount and entry.kind == "capture":
            return
        self.revenue += entry.revenue
        self.cost += entry.cost


def movements(entry: Entry, by: tuple[str, ...], late: str | None) -> list[Movement]:
    """What an entry with an amount moves its balance by; they sum to `after` - `before`."""
    moved = entry.after - entry.before
    kind, amount = entry.kind, entry.amount
    if kind in ("debit", "capture"):
        used = Movement(USED[kind], -amount, **_use(entry, by), late=late)
        gone = moved + amount
        return [used, Movement("held", gone)] if gone else [used]
    if kind == "grant":
        assert entry.grant is not None
        return [Movement("granted", moved, entry.grant.category)]
    if kind == "convert":
        assert entry.rare.conversion is not None
        return [Movement("converted", moved, other=entry.rare.conversion.asset)]
    if kind == "void":
        assert entry.rare.void is not None
        back = entry.rare.void.refunded is not None
        return [Movement("refunded" if back else "voided", moved)]
    if kind == "reversal":
        return [Movement("reversed", moved, **_use(entry, by))]
    if kind in OTHER:
        return [Movement(OTHER[kind], moved)]
    return [Movement(kind, moved)] if moved else []


USED: Final = {"debit": "debited", "capture": "captured"}
OTHER: Final = {
    "hold": "held",
    "release": "held",
    "expire": "held",
    "lapse": "lapsed",
    "adjust": "adjusted",
}


def _use(entry: Entry, by: tuple[str, ...]) -> dict[str, Any]:
    """What usage is grouped by."""
    usage = entry.usage
    if usage is None:
        return {}
    return {
        "meter": usage.meter if "meter" in by else None,
        "rate": entry.price.rate if "rate" in by and entry.price is not None else None,
        "dimensions": tuple(
            [
                (name, usage.dimensions[name])
                for name in by
                if name not in BY_DEFAULT and name in usage.dimensions
            ]
        ),
    }


class _Money:
    """Revenue as it grows, in the reporting currency."""

    def __init__(self) -> None:
        self.paid_in = self.recognized = self.breakage = self.refunded = 0
        self.repriced = self.cost = 0

    def add(self, entry: Entry, before: Wallet, after: Wallet, reporting: str) -> None:
        paid_in = refunded = 0
        if entry.grant is not None and entry.kind in ("grant", "adjust"):
            paid_in = amount_of(entry.grant.paid)
        elif entry.kind == "fee":
            paid_in = entry.revenue  # invoiced, and earned at once
        void = entry.rare.void
        if void is not None and void.refunded is not None:
            refunded = amount_of(void.refunded)
        expected = paid_in - entry.revenue - entry.rare.breakage - refunded
        rest = _net(after, reporting) - _net(before, reporting) - expected
        if entry.kind == "reversal":
            # Of a grant: what was paid for it, recognized or not. Of another entry: nothing is
            # left over, unless it ended as a refund.
            refunded, rest = refunded - rest, 0
        self.paid_in += paid_in
        self.recognized += entry.revenue
        self.breakage += entry.rare.breakage
        self.refunded += refunded
        self.repriced += rest
        self.cost += entry.cost

    def sums(self, opening: Wallet, closing: Wallet, reporting: str) -> wire.RevenueSums:
        return _RevenueSums(
            paid_in=amount_text(self.paid_in),
            recognized=amount_text(self.recognized),
            breakage=amount_text(self.breakage),
            refunded=amount_text(self.refunded),
            repriced=amount_text(self.repriced),
            deferred_opening=amount_text(deferred_revenue(opening)),
            deferred_closing=amount_text(deferred_revenue(closing)),
            unbilled_opening=amount_text(unbilled(opening, reporting)),
            unbilled_closing=amount_text(unbilled(closing, reporting)),
            cost=amount_text(self.cost),
            margin=amount_text(self.recognized - self.cost),
        )


def unbilled(wallet: Wallet, reporting: str) -> int:
    """What was used on credit, is revenue, and is not paid: in the reporting currency alone."""
    account = wallet.accounts.get(reporting)
    return 0 if account is None else account.credit_used - account.credit_held


def _net(wallet: Wallet, reporting: str) -> int:
    return deferred_revenue(wallet) - unbilled(wallet, reporting)


def _standing(account: Account) -> wire.Standing:
    return _Standing(
        balance=account.balance_text,
        unspent=amount_text(account.unspent),
        held=amount_text(account.held),
        credit_used=amount_text(account.credit_used),
        overdrawn=amount_text(account.overdrawn),
    )


def _line_order(item: tuple[tuple[Any, ...], _Sum]) -> tuple[Any, ...]:
    kind, *said = item[0]
    return KINDS.index(kind), *[each or "" for each in said[:-1]], said[-1]


KINDS: Final = (
    "granted",
    "adjusted",
    "converted",
    "debited",
    "captured",
    "reversed",
    "held",
    "lapsed",
    "voided",
    "refunded",
)
"""In the order they are printed."""


def sums_of(statement: wire.Statement) -> wire.StatementSums:
    """What of a statement is issued: its sums by kind."""
    assets = [
        _AssetSums(
            asset=each.asset,
            opening=each.opening.balance,
            closing=each.closing.balance,
            movements=movements_of(each),
        )
        for each in statement.assets
    ]
    return _StatementSums(
        starts_at=statement.starts_at,
        ends_at=statement.ends_at,
        zone=statement.zone,
        reporting=statement.reporting,
        first_sequence=statement.first_sequence,
        last_sequence=statement.last_sequence,
        closing_digest=statement.closing_digest,
        assets=assets,
        revenue=statement.revenue,
    )


def movements_of(asset: wire.AssetStatement) -> dict[wire.Movement, str]:
    """The sums of an asset's lines, by their kind."""
    moved: dict[wire.Movement, int] = {}
    for line in asset.lines:
        moved[line.kind] = moved.get(line.kind, 0) + amount_of(line.amount)
    return {kind: amount_text(amount) for kind, amount in moved.items()}


def statement_digest(facts: wire.StatementFacts) -> str:
    """What the `statement_digest` of an issued statement must be."""
    return sha256(canonical(replaced(facts, statement_digest=GENESIS))).hexdigest()


def issued_in(values: Iterable[bytes]) -> list[wire.StatementFacts]:
    """The statements that entries issued, of the bytes of entries. Raises RecordError."""
    found = [decode_entry(value).data.statement for value in values if ISSUED_MARK in value]
    return [facts for facts in found if facts is not None]


def statement_of(
    customer: str,
    entries: Callable[[], Iterable[bytes]],
    period: Period,
    reporting: str,
    by: tuple[str, ...] = BY_DEFAULT,
) -> wire.Statement:
    """The statement of a period, from the bytes of all the customer's entries, oldest first.

    They are gone through twice: what was issued may stand far behind the period. Raises
    RecordError for what is no entry, BrokenInvariantError for one that does not follow.
    """
    fold = StatementFold(customer, period, reporting, by=by, issued=issued_in(entries()))
    rows = CustomerRows(customer)
    for value in entries():
        sealed, before = unseal(value), rows.wallet
        fold.add(sealed, before, rows.apply(sealed))
        if fold.ended:
            break
    return fold.statement()


def _same_period(
    period: Period, issued: Iterable[wire.StatementFacts]
) -> wire.StatementFacts | None:
    """The statement that was issued of the very period."""
    for facts in issued:
        sums = facts.sums
        if (milliseconds(sums.starts_at), milliseconds(sums.ends_at)) == (
            period.starts_ms,
            period.ends_ms,
        ):
            return facts
    return None
