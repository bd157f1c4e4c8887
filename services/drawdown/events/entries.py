"""The journal: one entry per change, as CloudEvents on `balance-changes`.

An entry carries all that later questions need, so that nothing has to be looked up to explain a
charge, rebuild a row or check a statement. The `digest` is the last field: the SHA-256 of every
byte of the record before `,"digest":`; `data.previous` is the digest of the customer's previous
entry, so that the entries of a customer form a chain.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from drawdown.events.base import (
    Amount,
    Count,
    CustomerId,
    Digest,
    DimensionName,
    DimensionValue,
    Fingerprint,
    Identifier,
    Metadata,
    Name,
    QuantityText,
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
    Rollover,
    Scope,
    WalletState,
)
from drawdown.events.limits import BlockFacts, BudgetFacts, LimitFacts, MarginFacts, PaceFacts
from drawdown.events.statements import StatementFacts
from drawdown.events.topups import TopUpFacts

EntryType = Literal[
    "drawdown.entry.grant",
    "drawdown.entry.debit",
    "drawdown.entry.unpriced",
    "drawdown.entry.lapse",
    "drawdown.entry.terms",
    "drawdown.entry.hold",
    "drawdown.entry.capture",
    "drawdown.entry.release",
    "drawdown.entry.expire",
    "drawdown.entry.extend",
    "drawdown.entry.rollover",
    "drawdown.entry.settle",
    "drawdown.entry.void",
    "drawdown.entry.adjust",
    "drawdown.entry.reversal",
    "drawdown.entry.convert",
    "drawdown.entry.state",
    "drawdown.entry.close",
    "drawdown.entry.statement",
    "drawdown.entry.subscription",
    "drawdown.entry.fee",
    "drawdown.entry.budget",
    "drawdown.entry.block",
    "drawdown.entry.topup",
]
TYPE_PREFIX: Final = "drawdown.entry."
"""What stands before the entry's kind in the event's type."""


def kind_of_type(event_type: str) -> str:
    """`debit`, `grant`, ... of an entry's type."""
    return event_type.removeprefix(TYPE_PREFIX)


class Cause(Record):
    """Why the entry exists: the record that was decided, or a timer that came due."""

    topic: Name | None = Field(default=None, description="Without the environment's prefix")
    partition: Count | None = None
    offset: Count | None = None
    timer: Name | None = None
    due_at: Timestamp | None = None
    accepted_late_by: Identifier | None = Field(
        default=None,
        description="The operator who had usage booked that is older than the lateness window",
    )


class UsageFacts(Record):
    """What was used."""

    meter: Name
    time: Timestamp
    quantities: dict[Name, int | QuantityText]
    dimensions: dict[DimensionName, DimensionValue]


class PriceFacts(Record):
    """How the charge came about: the rate that matched and the book it is from."""

    book: Name = Field(description="Version of the price book in effect at the event's time")
    book_offset: Count = Field(description="Its commit record on `price-book`")
    rate: Name | None = None
    rounding: str | None = Field(
        default=None, description="`exact` where nothing was rounded, else mode and places"
    )
    cost_rate: Name | None = Field(
        default=None, description="Rate of the cost; `reported` where the event stated it"
    )
    unpriced: str | None = Field(default=None, description="What has no price")
    match: DimensionValue | None = Field(
        default=None,
        description="How the rate was found: `exact` dimensions, the pattern, or `default`",
    )
    own: DimensionValue | None = Field(
        default=None,
        description="Whose rate it is, where it is not for all: `customer <id>` or `plan <id>`",
    )


class Allocation(Record):
    """The slice of a grant that was taken, or given back where negative."""

    grant: Identifier
    amount: Amount
    revenue: Amount = Field(default="0", description="Recognized by it, in the reporting currency")


class RecurrenceFacts(Record):
    """How a grant comes again, as it stands in the cycle that has it."""

    id: Identifier = Field(description="Of the first cycle's grant")
    every: Literal["hour", "day", "week", "month", "year"]
    count: int = 1
    anchor: Timestamp
    zone: str = "UTC"
    mode: Literal["reset", "accumulate"] = "reset"
    amount: Amount = Field(description="Of each cycle")
    paid: Amount = Field(default="0", description="For each cycle, in the reporting currency")
    left: Count | None = Field(default=None, description="Cycles after this one; None: no count")
    ends_at: Timestamp | None = None
    rollover: Rollover | None = None


class GrantFacts(Record):
    """The terms of a grant."""

    id: Identifier
    category: Category
    priority: Count
    effective_at: Timestamp
    at_once: bool = Field(
        default=False,
        description="In effect for all that is decided after it, also for what was appended before",
    )
    expires_at: Timestamp | None = None
    scope: Scope | None = None
    paid: Amount = Field(description="What was paid for all of it, in the reporting currency")
    metadata: Metadata = Field(default_factory=dict)
    recurrence: RecurrenceFacts | None = None
    next_at: Timestamp | None = Field(default=None, description="When the next cycle begins")
    rolled: Identifier | None = Field(
        default=None, description="The recurring grant whose unspent value this is"
    )
    subscription: Identifier | None = Field(
        default=None, description="Whose plan grants it: it pays no fee, and nothing that is owed"
    )


class TermsFacts(Record):
    """The wallet's terms as they stand after the entry."""

    credit_limits: dict[Name, Amount] = Field(default_factory=dict)
    thresholds: dict[Name, list[Amount]] = Field(default_factory=dict)
    capture_policy: CapturePolicy | None = None
    outage: Outage | None = None
    holds_max: HoldsMax | None = None
    drawdown: DrawdownPolicy | None = None
    plan: Name | None = None


class VoidFacts(Record):
    """The grant that was ended."""

    grant: Identifier
    sequence: Count = Field(description="Of the entry that granted it")
    kept: bool = Field(default=False, description="What is left is kept; it does not come again")
    refunded: Amount | None = Field(
        default=None,
        description="Paid back for what was taken of it, in the reporting currency; none of it is"
        " breakage",
    )
    part: bool = Field(default=False, description="It lives on with what is left")
    whole: Amount | None = Field(
        default=None, description="With `part`: so much is a whole cycle of it from then on"
    )


class ReversesFacts(Record):
    """The entry that was reversed."""

    sequence: Count
    entry_digest: Digest
    kind: Name
    back: bool = Field(description="Whether value comes back to the customer by this")
    again: bool = Field(default=False, description="It was a reversal: this restores what was")
    deferred: Amount = Field(
        default="0", description="Paid for what was taken back of its grant, and not recognized"
    )


class ReratesFacts(Record):
    """What a re-rating priced anew. It is two entries: the reversal of what was charged, and the
    new charge."""

    run: Identifier = Field(description="The run it was part of")
    sequence: Count = Field(description="Of the entry that was priced anew")
    entry_digest: Digest
    book: Name = Field(description="Version it was priced by before")
    amount: Amount | None = Field(default=None, description="Charged before; None: it had no price")


class ConversionFacts(Record):
    """The other side of a conversion, which is the entry before or after."""

    asset: Name
    amount: Amount
    price: str = Field(description="Of one unit given, in the asset that is wanted")


class HeldPart(Record):
    """The slice of a grant that a hold has set aside."""

    grant: Identifier
    amount: Amount


class HoldFacts(Record):
    """The hold an entry is about, and what the entry did to it.

    What a `hold` entry sets aside stands in the entry's `allocations` and `credit`. A capture's
    `amount` is what was debited: `taken` of it came out of the hold, the rest from what was free.
    """

    id: Identifier
    amount: Amount = Field(description="As it was made")
    created_at: Timestamp
    expires_at: Timestamp = Field(description="After the entry")
    before: Amount = Field(description="Held by it before the entry")
    after: Amount = Field(description="Held by it after the entry")
    closed: bool = Field(default=False, description="By this entry")
    taken: list[HeldPart] = Field(default_factory=list, description="Captured out of it")
    taken_credit: Amount = "0"
    returned: list[HeldPart] = Field(
        default_factory=list, description="Given back to the grants it came from"
    )
    returned_credit: Amount = "0"
    charge: Amount | None = Field(
        default=None, description="The price, where the terms' `cap` made the debit less"
    )
    use: UsageFacts | None = Field(
        default=None, description="What it was made for, with the quantities as estimated"
    )


class ReadFacts(Record):
    """What an authorization read: with the entry it is the proof of its decision."""

    available: Amount
    usage_lag_records: Count = 0
    usage_lag_ms: Count = 0


class RunningFacts(Record):
    """The running quantity an entry was priced by, and moved; or that its period was closed."""

    counter: Name
    starts_at: Timestamp | None = Field(default=None, description="Of the period; None: for life")
    ends_at: Timestamp | None = None
    closes_at: Timestamp | None = Field(
        default=None, description="When no event of the period is accepted any more"
    )
    first: bool = Field(default=False, description="Use of the period")
    before: Rational = "0"
    after: Rational = "0"
    meter: Name | None = None
    latest_at: Timestamp | None = Field(default=None, description="Of what `latest` counts")
    key: Digest | None = Field(
        default=None, description="Of the value that was counted once: its SHA-256"
    )
    undone: bool = Field(default=False, description="The key's charge was given back")
    refundable: bool = Field(
        default=False, description="What was taken is remembered, because it may be given back"
    )
    commitment: Amount | None = Field(default=None, description="Of the period, to be trued up")
    closed: bool = Field(default=False, description="By this entry")
    reversed: bool = Field(
        default=False, description="A key that was counted is not any more; one undone is again"
    )
    place: list[Rational] | None = Field(
        default=None,
        description="Of an entry that was priced anew: the running quantity before and after what"
        " it is for, which it was priced by; what is counted stays as it is",
    )
    level: Rational | None = Field(
        default=None, description="Of what is weighted by time: the value that holds from now on"
    )
    rate: Name | None = Field(default=None, description="Which goes on while the level holds")
    next_ends_at: Timestamp | None = Field(
        default=None, description="At a period's end: of the next one, which begins with the level"
    )
    over: bool = Field(
        default=False, description="The period is closed: nothing of it is counted any more"
    )


class NextTerms(Record):
    """What a subscription changes to when its cycle ends."""

    plan: Name
    seats: Count


class EntitledTo(Record):
    """A right, as a subscription has it in its cycle. Of a metered one `limit` is for all seats."""

    id: Name
    value: bool | int | DimensionValue | None = None
    meter: Name | None = None
    quantity: Name | None = None
    limit: Rational | None = None


class SubscriptionFacts(Record):
    """A subscription as it stands after the entry, whole."""

    id: Identifier
    plan: Name
    phase: Name
    book: Name = Field(description="Version of the price book that has the plan as it counts now")
    book_offset: Count
    status: Literal["scheduled", "active", "ended"]
    seats: Count
    change: Literal["subscribe", "begin", "renew", "change", "cancel", "resume", "end"] = Field(
        description="What the entry did"
    )
    begun_at: Timestamp = Field(description="The first cycle's beginning")
    starts_at: Timestamp = Field(description="Of the cycle under way, included")
    ends_at: Timestamp = Field(description="Of the cycle under way, excluded")
    basis_at: Timestamp | None = Field(
        default=None,
        description="Where a whole cycle with this end begins, if this one is shorter",
    )
    since_at: Timestamp | None = Field(
        default=None,
        description="From when in the cycle the terms are charged; default its beginning",
    )
    cycle: Count = Field(default=1, description="Of the phase, from 1")
    anchor: Timestamp | None = Field(default=None, description="As it was asked for")
    counted_from: Timestamp | None = Field(
        default=None, description="Where the count of cycles begins, without an anchor"
    )
    canceled: bool = Field(default=False, description="It ends when the cycle does")
    next: NextTerms | None = None
    entitlements: list[EntitledTo] = Field(default_factory=list)


class FeeFacts(Record):
    """A fee of a subscription: charged, or given back where below zero."""

    subscription: Identifier
    plan: Name
    book: Name = Field(description="Version of the price book it is from")
    fee: Name
    when: Literal["advance", "arrears"]
    pay: Literal["invoice", "wallet"]
    asset: Name
    amount: Amount
    price: Amount = Field(description="Of a whole cycle, or of a seat in one")
    seats: Count | None = Field(default=None, description="Where it is per seat")
    starts_at: Timestamp = Field(description="Of the time it is for, included")
    ends_at: Timestamp = Field(description="Of the time it is for, excluded")
    part: Rational = Field(
        default="1", description="Of a whole cycle, or of what was charged, by time"
    )
    rounding: str = Field(default="exact", description="`exact`, or mode and places")


class CountedFacts(Record):
    """What a use counts of an entitlement in the cycle of its subscription."""

    subscription: Identifier
    entitlement: Name
    before: Rational = "0"
    after: Rational


class EntryData(Record):
    """The body of an entry. Amounts are in `asset`; costs, revenue and margin in the reporting
    currency."""

    sequence: Count = Field(description="Of the customer's entries, from 1, without a gap")
    previous: Digest = Field(description="Of the customer's entry before this one")
    cause: Cause
    actor: Identifier | None = Field(default=None, description="Id of the API key")
    source: Identifier | None = Field(default=None, description="Of the usage event")
    id: Identifier | None = Field(default=None, description="Of the usage event or the command")
    fingerprint: Fingerprint | None = Field(default=None, description="Of its content")
    usage: UsageFacts | None = None
    price: PriceFacts | None = None
    asset: Name | None = None
    amount: Amount | None = Field(
        default=None,
        description="By how much the entry is; a debit below zero gives back: a volume tier was"
        " crossed, a seat given up, an outcome undone",
    )
    before: Amount | None = Field(
        default=None,
        description="The account's balance: unspent grants less credit used and overdrawn",
    )
    after: Amount | None = None
    allocations: list[Allocation] = Field(default_factory=list)
    credit: Amount = Field(default="0", description="Part taken on credit; given back if negative")
    overdrawn: Amount = Field(
        default="0", description="Part nothing was left for; paid back if negative"
    )
    revenue: Amount = "0"
    cost: Amount = "0"
    grant: GrantFacts | None = None
    terms: TermsFacts | None = None
    reason: DimensionValue | None = Field(
        default=None,
        description="As the operator gave it; of a debit: why the hold it named was not captured",
    )
    hold: HoldFacts | None = None
    read: ReadFacts | None = Field(default=None, description="By the authorization it came of")
    breakage: Amount = Field(
        default="0", description="Paid for and never to be used: the value of what lapsed"
    )
    void: VoidFacts | None = None
    reverses: ReversesFacts | None = None
    conversion: ConversionFacts | None = None
    state: WalletState | None = None
    running: RunningFacts | None = None
    statement: StatementFacts | None = Field(default=None, description="That was issued")
    subscription: SubscriptionFacts | None = None
    fee: FeeFacts | None = None
    counted: list[CountedFacts] = Field(default_factory=list, description="Of entitlements")
    rerates: ReratesFacts | None = None
    budget: BudgetFacts | None = None
    block: BlockFacts | None = None
    scopes: dict[str, Count] | None = Field(
        default=None,
        description="How many scopes have a budget or a block after the entry, by the names of"
        " their dimensions; where the entry changes that",
    )
    limits: list[LimitFacts] = Field(
        default_factory=list, description="The budgets it counts in, or was allowed by"
    )
    topup: TopUpFacts | None = None
    margins: list[MarginFacts] = Field(default_factory=list, description="That it changes")
    paces: list[PaceFacts] = Field(
        default_factory=list, description="Stretches of velocity alerts that it counts in"
    )


class Entry(Record):
    """One change of one customer's wallet. The record's key is `subject`."""

    specversion: Literal["1.0"]
    id: str = Field(description="`<customer>/<sequence>`")
    source: Literal["drawdown"]
    type: EntryType
    subject: CustomerId
    time: Timestamp = Field(description="Append time of what was decided: the engine's clock")
    datacontenttype: Literal["application/json"]
    data: EntryData
    digest: Digest
