"""What the ledger reckons with: grants, accounts and wallets, as immutable values.

Amounts are integers of 10^-12 of their asset (`events.numbers`); times are Unix milliseconds. A
wallet is never changed: `evolve` makes the next one. Nothing here knows bytes, topics or clocks.

Every debit writes the wallet it changed, so a value carries the text it is written with, made when
the value is made: most of a wallet did not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal

from drawdown.events.base import KEY_SEPARATOR, Value, at_text
from drawdown.events.commands import (
    CapturePolicy,
    Category,
    DrawdownPolicy,
    Outage,
    WalletState,
)
from drawdown.events.entries import RecurrenceFacts, SubscriptionFacts
from drawdown.events.numbers import amount_text

GENESIS: Final = "0" * 64
"""What the first entry of a customer has as its previous digest."""
GRANTS_MAX: Final = 64
"""Live grants of one wallet."""
GRANTS_LENGTH_MAX: Final = 16 << 10
"""Of their JSON together, in characters: every debit writes it, and a record has a limit."""
NEVER: Final = 1 << 62
"""Later than any time there is: the expiry of a grant that has none, where times are compared."""


class Scope(Value, frozen=True):
    """What a grant may pay for: one of the meters, if any are named, and for each dimension named
    one of its values."""

    meters: tuple[str, ...] = ()
    dimensions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def covers(self, meter: str, dimensions: Mapping[str, str]) -> bool:
        if self.meters and meter not in self.meters:
            return False
        return all(dimensions.get(name) in values for name, values in self.dimensions)


class GrantTerms(Value, frozen=True):
    """What a grant was given with; it never changes.

    In effect from `start_ms`, included, to `expires_ms`, excluded (`NEVER` where it has none).
    """

    id: str
    asset: str
    category: Category
    priority: int
    amount: int
    effective_ms: int
    start_ms: int
    """`effective_ms`; or 0 for a grant that is in effect at once: what was appended a moment before
    it and is decided after it may draw from it."""
    expires_ms: int
    scope: Scope | None
    paid: int
    """For all of it, in the reporting currency."""
    sequence: int
    metadata: tuple[tuple[str, str], ...] = ()
    json: str = ""
    """As `rows` writes it: an object without its end."""
    recurrence: RecurrenceFacts | None = None
    next_ms: int = NEVER
    """When its next cycle begins. Until that is seen to, a grant stays with nothing left in it."""
    succeeded: bool = False
    """The next cycle has its grant."""
    rolled: str | None = None
    """The recurring grant whose unspent value this is."""
    subscription: str | None = None
    """Whose plan grants it: it pays for use alone."""

    @property
    def current(self) -> bool:
        """Whether it is the cycle of a recurrence that the next one follows, or the last."""
        return self.recurrence is not None and not self.succeeded


class Grant(Value, frozen=True):
    """A live grant: balance with terms."""

    terms: GrantTerms
    remaining: int
    """Neither spent nor held."""
    held: int
    json: str
    """As `rows` writes it."""

    def in_effect(self, at_ms: int) -> bool:
        return self.terms.start_ms <= at_ms < self.terms.expires_ms


def live_grant(
    terms: GrantTerms, remaining: int, held: int = 0, remaining_text: str | None = None
) -> Grant:
    """A grant of these terms with this much left; `remaining_text` where it is known."""
    said = f',"held":"{amount_text(held)}"' if held else ""
    json = f'{terms.json}{said},"remaining":"{remaining_text or amount_text(remaining)}"}}'
    return Grant(terms, remaining, held, json)


def recognized(paid: int, amount: int, spent: int) -> int:
    """Revenue recognized by `spent` of a grant of `amount` that `paid` was paid for.

    Half-even on the running total, so that the parts of a grant's revenue always sum to what was
    paid for it: a debit recognizes the difference of two of these.
    """
    if paid == amount:
        return spent
    if not paid:
        return 0
    whole, rest = divmod(paid * spent, amount)
    return whole + (2 * rest > amount or (2 * rest == amount and bool(whole & 1)))


class Flows(Value, frozen=True):
    """The rarer ways in and out of an account, each the total of all that ever moved so."""

    voided: int = 0
    adjusted_up: int = 0
    adjusted_down: int = 0
    reversed_in: int = 0
    reversed_out: int = 0
    converted_in: int = 0
    converted_out: int = 0


NO_FLOWS: Final = Flows()


class Account(Value, frozen=True):
    """A wallet's holdings of one asset, and the totals of all that ever moved in it."""

    asset: str
    balance: int = 0
    """Unspent grants less credit used and overdrawn: negative where more was used than was there.
    Every entry's `before` and `after`."""
    balance_text: str = "0"
    unspent: int = 0
    held: int = 0
    credit_limit: int = 0
    credit_used: int = 0
    overdrawn: int = 0
    granted: int = 0
    debited: int = 0
    lapsed: int = 0
    credit_held: int = 0
    """Part of `held`, and of `credit_used`: what holds have set aside of the credit limit."""
    flows: Flows = NO_FLOWS

    @property
    def credit_left(self) -> int:
        return max(self.credit_limit - self.credit_used, 0)

    @property
    def imbalance(self) -> int:
        """Zero, or money was made or lost: the one formula of conservation (domain.md).

        What is held on credit is in `held` and in `credit_used`.
        """
        flows = self.flows
        came = self.granted + flows.reversed_in + flows.converted_in + flows.adjusted_up
        went = (
            self.debited
            + self.lapsed
            + flows.voided
            + flows.reversed_out
            + flows.converted_out
            + flows.adjusted_down
        )
        return came - (went + self.held + self.unspent - self.credit_used - self.overdrawn)

    @property
    def owed(self) -> int:
        """What the next grant pays first: `overdrawn`, and credit that is used and not held."""
        return self.overdrawn + self.credit_used - self.credit_held


class Policy(Value, frozen=True):
    """What a wallet's terms say about holds and outages; None where they say nothing."""

    capture: CapturePolicy | None = None
    """What is used above a hold: taken too (`allow`, the default), or left uncharged (`cap`)."""
    outage: Outage | None = None
    holds_max: int | None = None
    drawdown: DrawdownPolicy | None = None
    """Which grants pay first; None is as the price book says."""
    state: WalletState = "active"
    plan: str | None = None
    """Whose rates price what is used; None for those for all."""


NO_POLICY: Final = Policy()


class Issued(Value, frozen=True):
    """The last statement of a customer that was issued."""

    number: int
    ends_ms: int
    last_sequence: int
    digest: str


class SubscriptionDue(Value, frozen=True):
    """A subscription that is not over, as the wallet knows it: its row has the rest."""

    id: str
    plan: str
    next_ms: int
    """When its next cycle begins, or it ends."""
    meters: tuple[str, ...]
    """Of metered entitlements: their use is counted."""


class Wallet(Value, frozen=True):
    """The wallet of one customer after its entry number `sequence`."""

    customer: str
    sequence: int = 0
    at_ms: int = 0
    accounts: Mapping[str, Account] = {}
    grants: tuple[Grant, ...] = ()
    """Live grants of all assets, in drawdown order."""
    thresholds: Mapping[str, tuple[int, ...]] = {}
    revenue: int = 0
    cost: int = 0
    digest: str = GENESIS
    due_ms: int | None = None
    """When the next grant expires or comes again, or a subscription's cycle ends: the wallet's
    timer; see `next_due`."""
    holds: int = 0
    """How many are open."""
    policy: Policy | None = None
    breakage: int = 0
    """Paid for and ended unspent, in the reporting currency."""
    issued: Issued | None = None
    subscriptions: tuple[SubscriptionDue, ...] = ()
    scopes: Mapping[str, int] = {}
    """How many scopes have a budget or a block, by shape (`budgets.shape_text`)."""
    topups: tuple[str, ...] = ()
    """Assets with an auto top-up: whatever may make them low looks at their rows."""

    def account(self, asset: str) -> Account:
        return self.accounts.get(asset) or Account(asset)

    @property
    def state(self) -> WalletState:
        return "active" if self.policy is None else self.policy.state

    @property
    def plan(self) -> str | None:
        return None if self.policy is None else self.policy.plan


class Part(Value, frozen=True):
    """The slice of a grant that a hold has set aside."""

    grant: str
    amount: int


class HeldLimit(Value, frozen=True):
    """What a hold counts in a budget while it is open: 10^-12 of what the budget counts."""

    budget: str
    scope: str
    held: int


class Hold(Value, frozen=True):
    """An open hold. What it holds is `held` in its grants and its account, and nobody else's."""

    customer: str
    id: str
    authorization: str
    """Id of the command that made it."""
    asset: str
    amount: int
    """As it was made."""
    held: int
    """The sum of `parts` and `credit`."""
    captured: int
    parts: tuple[Part, ...]
    """In drawdown order."""
    credit: int
    meter: str
    dimensions: Mapping[str, str]
    created_ms: int
    expires_ms: int
    """Expired at this very instant, whenever its timer fires."""
    sequence: int
    limits: tuple[HeldLimit, ...] = ()

    @property
    def due_ms(self) -> int:
        """The hold's timer."""
        return self.expires_ms


class ChargedPart(Value, frozen=True):
    """What a grant paid of charges that may be given back to it."""

    grant: str
    amount: int
    revenue: int


class Running(Value, frozen=True):
    """What a customer used of a counter in a period, from `starts_ms`, included, to `ends_ms`."""

    customer: str
    counter: str
    meter: str
    asset: str
    quantity: int | Fraction
    charged: int
    """Debited for it so far, less what was given back."""
    starts_ms: int
    ends_ms: int
    """`NEVER` for one that runs for life."""
    closes_ms: int
    """From then on no event of the period is accepted."""
    latest_ms: int
    commitment: int | None
    parts: tuple[ChargedPart, ...]
    """What paid for it, the last one last, where it may be given back."""
    keyed: bool
    sequence: int
    level: int | Fraction | None = None
    """The value that holds from `latest_ms` on, of what is weighted by time."""
    rate: str | None = None
    """By which it is priced."""

    @property
    def holds(self) -> bool:
        """Whether a value holds that is still to be reckoned, up to the period's end."""
        return bool(self.level) and self.latest_ms < self.ends_ms

    @property
    def due_ms(self) -> int | None:
        """Its timer: the true-up of a commitment, or what is weighted by time, at the period's end,
        then its closing."""
        short = self.commitment is not None and self.charged < self.commitment
        due_ms = self.ends_ms if short or self.holds else self.closes_ms
        return None if due_ms == NEVER else due_ms


class SeenKey(Value, frozen=True):
    """A value that was counted, and what it was charged."""

    amount: int
    parts: tuple[ChargedPart, ...]


class Seen(Value, frozen=True):
    """Values that were counted: those whose digest begins with `shard`."""

    customer: str
    counter: str
    starts_ms: int | None
    """Of the period; None where they are counted once for all."""
    shard: str
    keys: Mapping[str, SeenKey]
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """None: it goes with the running row of its period."""
        return None


SHARD_LENGTH: Final = 2
"""Hexadecimal digits of a digest that say in which row it stands: 256 rows."""


def running_key(customer: str, counter: str, starts_ms: int, ends_ms: int) -> str:
    """Key of the row of a counter in a period."""
    period = "" if ends_ms == NEVER else at_text(starts_ms)
    return f"{customer}{KEY_SEPARATOR}running{KEY_SEPARATOR}{counter}#{period}"


def seen_key(customer: str, counter: str, starts_ms: int | None, shard: str) -> str:
    """Key of a row of values that were counted. No name has a `#`."""
    period = "" if starts_ms is None else at_text(starts_ms)
    return f"{customer}{KEY_SEPARATOR}seen{KEY_SEPARATOR}{counter}#{period}#{shard}"


def hold_key(customer: str, hold_id: str) -> str:
    """Key of a hold's row."""
    return f"{customer}{KEY_SEPARATOR}hold{KEY_SEPARATOR}{hold_id}"


class Reversed(Value, frozen=True):
    """An entry that was reversed, and by which: for good, so that it is not reversed twice."""

    customer: str
    sequence: int
    by: int

    @property
    def due_ms(self) -> int | None:
        return None


def reversed_key(customer: str, sequence: int) -> str:
    """Key of the row of a reversed entry."""
    return f"{customer}{KEY_SEPARATOR}reversed{KEY_SEPARATOR}{sequence}"


class FeePaid(Value, frozen=True):
    """A fee that was charged to the end of the cycle under way."""

    fee: str
    asset: str
    pay: Literal["invoice", "wallet"]
    amount: int
    since_ms: int
    parts: tuple[ChargedPart, ...]
    """What paid for it, the last one last."""


class Subscription(Value, frozen=True):
    """A customer's subscription after its last entry."""

    customer: str
    facts: SubscriptionFacts
    """As that entry stated it."""
    fees: tuple[FeePaid, ...]
    used: Mapping[str, int | Fraction]
    """Of metered entitlements, in the cycle under way."""
    sequence: int

    @property
    def due_ms(self) -> int | None:
        """None: its timer is the wallet's, so that its cycles begin in order with the grants'."""
        return None


def subscription_key(customer: str, subscription_id: str) -> str:
    """Key of a subscription's row."""
    return f"{customer}{KEY_SEPARATOR}subscription{KEY_SEPARATOR}{subscription_id}"


def next_due(
    grants: tuple[Grant, ...], subscriptions: tuple[SubscriptionDue, ...] = ()
) -> int | None:
    """The soonest expiry of a grant that has something left, or beginning of a next cycle."""
    due_ms = min((each.next_ms for each in subscriptions), default=NEVER)
    for grant in grants:
        terms = grant.terms
        if terms.expires_ms < due_ms and grant.remaining:
            due_ms = terms.expires_ms
        if terms.next_ms < due_ms:
            due_ms = terms.next_ms
    return None if due_ms == NEVER else due_ms
