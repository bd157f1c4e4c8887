"""Why something was denied, refused or set aside: the closed list of reason codes.

A reason is part of the public contract: decisions, dead letters and HTTP problems carry it. Each
says what it means and what to do about it; `schemas/README.md` lists them, generated from here.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A reason code. Its meaning is in `MEANINGS`."""

    # decisions
    OK = "ok"
    INSUFFICIENT_BALANCE = "insufficient_balance"
    UNKNOWN_CUSTOMER = "unknown_customer"
    UNKNOWN_METER = "unknown_meter"
    UNPRICED = "unpriced"
    NO_PRICE_BOOK = "no_price_book"
    DEADLINE_PASSED = "deadline_passed"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    INVALID = "invalid"
    TOO_MANY_GRANTS = "too_many_grants"
    BALANCE_STALE = "balance_stale"
    ESTIMATE_MISSING = "estimate_missing"
    HOLD_EXISTS = "hold_exists"
    HOLD_TOO_LONG = "hold_too_long"
    TOO_MANY_HOLDS = "too_many_holds"
    HOLD_UNKNOWN = "hold_unknown"
    HOLD_CLOSED = "hold_closed"
    HOLD_EXPIRED = "hold_expired"
    CAPTURE_EXCEEDS_HOLD = "capture_exceeds_hold"
    OUTAGE_OPEN = "outage_open"
    WALLET_SUSPENDED = "wallet_suspended"
    WALLET_CLOSED = "wallet_closed"
    GRANT_UNKNOWN = "grant_unknown"
    ALREADY_REVERSED = "already_reversed"
    NOT_REVERSIBLE = "not_reversible"
    UNCHANGED = "unchanged"
    NO_CONVERSION = "no_conversion"
    ALREADY_ISSUED = "already_issued"
    PLAN_UNKNOWN = "plan_unknown"
    SUBSCRIPTION_EXISTS = "subscription_exists"
    SUBSCRIPTION_UNKNOWN = "subscription_unknown"
    SUBSCRIPTION_ENDED = "subscription_ended"
    ENTITLEMENT_EXCEEDED = "entitlement_exceeded"
    BUDGET_EXCEEDED = "budget_exceeded"
    MARGIN_FLOOR = "margin_floor"
    BUDGET_UNKNOWN = "budget_unknown"
    TOO_MANY_BUDGETS = "too_many_budgets"
    BLOCKED = "blocked"
    NOT_BLOCKED = "not_blocked"
    TOPUP_UNKNOWN = "topup_unknown"
    TOPUP_SETTLED = "topup_settled"
    # dead letters
    MALFORMED = "malformed"
    OVERSIZED = "oversized"
    KEY_MISSING = "key_missing"
    KEY_NOT_SUBJECT = "key_not_subject"
    WRONG_PARTITION = "wrong_partition"
    TOO_LATE = "too_late"
    TOO_EARLY = "too_early"
    BAD_QUANTITY = "bad_quantity"
    BAD_DIMENSION = "bad_dimension"


MEANINGS: dict[Reason, str] = {
    Reason.OK: "Allowed, or done.",
    Reason.INSUFFICIENT_BALANCE: (
        "What the customer has in scope and in effect, with the unused credit limit, is less than"
        " the price; `shortfall` says by how much. Top up, or ask for less."
    ),
    Reason.UNKNOWN_CUSTOMER: "No wallet has this id. Grant something first: that opens it.",
    Reason.UNKNOWN_METER: (
        "No meter of the price book counts events of this type. Publish a book that has one; dead"
        " letters can then be redriven."
    ),
    Reason.UNPRICED: (
        "The meter is known but no rate matches these dimensions, or the rate has no price for one"
        " of the quantities. Usage is recorded with its cost and priced later by re-rating."
    ),
    Reason.NO_PRICE_BOOK: "No price book was in effect at the event's time. Publish one.",
    Reason.DEADLINE_PASSED: (
        "The command was taken up after its `deadline_at`, so nobody waits for the answer any"
        " more: it was not evaluated. Send it again with a new deadline."
    ),
    Reason.DUPLICATE: "The same id with the same content was decided before: this is that result.",
    Reason.CONFLICT: (
        "The same id was used before with other content. Give each event its own id; a retry must"
        " repeat the event unchanged."
    ),
    Reason.INVALID: "A field is outside what is allowed; `field` and `detail` name it and the fix.",
    Reason.TOO_MANY_GRANTS: "The wallet holds as many live grants as it may. Let some be spent.",
    Reason.BALANCE_STALE: (
        "Usage is further behind than `max_usage_lag_ms` allows, so the balance may have been spent"
        " already. Ask again, or allow more."
    ),
    Reason.ESTIMATE_MISSING: (
        "A hold or a capture needs to know how much: give the estimate's quantities or its amount."
    ),
    Reason.HOLD_EXISTS: "The customer has, or had, a hold of this id. Give each hold its own.",
    Reason.HOLD_TOO_LONG: "A hold ends within 24 hours of when it was made. Ask for less.",
    Reason.TOO_MANY_HOLDS: (
        "The customer has as many open holds as the terms allow (`holds_max`; 10,000 at most)."
        " Capture or release one, or let one expire."
    ),
    Reason.HOLD_UNKNOWN: (
        "This customer has no hold of this id; a hold of another customer is never found. As the"
        " `reason` of a debit: the usage named it and was debited as any other."
    ),
    Reason.HOLD_CLOSED: "The hold was captured or released before; nothing changed.",
    Reason.HOLD_EXPIRED: (
        "The hold's time is over and what it held is free again; nothing changed. Report the usage"
        " as an event, or authorize anew."
    ),
    Reason.CAPTURE_EXCEEDS_HOLD: (
        "Done, and no more than was held: the price was higher, and the customer's terms say `cap`."
        " `hold.uncharged` says by how much."
    ),
    Reason.OUTAGE_OPEN: (
        "No decision could be had in time, and the customer's terms let work run in an outage: the"
        " gateway allowed it itself. Nothing was read and nothing is held; report the usage as an"
        " event, which is booked as any, overdrawn where nothing is left."
    ),
    Reason.WALLET_SUSPENDED: (
        "The wallet is suspended: nothing is authorized until it is set active again. What is used"
        " all the same is booked."
    ),
    Reason.WALLET_CLOSED: (
        "The wallet is closed for good, and kept: no command but the end of a hold is taken. Use"
        " another customer id."
    ),
    Reason.GRANT_UNKNOWN: (
        "The wallet has no live grant of this id: it was spent, lapsed or voided, or never was."
    ),
    Reason.ALREADY_REVERSED: "The entry was reversed before. Reverse that reversal, or adjust.",
    Reason.NOT_REVERSIBLE: (
        "An entry of this kind, or a reversal of a reversal, has no inverse; `detail` names what to"
        " do instead."
    ),
    Reason.UNCHANGED: "The price is the same as it was charged: nothing was booked.",
    Reason.NO_CONVERSION: (
        "The price book in effect has no rate from the one asset to the other. Publish one under"
        " `conversions`."
    ),
    Reason.ALREADY_ISSUED: (
        "The period, or a part of it, is in a statement that was issued: it does not change. Issue"
        " from where that one ends; what came later is in there."
    ),
    Reason.PLAN_UNKNOWN: (
        "The price book in effect has no plan of this id. Publish one under `plans`."
    ),
    Reason.SUBSCRIPTION_EXISTS: (
        "The customer has, or had, a subscription of this id. Give each its own, or change it."
    ),
    Reason.SUBSCRIPTION_UNKNOWN: "The customer has no subscription of this id.",
    Reason.SUBSCRIPTION_ENDED: "The subscription is over. Subscribe anew, under another id.",
    Reason.ENTITLEMENT_EXCEEDED: (
        "A plan the customer subscribes to lets no more of this be used until its next cycle;"
        " `detail` says how much was used of how much. Upgrade, or wait."
    ),
    Reason.BUDGET_EXCEEDED: (
        "A budget that this use counts in has less left than is wanted; `detail` and `limits` name"
        " it, what is left, and when it resets. Wait, ask for less, or set a higher cap."
    ),
    Reason.MARGIN_FLOOR: (
        "With this use a margin would be under its floor: recognized revenue less cost, in the"
        " window. `detail` and `margins` have the figures. Raise the price, lower the floor, or"
        " wait for the next window."
    ),
    Reason.BUDGET_UNKNOWN: "The customer has no budget of this id.",
    Reason.TOO_MANY_BUDGETS: (
        "The customer has as many budgets as there may be: 10,000 scopes, 16 combinations of"
        " dimensions, 16 budgets of one scope. One budget with `*` is for each value."
    ),
    Reason.BLOCKED: (
        "A scope that this use is in was blocked by an operator; `detail` says which, by whom and"
        " why. Unblock it, once that is mended."
    ),
    Reason.NOT_BLOCKED: "The scope is not blocked: nothing changed.",
    Reason.TOPUP_UNKNOWN: (
        "The customer has no auto top-up of this asset, or no top-up of this id was requested."
    ),
    Reason.TOPUP_SETTLED: (
        "The top-up was settled before: a paid one is a grant already, and one that failed can only"
        " be paid. Nothing changed."
    ),
    Reason.MALFORMED: "Not a record of this topic: bad JSON, a missing field, a wrong type.",
    Reason.OVERSIZED: "Larger than 1 MiB. Send what is counted, not what was said.",
    Reason.KEY_MISSING: "The record has no key. Its key is the customer: the event's `subject`.",
    Reason.KEY_NOT_SUBJECT: "The key is not the customer. Produce with the subject as key.",
    Reason.WRONG_PARTITION: (
        "The record stood on a partition its key does not belong to, twice. Set the producer's"
        " partitioner to murmur2 (`partitioner=murmur2_random` in librdkafka)."
    ),
    Reason.TOO_LATE: (
        "The event's time is further back than the lateness window. Redrive with --accept-late to"
        " book it all the same."
    ),
    Reason.TOO_EARLY: "The event's time is more than 5 minutes in the future. Check that clock.",
    Reason.BAD_QUANTITY: "A quantity is negative, not a number, out of bounds or float noise.",
    Reason.BAD_DIMENSION: "A dimension's value is too long, or there are too many of them.",
}
