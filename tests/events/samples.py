"""A full record of every model, and every way to spoil one field of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from drawdown.events.commands import (
    Adjust,
    Authorize,
    CancelSubscription,
    Capture,
    ChangeSubscription,
    Convert,
    Extend,
    Grant,
    IssueStatement,
    Release,
    Rerate,
    ResumeSubscription,
    Reverse,
    SetAutoTopup,
    SetState,
    SetTerms,
    SettleTopup,
    Subscribe,
    Void,
)
from drawdown.events.deadletters import DeadLetterHeaders, Redriven
from drawdown.events.decisions import Decision
from drawdown.events.entries import Entry
from drawdown.events.notices import LowBalance, Notice
from drawdown.events.pricebook import (
    AssetRecord,
    CommitRecord,
    MeterRecord,
    PlanRecord,
    PriceBook,
    RateRecord,
)
from drawdown.events.rows import HoldRow, RunningRow, SeenRow, SubscriptionRow, WalletRow
from drawdown.events.settings import ApiKey, CustomerToken
from drawdown.events.topups import TopUpRequestRow, TopUpRow
from drawdown.events.usage import UsageEvent

AT: Final = "2027-01-15T08:00:00Z"
DIGEST: Final = "0123456789abcdef" * 4
ENVELOPE: Final = {
    "specversion": "1.0",
    "id": "ada/1",
    "source": "drawdown",
    "subject": "ada",
    "time": AT,
    "datacontenttype": "application/json",
}
COMMAND: Final = {
    "id": "c1",
    "customer": "ada",
    "time": AT,
    "timesource": "gateway",
    "deadline_at": AT,
}
SCOPE: Final = {"meters": ["llm"], "dimensions": {"model": ["gpt-5", ""]}}
SUMS: Final = {
    "starts_at": AT,
    "ends_at": AT,
    "zone": "Europe/Berlin",
    "reporting": "USD",
    "first_sequence": 1,
    "last_sequence": 7,
    "closing_digest": DIGEST,
    "assets": [
        {"asset": "USD", "opening": "0", "closing": "5", "movements": {"granted": "5"}},
    ],
    "revenue": {"paid_in": "5", "deferred_closing": "5", "cost": "-1", "margin": "1"},
}
TOPUP_TERMS: Final = {
    "below": {"amount": "20", "days_left": 2},
    "top_up": {"amount": "50", "cost_basis": "1", "expires_in_days": 30},
    "caps": {"per": "month", "zone": "UTC", "requests": 3, "amount": "150"},
}
UPLOAD: Final = {"version": "v1", "upload": "u1"}
RATE: Final = {
    "id": "gpt-5",
    "meter": "llm",
    "match": {"model": "gpt-*"},
    "asset": "USD",
    "price": {"model": "token_map", "prices": {"input": "0.00000125"}, "per": 1},
    "rounding": {"mode": "half_up", "places": 6},
}
IMAGE_RATE: Final = {
    "id": "image",
    "meter": "image",
    "asset": "USD",
    "price": {"model": "per_unit", "quantity": "images", "price": "-12.5", "per": 1000},
}
METER: Final = {"id": "llm", "event_types": ["llm"], "fields": {"in": "input"}, "title": "calls"}
PLAN: Final = {
    "id": "team",
    "title": "for teams",
    "cycle": {"every": "month", "count": 1, "anchor": AT, "zone": "Europe/Berlin"},
    "phases": [
        {"id": "trial", "days": 14, "fees": [], "entitlements": [{"id": "sso", "value": False}]},
        {"id": "intro", "cycles": 3, "grants": [], "terms": {"holds_max": 3}},
        {"id": "paid"},
    ],
    "fees": [
        {
            "id": "base",
            "title": "per seat",
            "asset": "USD",
            "amount": "19",
            "when": "arrears",
            "per": "seat",
            "pay": "wallet",
            "revenue": "grants",
        }
    ],
    "grants": [
        {
            "id": "pool",
            "asset": "USD",
            "amount": "20",
            "per": "seat",
            "category": "included",
            "priority": 5,
            "schedule": {"every": "day"},
            "mode": "reset",
            "rollover": {"min": "1", "max": "5", "cycles": 1},
            "scope": SCOPE,
            "cost_basis": "0.5",
            "kept": True,
            "metadata": {"sku": "17"},
        }
    ],
    "entitlements": [
        {"id": "calls", "meter": "llm", "quantity": "input", "limit": "100.5", "per": "seat"},
        {"id": "members", "title": "at most", "value": 25},
    ],
    "terms": {
        "credit_limits": {"USD": "5"},
        "thresholds": {"USD": ["5"]},
        "capture_policy": "cap",
        "outage": {"mode": "open", "amount": "5", "asset": "USD"},
        "holds_max": 10,
        "drawdown": "orb",
    },
    "seats_min": 2,
    "seats_max": 50,
    "proration": {
        "start": "full",
        "upgrade": "none",
        "downgrade": "time",
        "seats": "full",
        "cancel": "time",
    },
    "grant_proration": {
        "start": "time",
        "upgrade": "none",
        "downgrade": "full",
        "seats_more": "time",
        "seats_fewer": "full",
    },
}
SUBSCRIPTION: Final = {
    "id": "s1",
    "plan": "team",
    "phase": "paid",
    "book": "v1",
    "book_offset": 9,
    "status": "active",
    "seats": 5,
    "change": "renew",
    "begun_at": AT,
    "starts_at": AT,
    "ends_at": AT,
    "basis_at": AT,
    "since_at": AT,
    "cycle": 2,
    "anchor": AT,
    "counted_from": AT,
    "canceled": True,
    "next": {"plan": "pro", "seats": 6},
    "entitlements": [
        {"id": "calls", "meter": "llm", "quantity": "input", "limit": "100.5"},
        {"id": "sso", "value": True},
        {"id": "members", "value": 25},
        {"id": "help", "value": "by mail"},
    ],
}

SAMPLES: Final[list[tuple[type[BaseModel], dict[str, Any]]]] = [
    (
        UsageEvent,
        {
            **ENVELOPE,
            "source": "gateway",
            "type": "llm.completion",
            "timesource": "gateway",
            "data": {"model": "gpt-5", "input": 5, "nested": {"list": [1, None]}},
        },
    ),
    (
        Authorize,
        {
            **COMMAND,
            "type": "authorize",
            "meter": "llm",
            "dimensions": {"model": "gpt-5"},
            "estimate": {
                "quantities": {"input": 5, "output": "0.5"},
                "amount": "0.5",
                "asset": "USD",
            },
            "require": "hold",
            "capture": False,
            "hold": {"hold_id": "h1", "expires_in_s": 60, "expires_at": AT},
            "max_usage_lag_ms": 5000,
        },
    ),
    (
        Capture,
        {
            **COMMAND,
            "type": "capture",
            "hold_id": "h1",
            "amount": "0.5",
            "quantities": {"input": 5},
            "final": False,
        },
    ),
    (Release, {**COMMAND, "type": "release", "hold_id": "h1", "reason": "cancelled"}),
    (
        Extend,
        {**COMMAND, "type": "extend", "hold_id": "h1", "expires_in_s": 60, "expires_at": AT},
    ),
    (
        Grant,
        {
            **COMMAND,
            "type": "grant",
            "asset": "USD",
            "amount": "12.5",
            "category": "promotional",
            "grant_id": "g1",
            "priority": 5,
            "effective_at": AT,
            "expires_at": "2028-01-15T08:00:00.123+05:30",
            "scope": SCOPE,
            "cost_basis": "0.01",
            "reason": "top-up",
            "metadata": {"invoice": "17"},
            "recurrence": {
                "every": "month",
                "count": 3,
                "anchor": AT,
                "zone": "Europe/Berlin",
                "mode": "reset",
                "rollover": {"min": "1", "max": "5", "cycles": 1},
                "cycles": 12,
            },
        },
    ),
    (Void, {**COMMAND, "type": "void", "grant_id": "g1", "keep": True, "reason": "fraud"}),
    (Void, {**COMMAND, "type": "void", "grant_id": "g1", "refund": True, "amount": "2.5"}),
    (
        Adjust,
        {
            **COMMAND,
            "type": "adjust",
            "asset": "USD",
            "amount": "2.5",
            "reason": "goodwill",
            "grant_id": "g9",
            "category": "paid",
            "cost_basis": "0.5",
            "expires_at": "2028-01-15T08:00:00Z",
            "metadata": {"ticket": "17"},
        },
    ),
    (
        Reverse,
        {
            **COMMAND,
            "type": "reverse",
            "entry": {"specversion": "1.0", "data": {"sequence": 7}},
            "reason": "refund",
            "gone": "lapse",
            "keep_cost": True,
        },
    ),
    (
        Rerate,
        {
            **COMMAND,
            "type": "rerate",
            "entry": {"specversion": "1.0", "data": {"sequence": 7}},
            "run": "june",
            "book": "2026-07",
            "reason": "the wrong price",
        },
    ),
    (
        Convert,
        {
            **COMMAND,
            "type": "convert",
            "asset": "USD",
            "amount": "5",
            "to": "credit",
            "grant_id": "g8",
            "reason": "asked for",
        },
    ),
    (SetState, {**COMMAND, "type": "set_state", "state": "suspended", "reason": "unpaid"}),
    (IssueStatement, {**COMMAND, "type": "issue_statement", "statement": SUMS, "reason": ""}),
    (
        Subscribe,
        {
            **COMMAND,
            "type": "subscribe",
            "plan": "team",
            "subscription_id": "s1",
            "seats": 5,
            "start_at": "2027-02-01T00:00:00Z",
            "anchor": "2027-01-31T00:00:00Z",
            "reason": "ordered",
        },
    ),
    (
        ChangeSubscription,
        {
            **COMMAND,
            "type": "change_subscription",
            "subscription_id": "s1",
            "plan": "pro",
            "seats": 6,
            "when": "cycle_end",
            "reason": "grows",
        },
    ),
    (
        CancelSubscription,
        {
            **COMMAND,
            "type": "cancel_subscription",
            "subscription_id": "s1",
            "when": "now",
            "reason": "moves",
        },
    ),
    (
        ResumeSubscription,
        {**COMMAND, "type": "resume_subscription", "subscription_id": "s1", "reason": "stays"},
    ),
    (
        SetTerms,
        {
            **COMMAND,
            "type": "set_terms",
            "credit_limits": {"USD": "5"},
            "thresholds": {"USD": ["5", "-1"]},
            "capture_policy": "cap",
            "outage": {"mode": "open", "amount": "5", "asset": "USD"},
            "holds_max": 10,
            "drawdown": "orb",
            "reason": "",
        },
    ),
    (AssetRecord, {**UPLOAD, "record": "asset", "asset": {"code": "USD", "scale": 12}}),
    (PlanRecord, {**UPLOAD, "record": "plan", "plan": PLAN}),
    (MeterRecord, {**UPLOAD, "record": "meter", "meter": METER}),
    (RateRecord, {**UPLOAD, "record": "rate", "side": "price", "rate": RATE}),
    (RateRecord, {**UPLOAD, "record": "rate", "side": "cost", "rate": IMAGE_RATE}),
    (
        CommitRecord,
        {
            **UPLOAD,
            "record": "commit",
            "effective_at": AT,
            "published_at": AT,
            "reporting": "USD",
            "thresholds": {"USD": ["5"]},
            "lateness_seconds": 60,
            "records": 4,
            "digest": DIGEST,
            "title": "the first",
        },
    ),
    (
        PriceBook,
        {
            "version": "v1",
            "lateness_days": 35,
            "assets": [{"code": "USD", "scale": 12}],
            "meters": [METER],
            "rates": [RATE],
            "costs": [IMAGE_RATE],
            "thresholds": {"USD": ["5"]},
        },
    ),
    (
        ApiKey,
        {
            "kind": "api_key",
            "id": "k1",
            "hash": DIGEST,
            "permissions": ["ingest", "admin"],
            "created_at": AT,
        },
    ),
    (
        CustomerToken,
        {
            "kind": "customer_token",
            "id": "t1",
            "hash": DIGEST,
            "customer": "ada",
            "expires_at": AT,
        },
    ),
    (
        Entry,
        {
            **ENVELOPE,
            "type": "drawdown.entry.debit",
            "digest": DIGEST,
            "data": {
                "sequence": 2,
                "previous": DIGEST,
                "cause": {
                    "topic": "usage-events",
                    "partition": 0,
                    "offset": 7,
                    "timer": "expiry",
                    "due_at": AT,
                    "accepted_late_by": "ops",
                },
                "actor": "k1",
                "source": "gateway",
                "id": "e1",
                "fingerprint": DIGEST[:32],
                "usage": {
                    "meter": "llm",
                    "time": AT,
                    "quantities": {"input": 5, "output": "0.5"},
                    "dimensions": {"any name": "gpt-5"},
                },
                "price": {"book": "v1", "book_offset": 3, "rate": "gpt-5", "rounding": "exact"},
                "asset": "USD",
                "amount": "1",
                "before": "2",
                "after": "-0.5",
                "allocations": [{"grant": "g1", "amount": "1", "revenue": "0"}],
                "credit": "0",
                "overdrawn": "0",
                "revenue": "0",
                "cost": "0",
                "grant": {
                    "id": "g1",
                    "category": "paid",
                    "priority": 100,
                    "effective_at": AT,
                    "at_once": True,
                    "scope": SCOPE,
                    "paid": "1",
                },
                "terms": {
                    "credit_limits": {"USD": "5"},
                    "thresholds": {"USD": ["1"]},
                    "capture_policy": "allow",
                    "outage": {"mode": "open", "amount": "5", "asset": "USD"},
                    "holds_max": 10,
                },
                "reason": "because",
            },
        },
    ),
    (
        Entry,
        {
            **ENVELOPE,
            "type": "drawdown.entry.capture",
            "digest": DIGEST,
            "data": {
                "sequence": 2,
                "previous": DIGEST,
                "cause": {"topic": "commands", "partition": 0, "offset": 7},
                "id": "c1",
                "hold": {
                    "id": "h1",
                    "amount": "5",
                    "created_at": AT,
                    "expires_at": AT,
                    "before": "5",
                    "after": "0",
                    "closed": True,
                    "taken": [{"grant": "g1", "amount": "4.5"}],
                    "taken_credit": "0.25",
                    "returned": [{"grant": "g1", "amount": "0.25"}],
                    "returned_credit": "0",
                    "charge": "6",
                    "use": {
                        "meter": "llm",
                        "time": AT,
                        "quantities": {"input": 5},
                        "dimensions": {"model": "gpt-5"},
                    },
                },
                "read": {"available": "5", "usage_lag_records": 2, "usage_lag_ms": 7},
            },
        },
    ),
    (
        WalletRow,
        {
            "row": "wallet",
            "customer": "ada",
            "sequence": 3,
            "digest": DIGEST,
            "at": AT,
            "accounts": [{"asset": "USD", "available": "1", "balance": "-1", "lapsed": "0"}],
            "grants": [
                {
                    "id": "g1",
                    "asset": "USD",
                    "category": "paid",
                    "priority": 1,
                    "amount": "5",
                    "effective_at": AT,
                    "expires_at": AT,
                    "sequence": 1,
                    "remaining": "1",
                    "metadata": {"invoice": "17"},
                }
            ],
            "thresholds": {"USD": ["1"]},
            "revenue": "4",
            "holds": 1,
            "capture_policy": "cap",
            "outage": {"mode": "open", "amount": "5", "asset": "USD"},
            "holds_max": 10,
            "issued": {"number": 1, "ends_at": AT, "last_sequence": 2, "digest": DIGEST},
        },
    ),
    (
        HoldRow,
        {
            "row": "hold",
            "customer": "ada",
            "id": "h1",
            "authorization": "c1",
            "asset": "USD",
            "amount": "5",
            "held": "4",
            "captured": "1",
            "allocations": [{"grant": "g1", "amount": "3"}],
            "credit": "1",
            "meter": "llm",
            "dimensions": {"model": "gpt-5"},
            "created_at": AT,
            "expires_at": AT,
            "sequence": 3,
        },
    ),
    (
        RunningRow,
        {
            "row": "running",
            "customer": "ada",
            "counter": "egress",
            "meter": "egress",
            "asset": "USD",
            "quantity": "1/3",
            "charged": "5",
            "starts_at": AT,
            "ends_at": AT,
            "closes_at": AT,
            "latest_at": AT,
            "commitment": "1000",
            "parts": [{"grant": "g1", "amount": "5", "revenue": "4"}],
            "keyed": True,
            "sequence": 3,
        },
    ),
    (
        SeenRow,
        {
            "row": "seen",
            "customer": "ada",
            "counter": "wallets",
            "starts_at": AT,
            "shard": "0f",
            "keys": {"ab": {"amount": "0.99", "parts": [{"grant": "g1", "amount": "0.99"}]}},
            "sequence": 3,
        },
    ),
    (
        SubscriptionRow,
        {
            **SUBSCRIPTION,
            "row": "subscription",
            "customer": "ada",
            "fees": [
                {
                    "fee": "base",
                    "asset": "USD",
                    "pay": "wallet",
                    "amount": "95",
                    "since_at": AT,
                    "parts": [{"grant": "g1", "amount": "95", "revenue": "95"}],
                }
            ],
            "used": {"calls": "1/3"},
            "sequence": 3,
        },
    ),
    (
        Entry,
        {
            **ENVELOPE,
            "type": "drawdown.entry.fee",
            "digest": DIGEST,
            "data": {
                "sequence": 2,
                "previous": DIGEST,
                "cause": {"timer": "reset", "due_at": AT},
                "subscription": SUBSCRIPTION,
                "fee": {
                    "subscription": "s1",
                    "plan": "team",
                    "book": "v1",
                    "fee": "base",
                    "when": "advance",
                    "pay": "invoice",
                    "asset": "USD",
                    "amount": "-6.67",
                    "price": "10",
                    "seats": 5,
                    "starts_at": AT,
                    "ends_at": AT,
                    "part": "2/3",
                    "rounding": "half_even:2",
                },
                "counted": [
                    {
                        "subscription": "s1",
                        "entitlement": "calls",
                        "before": "1",
                        "after": "3",
                    }
                ],
            },
        },
    ),
    (
        SetAutoTopup,
        {
            **COMMAND,
            "type": "set_auto_topup",
            "asset": "USD",
            "below": {"amount": "20", "days_left": 2},
            "top_up": {"amount": "50", "cost_basis": "1", "expires_in_days": 30},
            "caps": {"per": "week", "zone": "UTC", "requests": 3, "amount": "150"},
            "reason": "asked for",
        },
    ),
    (
        SettleTopup,
        {
            **COMMAND,
            "type": "settle_topup",
            "request_id": "topup-USD-7",
            "outcome": "paid",
            "amount": "50",
            "reference": "pi_1",
            "detail": "by card",
        },
    ),
    (
        TopUpRow,
        {
            "row": "topup",
            "customer": "ada",
            "asset": "USD",
            "terms": TOPUP_TERMS,
            "outstanding": "topup-USD-7",
            "window": {"starts_at": AT, "ends_at": AT, "requests": 1, "amount": "50"},
            "failures": 2,
            "waits_until": AT,
            "low": True,
            "burn": {"since_at": AT, "hour_at": AT, "spent": ["1", "0", "-2"]},
            "sequence": 7,
        },
    ),
    (
        TopUpRequestRow,
        {
            "row": "topup_request",
            "customer": "ada",
            "id": "topup-USD-7",
            "asset": "USD",
            "amount": "50",
            "cost_basis": "1",
            "expires_in_days": 30,
            "requested_at": AT,
            "deadline_at": AT,
            "state": "failed",
            "reference": "pi_1",
            "detail": "declined",
            "sequence": 8,
        },
    ),
    (
        Entry,
        {
            **ENVELOPE,
            "type": "drawdown.entry.topup",
            "digest": DIGEST,
            "data": {
                "sequence": 2,
                "previous": DIGEST,
                "cause": {"timer": "topup", "due_at": AT},
                "topup": {
                    "asset": "USD",
                    "change": "request",
                    "terms": TOPUP_TERMS,
                    "request": "topup-USD-7",
                    "amount": "50",
                    "cost_basis": "1",
                    "expires_in_days": 30,
                    "available": "19",
                    "burn_a_day": "12",
                    "days_left": 1,
                    "deadline_at": AT,
                    "window": {"starts_at": AT, "ends_at": AT, "requests": 1, "amount": "50"},
                    "failures": 1,
                    "waits_until": AT,
                    "late": True,
                    "reference": "pi_1",
                    "detail": "declined",
                },
            },
        },
    ),
    (
        Decision,
        {
            "kind": "authorization",
            "id": "c1",
            "customer": "ada",
            "command": "authorize",
            "at": AT,
            "allowed": False,
            "reason": "insufficient_balance",
            "available": {"USD": "0.5"},
            "shortfall": "0.1",
            "hold": {
                "id": "h1",
                "amount": "5",
                "expires_at": AT,
                "closed": True,
                "allocations": [{"grant": "g1", "amount": "3"}],
                "credit": "2",
                "returned": "0",
                "uncharged": "1",
            },
            "sequence": 4,
            "digest": DIGEST,
            "usage_lag_ms": 3,
            "duplicate": True,
        },
    ),
    (
        LowBalance,
        {
            **ENVELOPE,
            "type": "drawdown.balance.low",
            "data": {
                "asset": "USD",
                "threshold": "5",
                "available": "4",
                "before": "6",
                "sequence": 2,
            },
        },
    ),
    (
        Notice,
        {
            **ENVELOPE,
            "type": "drawdown.usage.unpriced",
            "data": {"sequence": 2, "detail": "no price", "meter": "llm", "amount": "1"},
        },
    ),
    (
        Notice,
        {
            **ENVELOPE,
            "type": "drawdown.topup.requested",
            "data": {
                "sequence": 2,
                "detail": "19 USD are left",
                "asset": "USD",
                "amount": "50",
                "request": "topup-USD-7",
                "available": "19",
                "burn_a_day": "12",
                "days_left": 1,
                "deadline_at": AT,
                "waits_until": AT,
                "reference": "pi_1",
            },
        },
    ),
    (
        DeadLetterHeaders,
        {
            "reason": "malformed",
            "field": "data",
            "detail": "bad",
            "topic": "commands",
            "partition": 1,
            "offset": 2,
            "appended_at": AT,
        },
    ),
    (
        Redriven,
        {
            "partition": 1,
            "offset": 2,
            "topic": "usage-events",
            "sent_to": 3,
            "at": AT,
            "by": "ops",
            "accept_late": True,
        },
    ),
]

SPOILERS: Final[list[Any]] = [
    None,
    True,
    0,
    1,
    -1,
    1.5,
    1.0,
    1e16,
    1e300,
    float("nan"),
    float("-inf"),
    2**53,
    2**53 + 1,
    2**70,
    10**15 + 1,
    "",
    "x",
    "no name",
    "a\x00b",
    "a\x1fb",
    "x\n",
    "né",
    "x" * 128,
    "x" * 129,
    "x" * 257,
    DIGEST,
    DIGEST.upper(),
    "0",
    "-0",
    "-1",
    "01",
    "1e3",
    ".5",
    "5.",
    "1.000000000001",
    "1.0000000000001",
    "1." + "0" * 30,
    "1." + "0" * 31,
    "9" * 26,
    "9" * 27,
    "1\n",
    "١",
    "NaN",
    AT,
    "2027-01-15T08:00:00",
    "2027-01-15",
    "2027-01-15T08:00:00.1234567+05:30",
    "2027-02-30T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00+14:00",
    1_800_000_000,
    [],
    ["x"],
    ["1"] * 9,
    [1],
    {},
    {"x": "y"},
    {"no name": "y"},
    {"x": 1},
    {f"x{number}": "1" for number in range(65)},
]


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, itself left out."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, item in items:
        yield (*above, name)
        yield from paths(item, (*above, name))


def spoiled(sample: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The record with one place removed, or with something else there; and with one more field."""
    for path in paths(sample):
        where = ".".join(map(str, path))
        yield f"{where} removed", _changed(sample, path, ...)
        for spoiler in SPOILERS:
            yield f"{where} = {spoiler!r}"[:80], _changed(sample, path, spoiler)
    yield "one more field", json.dumps({**sample, "unheard_of": 1}).encode()


def _changed(sample: dict[str, Any], path: tuple[Any, ...], value: Any) -> bytes:
    changed = copy.deepcopy(sample)
    part: Any = changed
    for name in path[:-1]:
        part = part[name]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return json.dumps(changed).encode()
