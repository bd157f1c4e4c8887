"""The rows of a customer, as `balances` holds them after the last entry.

A customer is rows, not a record: the wallet under the key `customer`, every other row under
`customer<US>kind<US>id` (U+001F). The topic is compacted: its last value per key is the state, and
with the journal's tail it rebuilds a store.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    AmountPositive,
    Count,
    CustomerId,
    Digest,
    DimensionName,
    DimensionValue,
    Identifier,
    Metadata,
    Name,
    Rational,
    Record,
    Timestamp,
)
from drawdown.events.commands import (
    CapturePolicy,
    Category,
    DrawdownPolicy,
    HoldsMax,
    Outage,
    Scope,
    WalletState,
)
from drawdown.events.entries import HeldPart, RecurrenceFacts, SubscriptionFacts
from drawdown.events.limits import (
    BlockState,
    BudgetTerms,
    LimitScope,
    ScopeText,
    Stretch,
    Window,
)
from drawdown.events.statements import IssuedFacts
from drawdown.events.topups import TopUpRequestRow, TopUpRow


class GrantRow(Record):
    """A live grant: balance with terms."""

    id: Identifier
    asset: Name
    category: Category
    priority: Count
    amount: Amount = Field(description="As granted")
    effective_at: Timestamp
    at_once: bool = Field(
        default=False,
        description="In effect for all that is decided after it, also for what was appended before",
    )
    expires_at: Timestamp | None = None
    scope: Scope | None = None
    paid: Amount = Field(default="0", description="Paid for all of it, in the reporting currency")
    sequence: Count = Field(description="Of the entry that granted it")
    metadata: Metadata = Field(default_factory=dict)
    recurrence: RecurrenceFacts | None = None
    next_at: Timestamp | None = Field(default=None, description="When the next cycle begins")
    succeeded: bool = Field(default=False, description="The next cycle has its grant")
    rolled: Identifier | None = Field(
        default=None, description="The recurring grant whose unspent value this is"
    )
    subscription: Identifier | None = Field(default=None, description="Whose plan grants it")
    held: Amount = "0"
    remaining: Amount = Field(description="Neither spent nor held")


class AccountRow(Record):
    """A wallet's holdings of one asset, and the totals of all that ever moved in it.

    Conservation: granted + reversed_in + converted_in + adjusted_up = debited + lapsed + voided +
    reversed_out + converted_out + adjusted_down + held + unspent - credit_used - overdrawn.
    """

    asset: Name
    available: Amount = Field(description="Unspent grants and unused credit limit")
    balance: Amount = Field(description="Unspent grants less credit used and overdrawn")
    unspent: Amount = "0"
    held: Amount = "0"
    credit_limit: Amount = "0"
    credit_used: Amount = Field(default="0", description="With what is held on credit")
    overdrawn: Amount = "0"
    granted: Amount = "0"
    debited: Amount = "0"
    lapsed: Amount = "0"
    credit_held: Amount = Field(default="0", description="Part of `held` that is on credit")
    voided: Amount = "0"
    adjusted_up: Amount = "0"
    adjusted_down: Amount = "0"
    reversed_in: Amount = Field(default="0", description="Given back by reversals")
    reversed_out: Amount = Field(default="0", description="Taken back by reversals")
    converted_in: Amount = "0"
    converted_out: Amount = "0"


class SubscriptionDue(Record):
    """A subscription that is not over; it has a row of its own."""

    id: Identifier
    plan: Name
    next_at: Timestamp = Field(description="When its next cycle begins, or it ends")
    meters: list[Name] = Field(default_factory=list, description="Of metered entitlements")


class WalletRow(Record):
    """The wallet of one customer."""

    row: Literal["wallet"] = "wallet"
    customer: CustomerId
    sequence: Count = Field(description="Of the last entry")
    digest: Digest = Field(description="Of the last entry")
    at: Timestamp = Field(description="Of the last entry")
    accounts: list[AccountRow]
    grants: list[GrantRow] = Field(description="Live grants in drawdown order")
    thresholds: dict[Name, list[Amount]] = Field(default_factory=dict)
    revenue: Amount = Field(default="0", description="Recognized so far, in the reporting currency")
    cost: Amount = "0"
    holds: Count = Field(default=0, description="How many are open; each has a row of its own")
    capture_policy: CapturePolicy | None = Field(default=None, description="None is `allow`")
    outage: Outage | None = Field(default=None, description="None is `closed`")
    holds_max: HoldsMax | None = None
    drawdown: DrawdownPolicy | None = Field(
        default=None, description="Which grants pay first; None is as the price book says"
    )
    state: WalletState = "active"
    plan: Name | None = Field(default=None, description="Whose rates price what is used")
    breakage: Amount = Field(
        default="0", description="Paid for and ended unspent, in the reporting currency"
    )
    issued: IssuedFacts | None = Field(default=None, description="The last statement")
    subscriptions: list[SubscriptionDue] = Field(default_factory=list)
    scopes: dict[str, Count] = Field(
        default_factory=dict,
        description="How many scopes have a budget or a block, by the names of their dimensions",
    )
    topups: list[Name] = Field(
        default_factory=list, description="Assets with an auto top-up; each has a row of its own"
    )


class HeldLimit(Record):
    """What a hold counts in a budget while it is open."""

    budget: Identifier
    scope: ScopeText = ""
    held: AmountPositive


class HoldRow(Record):
    """An open hold; its row is gone once it is closed. Key `customer<US>hold<US>id`."""

    row: Literal["hold"] = "hold"
    customer: CustomerId
    id: Identifier
    authorization: Identifier = Field(description="Id of the command that made it")
    asset: Name
    amount: Amount = Field(description="As it was made")
    held: Amount = Field(description="Now")
    captured: Amount = Field(default="0", description="Debited under it, also beyond what it held")
    allocations: list[HeldPart] = Field(default_factory=list, description="What it holds now")
    credit: Amount = Field(default="0", description="What it holds on credit now")
    meter: Name
    dimensions: dict[DimensionName, DimensionValue] = Field(default_factory=dict)
    created_at: Timestamp
    expires_at: Timestamp = Field(description="Expired at this very instant")
    sequence: Count = Field(description="Of the last entry that changed it")
    limits: list[HeldLimit] = Field(
        default_factory=list, description="The budgets it counts in while it is open"
    )


class ChargedPart(Record):
    """What a grant paid of charges that may be given back to it."""

    grant: Identifier
    amount: Amount
    revenue: Amount = "0"


class RunningRow(Record):
    """What a customer used of a counter in a period. Key `customer<US>running<US>counter#start`;
    gone once no event of the period is accepted any more."""

    row: Literal["running"] = "running"
    customer: CustomerId
    counter: Name
    meter: Name
    asset: Name
    quantity: Rational
    charged: Amount = "0"
    starts_at: Timestamp | None = Field(default=None, description="None: for life")
    ends_at: Timestamp | None = None
    closes_at: Timestamp | None = None
    latest_at: Timestamp | None = None
    commitment: Amount | None = None
    parts: list[ChargedPart] = Field(
        default_factory=list, description="What paid for it, the last one last"
    )
    keyed: bool = Field(default=False, description="There are `seen` rows beside it")
    level: Rational | None = Field(
        default=None, description="The value that holds, reckoned up to `latest_at`"
    )
    rate: Name | None = Field(default=None, description="By which the level is priced")
    sequence: Count = Field(description="Of the last entry that changed it")


class SeenKey(Record):
    """A value that was counted, and what it was charged."""

    amount: Amount = "0"
    parts: list[ChargedPart] = Field(default_factory=list)


class SeenRow(Record):
    """Values of a dimension that were counted: those whose digest begins with `shard`. Key
    `customer<US>seen<US>counter#start#shard`; those of a period go with its running row, those of
    outcomes stay."""

    row: Literal["seen"] = "seen"
    customer: CustomerId
    counter: Name
    starts_at: Timestamp | None = None
    shard: Annotated[str, Field(pattern=r"^[0-9a-f]{2}$")]
    keys: dict[str, SeenKey] = Field(description="By the rest of their SHA-256")
    sequence: Count = Field(description="Of the last entry that changed it")


class ReversedRow(Record):
    """An entry that was reversed: it cannot be again. Key `customer<US>reversed<US>sequence`."""

    row: Literal["reversed"] = "reversed"
    customer: CustomerId
    sequence: Count = Field(description="Of the entry that was reversed")
    by: Count = Field(description="The entry that reversed it")


class ChargedFee(Record):
    """A fee that was charged to the end of the cycle under way."""

    fee: Name
    asset: Name
    pay: Literal["invoice", "wallet"]
    amount: Amount
    since_at: Timestamp
    parts: list[ChargedPart] = Field(default_factory=list, description="What paid for it")


class SubscriptionRow(SubscriptionFacts):
    """A subscription; it stays when it is over. Key `customer<US>subscription<US>id`."""

    row: Literal["subscription"] = "subscription"
    customer: CustomerId
    fees: list[ChargedFee] = Field(default_factory=list)
    used: dict[Name, Rational] = Field(
        default_factory=dict, description="Of metered entitlements, in the cycle under way"
    )
    sequence: Count = Field(description="Of the last entry that changed it")


class BudgetRow(Record):
    """A budget. Key `customer<US>budget<US>id`."""

    row: Literal["budget"] = "budget"
    customer: CustomerId
    id: Identifier
    terms: BudgetTerms
    sequence: Count = Field(description="Of the last entry that changed it")


class ScopeRow(Record):
    """A scope that has budgets or is blocked. Key `customer<US>scope<US>scope`; gone with the last
    of them."""

    row: Literal["scope"] = "scope"
    customer: CustomerId
    scope: LimitScope
    budgets: list[Identifier] = Field(default_factory=list, description="Their ids")
    block: BlockState | None = None
    sequence: Count = Field(description="Of the last entry that changed it")


class Bucket(Record):
    """What was used from `at` on, of a rolling window."""

    at: Timestamp
    used: AmountPositive


class SpentRow(Record):
    """What counts in a budget, of one scope, now. Key `customer<US>spent<US>budget#scope`; of a
    budget for each value it is gone some time after its last use."""

    row: Literal["spent"] = "spent"
    customer: CustomerId
    budget: Identifier
    scope: ScopeText
    each: bool = False
    window: Window
    starts_at: Timestamp | None = None
    ends_at: Timestamp | None = None
    cap: AmountPositive = Field(description="As of the last entry")
    used: AmountPositive = "0"
    held: AmountPositive = "0"
    told: Count = Field(default=0, description="Highest percent that was told in the window")
    buckets: list[Bucket] = Field(default_factory=list)
    last_at: Timestamp = Field(description="Of the last entry that counted")
    closes_at: Timestamp | None = Field(default=None, description="When the row goes by itself")
    sequence: Count = Field(description="Of the last entry that changed it")


class MarginBucket(Record):
    """What was earned and spent from `at` on, of a rolling window."""

    at: Timestamp
    revenue: Amount = "0"
    cost: Amount = "0"


class MarginRow(Record):
    """A margin that a budget watches, of one scope, now. Key `customer<US>margin<US>budget#scope`;
    of a budget for each value it is gone some time after its last change."""

    row: Literal["margin"] = "margin"
    customer: CustomerId
    budget: Identifier
    scope: ScopeText
    each: bool = False
    window: Window
    starts_at: Timestamp | None = None
    ends_at: Timestamp | None = None
    revenue: Amount = Field(default="0", description="In the window, the reporting currency")
    cost: Amount = "0"
    under: bool = Field(default=False, description="Under its floor, as was told")
    buckets: list[MarginBucket] = Field(default_factory=list)
    last_at: Timestamp = Field(description="Of the last entry that changed it")
    closes_at: Timestamp | None = Field(default=None, description="When the row goes by itself")
    sequence: Count = Field(description="Of the last entry that changed it")


class PaceRow(Record):
    """What a scope usually uses in a stretch, and what it used in this one. Key
    `customer<US>pace<US>budget#scope`; of a budget for each value it is gone 35 days after its last
    use."""

    row: Literal["pace"] = "pace"
    customer: CustomerId
    budget: Identifier
    scope: ScopeText
    each: bool = False
    every: Stretch
    zone: str
    starts_at: Timestamp
    ends_at: Timestamp
    used: AmountPositive = Field(default="0", description="In this stretch")
    told: bool = Field(default=False, description="In this stretch")
    stretches: list[AmountPositive] = Field(
        default_factory=list, description="Used in those before that had any use, oldest first"
    )
    last_at: Timestamp = Field(description="Of the last entry that counted")
    closes_at: Timestamp | None = Field(default=None, description="When the row goes by itself")
    sequence: Count = Field(description="Of the last entry that changed it")


AnyRow = Annotated[
    WalletRow
    | HoldRow
    | RunningRow
    | SeenRow
    | ReversedRow
    | SubscriptionRow
    | BudgetRow
    | ScopeRow
    | SpentRow
    | TopUpRow
    | TopUpRequestRow
    | MarginRow
    | PaceRow,
    Field(discriminator="row"),
]
