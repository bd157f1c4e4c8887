"""Commands: what a caller asks settlement to decide or to change.

Each has an `id` that makes a retry safe, the `time` it was first issued (a retry keeps it) and a
`deadline_at` after which nobody waits. Kafka headers `reply_to` and `attempt_id` ask for an answer
on `decisions`; header `actor` names the API key.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from drawdown.events.base import (
    PRINTABLE,
    Amount,
    AmountPositive,
    CustomerId,
    DimensionValue,
    Identifier,
    Metadata,
    Name,
    Open,
    Price,
    QuantityText,
    StrictRecord,
    Timestamp,
)
from drawdown.events.limits import BudgetTerms, LimitScope
from drawdown.events.statements import StatementSums
from drawdown.events.topups import Below, TopUp, TopUpCaps

Category = Literal["paid", "promotional", "included"]
DrawdownPolicy = Literal[
    "drawdown", "stigg", "stripe", "metronome", "openmeter", "orb", "lago", "flexprice"
]
"""Which grants pay first: our order, or the order of a peer (`ledger.drawdown.ORDERS`)."""
WalletState = Literal["active", "suspended", "closed"]
Dimensions = Annotated[dict[Name, DimensionValue], Field(max_length=32)]
Quantities = Annotated[dict[Name, int | QuantityText], Field(max_length=32)]
Priority = Annotated[int, Field(ge=0, le=1_000_000)]


class Command(StrictRecord):
    """What every command says. The record's key is `customer`."""

    id: Identifier = Field(description="Names the command: the same id again gets the first result")
    customer: CustomerId
    time: Timestamp = Field(description="When it was first issued; a retry repeats it unchanged")
    timesource: Literal["gateway"] | None = Field(
        default=None,
        description="Set where a gateway filled in `time`, which then is no part of its identity",
    )
    deadline_at: Timestamp | None = Field(
        default=None, description="Taken up later than this, it is answered deadline_passed"
    )


class Estimate(StrictRecord):
    """What the work is expected to take: quantities to be priced, or an amount, or neither."""

    quantities: Quantities | None = None
    amount: AmountPositive | None = None
    asset: Name | None = Field(default=None, description="Of `amount`; needed with it")


Seconds = Annotated[int, Field(ge=1, le=2**31)]
Milliseconds = Annotated[int, Field(ge=0, le=2**53)]
HOLDS_MAX: Final = 10_000
"""Open holds of one customer, whatever the terms say."""


class HoldTerms(StrictRecord):
    """How a hold is to be made: its id, and when it expires."""

    hold_id: Identifier | None = Field(
        default=None, description="Of the hold, once per customer. Default the command's id"
    )
    expires_in_s: Seconds | None = Field(
        default=None, description="From when it is decided; default 900, at most 86400"
    )
    expires_at: Timestamp | None = Field(
        default=None, description="Expired at this very instant; instead of `expires_in_s`"
    )


class Authorize(Command):
    """May this run? Answered allow or deny, with what was read.

    With `require: hold` an allow sets the price aside; with `capture: true` it debits it at once.
    Either is an entry and is remembered; a plain check and a denial are decided again when asked
    again.
    """

    type: Literal["authorize"] = "authorize"
    meter: Name = Field(
        description="The meter, or the event type, the usage will be reported under"
    )
    dimensions: Dimensions = Field(default_factory=dict)
    estimate: Estimate = Field(
        default=Estimate(),
        description="With neither quantities nor amount, any balance above zero is enough; a hold"
        " or a capture needs one of them",
    )
    require: Literal["hold", "check"] = Field(
        default="check", description="`hold` sets the estimate's price aside until it is captured"
    )
    capture: bool = Field(
        default=False,
        description="Debit the estimate's price in the same decision: where it is known beforehand",
    )
    hold: HoldTerms | None = Field(default=None, description="With `require: hold`")
    max_usage_lag_ms: Milliseconds | None = Field(
        default=None,
        description="Denied balance_stale where usage on the partition is further behind",
    )


class Capture(Command):
    """Debit what a hold was made for: from the hold first, the excess by the customer's terms."""

    type: Literal["capture"] = "capture"
    hold_id: Identifier
    amount: AmountPositive | None = Field(
        default=None, description="In the hold's asset. With no quantities either, all it has left"
    )
    quantities: Quantities | None = Field(
        default=None, description="What was used, priced as of `time`; instead of `amount`"
    )
    final: bool = Field(
        default=True,
        description="Closes the hold: what is left of it returns to the grants it came from",
    )


class Release(Command):
    """Give all that a hold still has back to the grants it came from, and close it."""

    type: Literal["release"] = "release"
    hold_id: Identifier
    reason: DimensionValue | None = None


class Extend(Command):
    """Move the end of a hold, to within 24 hours of when it was made."""

    type: Literal["extend"] = "extend"
    hold_id: Identifier
    expires_in_s: Seconds | None = Field(default=None, description="From when it is decided")
    expires_at: Timestamp | None = Field(default=None, description="Instead of `expires_in_s`")


class Scope(StrictRecord):
    """What a grant may pay for. Empty means anything."""

    meters: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list)
    dimensions: Annotated[
        dict[Name, Annotated[list[DimensionValue], Field(max_length=32)]], Field(max_length=8)
    ] = Field(default_factory=dict)


class Rollover(StrictRecord):
    """What of a cycle's unspent value goes over into the next: as much as there is, but at least
    `min` (the rest is granted) and at most `max` of all that was carried, for so many cycles."""

    min: AmountPositive = "0"
    max: AmountPositive | None = Field(default=None, description="Default: all of it")
    cycles: Annotated[int, Field(ge=1, le=36)] | None = Field(
        default=None, description="How many cycles it then lives; default: for good"
    )


CYCLES_MAX: Final = 10_000
"""A recurrence ends within so many cycles."""


class Recurrence(StrictRecord):
    """A grant that comes again every hour, day, week, month or year.

    A cycle begins at `anchor` and every `count` periods before and after it, by the wall clock of
    `zone`; a day that a month does not have is its last. The first cycle is the one that `now` or
    `effective_at` falls into, and is granted whole.
    """

    every: Literal["hour", "day", "week", "month", "year"]
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    anchor: Timestamp | None = Field(
        default=None, description="Default: when the grant takes effect"
    )
    zone: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        default="UTC", description="An IANA name, such as Europe/Berlin"
    )
    mode: Literal["reset", "accumulate"] = Field(
        default="reset",
        description="`reset`: at each cycle's end what is unspent lapses or rolls over, and a whole"
        " grant takes its place. `accumulate`: each cycle adds the amount to what is left",
    )
    rollover: Rollover | None = Field(default=None, description="With `reset`; default nothing")
    cycles: Annotated[int, Field(ge=1, le=CYCLES_MAX)] | None = Field(
        default=None,
        description="How many in all. Without it the grant's `expires_at` ends the recurrence; one"
        f" of the two is needed, and no more than {CYCLES_MAX:,} cycles",
    )


class Grant(Command):
    """Put value into the wallet. Opens the wallet of a customer nobody has seen."""

    type: Literal["grant"] = "grant"
    asset: Name
    amount: AmountPositive
    category: Category = "paid"
    grant_id: Identifier | None = Field(default=None, description="Defaults to the command's id")
    priority: Priority | None = Field(
        default=None,
        description="Lower is spent first. Default 50 for included grants, else 100",
    )
    effective_at: Timestamp | None = Field(
        default=None, description="In effect from this instant on; default at once"
    )
    expires_at: Timestamp | None = Field(
        default=None, description="Gone at this very instant; default never"
    )
    scope: Scope = Scope()
    cost_basis: Price | None = Field(
        default=None,
        description="What one unit was sold for, in the reporting currency. Default 1 for a paid"
        " grant in the reporting currency, 0 for promotional and included ones; a paid grant of"
        " another asset must say it",
    )
    reason: DimensionValue | None = None
    metadata: Metadata = Field(default_factory=dict)
    recurrence: Recurrence | None = Field(
        default=None, description="Comes again each cycle; `expires_at` is then the end of it all"
    )


class Void(Command):
    """End a grant: what is left of it is gone, and it does not come again."""

    type: Literal["void"] = "void"
    grant_id: Identifier = Field(
        description="Of a live grant; of one that comes again also the id it was first given"
    )
    keep: bool = Field(
        default=False, description="Keep what is left, and only let it not come again"
    )
    refund: bool = Field(
        default=False,
        description="What is taken is paid back: what it was sold for is refunded, and no breakage",
    )
    amount: AmountPositive | None = Field(
        default=None,
        description="With `refund`: so much of what is left, and the grant lives on with the rest;"
        " default all of it",
    )
    reason: DimensionValue | None = None


Reasoned = Annotated[DimensionValue, Field(min_length=1)]


class Adjust(Command):
    """A manual booking, with its reason. What is added is a grant; what is taken is paid as usage
    is, and is as much revenue."""

    type: Literal["adjust"] = "adjust"
    asset: Name
    amount: Amount = Field(description="Added; taken where negative")
    reason: Reasoned
    grant_id: Identifier | None = Field(
        default=None, description="Of what is added; defaults to the command's id"
    )
    category: Category = "promotional"
    cost_basis: Price | None = Field(default=None, description="As of a grant")
    expires_at: Timestamp | None = None
    metadata: Metadata = Field(default_factory=dict)


class Reverse(Command):
    """Book the exact inverse of an entry, once.

    What was taken returns to the grants it came from where they live, and what was given is taken
    back from its grant first. A reversal can be reversed too, and that is the end of it.
    """

    type: Literal["reverse"] = "reverse"
    entry: Open = Field(
        description="The journal entry, whole, as the query service or the topic gives it"
    )
    reason: Reasoned
    gone: Literal["grant", "lapse"] = Field(
        default="grant",
        description="What becomes of what came from grants that live no more: a new grant without"
        " an end, or it stays with them",
    )
    keep_cost: bool = Field(
        default=False, description="What the usage cost us stays: it did happen, and is refunded"
    )


class Rerate(Command):
    """Price usage anew that was debited, or had no price: by another version of the price book.

    What was charged is reversed and the new price debited, both as entries; where the price is the
    same, nothing happens (`unchanged`). A part of a period keeps its place in the period.
    """

    type: Literal["rerate"] = "rerate"
    entry: Open = Field(
        description="The journal entry of the usage, whole, as the query service or the topic gives"
        " it: the last one it was priced by"
    )
    run: Identifier = Field(description="Names the run: many entries for one reason")
    book: Name | None = Field(
        default=None, description="Version to price by; default the one in effect now"
    )
    reason: Reasoned


class Convert(Command):
    """Turn some of one asset into another, at the rate of the price book."""

    type: Literal["convert"] = "convert"
    asset: Name = Field(description="What is given")
    amount: AmountPositive
    to: Name = Field(description="The asset that is wanted")
    grant_id: Identifier | None = Field(default=None, description="Defaults to the command's id")
    reason: DimensionValue | None = None


class SetState(Command):
    """Suspend a wallet, make it active again, or close it for good.

    Suspended, nothing is authorized; closed, no command but the end of a hold is taken. What is
    used all the same is booked, and the wallet is kept.
    """

    type: Literal["set_state"] = "set_state"
    state: WalletState
    reason: DimensionValue | None = None


class IssueStatement(Command):
    """Issue the statement of a period that is over: from then on it does not change.

    Statements follow each other without a gap, each period once; what is decided later belongs to
    a later one. A closed wallet has them too.
    """

    type: Literal["issue_statement"] = "issue_statement"
    statement: StatementSums = Field(
        description="The sums of the journal, as `drawdown statement` and the query service give"
        " them (`sums`)"
    )
    reason: DimensionValue | None = None


class Outage(StrictRecord):
    """What a gateway may do for a customer while no decision can be had.

    `closed`: nothing runs. `open`: work runs up to `amount`, which is booked, as overdrawn where
    nothing is left for it, when its usage arrives. Each gateway counts for itself.
    """

    mode: Literal["closed", "open"] = "closed"
    amount: AmountPositive | None = Field(default=None, description="Needed with `open`")
    asset: Name | None = Field(
        default=None, description="Of `amount`; default the reporting currency"
    )


CapturePolicy = Literal["allow", "cap"]
HoldsMax = Annotated[int, Field(ge=0, le=HOLDS_MAX)]
NO_PLAN: Final = "none"


class SetTerms(Command):
    """Change the terms of a wallet. What is not stated stays as it is."""

    type: Literal["set_terms"] = "set_terms"
    credit_limits: Annotated[dict[Name, AmountPositive], Field(max_length=16)] = Field(
        default_factory=dict, description="Per asset: how far below zero authorized use may go"
    )
    thresholds: Annotated[
        dict[Name, Annotated[list[Amount], Field(max_length=8)]], Field(max_length=16)
    ] = Field(
        default_factory=dict,
        description="Per asset: amounts of available balance whose crossing from above is told on"
        " `low-balance`; replaces those of the price book",
    )
    capture_policy: CapturePolicy | None = Field(
        default=None,
        description="What is used above a hold: `allow` takes more and may overdraw (the default),"
        " `cap` debits what was held and no more",
    )
    outage: Outage | None = Field(default=None, description="Default `closed`")
    holds_max: HoldsMax | None = Field(default=None, description="Open holds at a time")
    drawdown: DrawdownPolicy | None = Field(
        default=None, description="Which grants pay first; default as the price book says"
    )
    plan: Name | None = Field(
        default=None,
        description=f"Whose rates price what the customer uses; `{NO_PLAN}` for those for all",
    )
    reason: DimensionValue | None = None


SUBSCRIPTION_ID_MAX: Final = 64
SubscriptionId = Annotated[
    str, Field(min_length=1, max_length=SUBSCRIPTION_ID_MAX, pattern=PRINTABLE)
]
"""Shorter than other ids: the ids of its grants begin with it."""
SeatCount = Annotated[int, Field(ge=1, le=1_000_000)]


class Subscribe(Command):
    """Subscribe to a plan of the price book. Opens the wallet of a customer nobody has seen."""

    type: Literal["subscribe"] = "subscribe"
    plan: Name
    subscription_id: SubscriptionId | None = Field(
        default=None, description="Once per customer. Default the command's id"
    )
    seats: SeatCount | None = Field(default=None, description="Default as few as the plan allows")
    start_at: Timestamp | None = Field(
        default=None, description="When its first cycle begins; default at once"
    )
    anchor: Timestamp | None = Field(
        default=None,
        description="Cycles are counted from it; default as the plan says, else when they begin",
    )
    reason: DimensionValue | None = None


class ChangeSubscription(Command):
    """Another plan, another number of seats, or both: now, or from the next cycle on."""

    type: Literal["change_subscription"] = "change_subscription"
    subscription_id: SubscriptionId
    plan: Name | None = Field(default=None, description="Default the same")
    seats: SeatCount | None = Field(default=None, description="Default the same")
    when: Literal["now", "cycle_end"] = "now"
    reason: DimensionValue | None = None


class CancelSubscription(Command):
    """End a subscription: now, or at the end of the cycle under way."""

    type: Literal["cancel_subscription"] = "cancel_subscription"
    subscription_id: SubscriptionId
    when: Literal["now", "cycle_end"] = "cycle_end"
    reason: DimensionValue | None = None


class ResumeSubscription(Command):
    """Let a subscription go on that was to end, or to change, at the end of its cycle."""

    type: Literal["resume_subscription"] = "resume_subscription"
    subscription_id: SubscriptionId
    reason: DimensionValue | None = None


class SetBudget(Command):
    """Set a budget, or change one: what is stated replaces all that was. What was used in the
    window stays used, unless the window itself is another one. A cap below what is used lets
    nothing more run; nothing is taken back."""

    type: Literal["set_budget"] = "set_budget"
    budget_id: Identifier = Field(description="Of the customer's budgets")
    budget: BudgetTerms
    reason: DimensionValue | None = None


class RemoveBudget(Command):
    """Remove a budget, with what was counted in it."""

    type: Literal["remove_budget"] = "remove_budget"
    budget_id: Identifier
    reason: DimensionValue | None = None


class Block(Command):
    """Block a scope: a leaked key, a runaway agent, a session. Nothing of it is authorized from the
    next decision on; what is used all the same is booked."""

    type: Literal["block"] = "block"
    scope: LimitScope = Field(
        description="Values of dimensions, all of which a use must have; empty: the customer"
    )
    reason: Reasoned
    until_at: Timestamp | None = Field(default=None, description="It ends by itself then")


class Unblock(Command):
    """Let a scope that was blocked run again."""

    type: Literal["unblock"] = "unblock"
    scope: LimitScope
    reason: DimensionValue | None = None


class SetAutoTopup(Command):
    """Say when an asset of a customer is low, and what is then bought or told. It replaces what was
    said before of the asset. Opens the wallet of a customer nobody has seen."""

    type: Literal["set_auto_topup"] = "set_auto_topup"
    asset: Name
    below: Below | None = Field(default=None, description="What counts as low; needed")
    top_up: TopUp | None = Field(
        default=None, description="What is bought then; without it, it is only told"
    )
    caps: TopUpCaps | None = Field(default=None, description="Needed with `top_up`")
    remove: bool = Field(default=False, description="No auto top-up any more")
    reason: DimensionValue | None = None


class SettleTopup(Command):
    """Say how the payment of a requested top-up went. A paid one becomes a grant, once for good;
    also where it had failed before, because money was taken."""

    type: Literal["settle_topup"] = "settle_topup"
    request_id: Identifier
    outcome: Literal["paid", "failed"]
    amount: AmountPositive | None = Field(
        default=None, description="What was paid for; default what was requested"
    )
    reference: DimensionValue | None = Field(default=None, description="The payment's own id")
    detail: DimensionValue | None = Field(default=None, description="Why it failed, in words")


EveryCommand = (
    Authorize
    | Capture
    | Release
    | Extend
    | Grant
    | SetTerms
    | Void
    | Adjust
    | Reverse
    | Rerate
    | Convert
    | SetState
    | IssueStatement
    | Subscribe
    | ChangeSubscription
    | CancelSubscription
    | ResumeSubscription
    | SetBudget
    | RemoveBudget
    | Block
    | Unblock
    | SetAutoTopup
    | SettleTopup
)
AnyCommand = Annotated[EveryCommand, Field(discriminator="type")]
