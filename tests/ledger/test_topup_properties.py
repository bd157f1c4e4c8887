"""Auto top-ups in whatever order wallets are used, paid for, given up and told anew: one request at
a time, no cap exceeded, each payment one grant, and the rows are what the journal says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.till import DAY, HOUR, MINUTE, Till

from drawdown.events.base import milliseconds
from drawdown.events.calendar import period_of
from drawdown.events.codec import RecordError, decode_entry
from drawdown.ledger.rows import row_bytes, row_of

SETTLED_AT = "2027-01-15T08:04:00Z"
"""Within five minutes of when a till opens, as a command may be ahead of its time."""
ASSETS = st.sampled_from(["USD", "credit"])
BELOW = st.one_of(
    st.builds(lambda n: {"amount": str(n)}, st.integers(0, 60)),
    st.builds(lambda n: {"days_left": n}, st.integers(1, 9)),
    st.builds(
        lambda n, m: {"amount": str(n), "days_left": m}, st.integers(0, 60), st.integers(1, 9)
    ),
)
TOP_UP = st.builds(
    lambda n, days: {"amount": str(n), "cost_basis": "0.5", "expires_in_days": days},
    st.integers(1, 90),
    st.sampled_from([None, None, 1, 30]),
)
CAPS = st.sampled_from(
    [
        {"per": "month", "requests": 2, "amount": "1000"},
        {"per": "month", "requests": 1},
        {"per": "day", "requests": 2, "amount": "100", "zone": "Asia/Kolkata"},
        {"per": "week", "requests": 3, "zone": "America/New_York"},
    ]
)
"""Few, so that the same come again after others."""
SET = st.tuples(st.just("set"), ASSETS, BELOW, TOP_UP, CAPS)
USE = st.tuples(st.just("use"), ASSETS, st.integers(20, 150))
SETTLE = st.tuples(
    st.just("settle"),
    st.sampled_from([0, 0, 0, 1, 2, 5]),
    st.sampled_from(["paid", "paid", "failed"]),
    st.booleans(),
    st.sampled_from("ab"),
)
PASS = st.tuples(
    st.just("pass"),
    st.sampled_from([1, MINUTE, 7 * MINUTE, HOUR, 5 * HOUR, DAY, 2 * DAY, 9 * DAY]),
    st.sampled_from([True, True, True, False]),
)
RARELY = st.one_of(
    SET,
    st.tuples(st.just("remove"), ASSETS),
    st.tuples(st.just("tell"), ASSETS, st.integers(1, 9)),
    st.tuples(st.just("hold"), st.integers(1, 80)),
    st.tuples(st.just("grant"), ASSETS, st.integers(1, 200), st.sampled_from([None, 1, 50])),
    st.tuples(st.just("state"), st.sampled_from(["active", "active", "suspended"])),
)
ROUND = st.tuples(USE, SETTLE, PASS, st.one_of(USE, SETTLE, PASS, RARELY))
STEPS = st.tuples(SET, SET, st.lists(ROUND, min_size=4, max_size=12)).map(
    lambda found: [*found[:2], *[step for steps in found[2] for step in steps]]
)
"""A day in the life of two assets, over and over: used, paid for, waited, and something else."""


def play(till: Till, step: tuple[Any, ...]) -> None:
    match step:
        case ("use", asset, units):
            till.use("ada", units, **({} if asset == "USD" else {"in": asset}))
        case ("hold", units):
            till.authorize("ada", units, require="hold")
        case ("set", asset, below, top_up, caps):
            fields = {"asset": asset, "below": below, "top_up": top_up, "caps": caps}
            till.command("set_auto_topup", "ada", **fields)
        case ("tell", asset, days):
            till.command("set_auto_topup", "ada", asset=asset, below={"days_left": days})
        case ("remove", asset):
            till.command("set_auto_topup", "ada", asset=asset, remove=True)
        case ("settle", place, outcome, again, sender):
            requests = [key.split("\x1f")[2] for key in till.rows if "\x1ftopup_request\x1f" in key]
            for request in requests[-1 - place :][:1]:
                fields = {
                    "id": f"{request}:{outcome}:{sender}",
                    "request_id": request,
                    "outcome": outcome,
                }
                for _ in range(1 + again):  # a retry keeps its time
                    till.command("settle_topup", "ada", time=SETTLED_AT, **fields)
        case ("grant", asset, amount, days):
            terms = {} if days is None else {"expires_at": till.at_ms + days * DAY}
            grant_id = f"g{len(till.journal)}"
            till.grant("ada", str(amount), grant_id, asset=asset, cost_basis="1", **terms)
        case ("state", state):
            till.command("set_state", "ada", state=state)
        case ("pass", ms, fires):
            till.at_ms += ms
            if fires:
                till.tick()


def check_requests(till: Till) -> None:
    """From the journal alone: what is outstanding, what was asked for by period, what was paid."""
    terms: dict[str, Any] = {}
    outstanding: dict[str, str | None] = defaultdict(lambda: None)
    asked: dict[tuple[str, int], list[Decimal]] = defaultdict(list)
    kinds: dict[str, str] = {}
    amounts: dict[str, Decimal] = {}
    paid: Counter[str] = Counter()
    granted: Counter[str] = Counter()
    for value in till.journal:
        entry = decode_entry(value)
        facts = entry.data.topup
        if facts is None:
            continue
        asset, request = facts.asset, facts.request
        match facts.change:
            case "set":
                terms[asset] = facts.terms
                if facts.terms is not None and facts.terms.caps is not None:
                    kind = f"{asset} {facts.terms.caps.per} {facts.terms.caps.zone}"
                    if kinds.get(asset, kind) != kind:  # another kind of period begins anew
                        for known in [key for key in asked if key[0] == kind]:
                            del asked[known]
                    kinds[asset] = kind
            case "remove":
                del terms[asset]
            case "request":
                assert request is not None
                assert outstanding[asset] is None, "one at a time"
                outstanding[asset] = request
                caps, top_up = terms[asset].caps, terms[asset].top_up
                amounts[request] = Decimal(top_up.amount)
                start_ms, _ = period_of(milliseconds(entry.time), caps.per, caps.zone)
                in_period = asked[f"{asset} {caps.per} {caps.zone}", start_ms]
                in_period.append(amounts[request])
                assert len(in_period) <= caps.requests
                assert sum(in_period) <= Decimal(caps.amount)
            case "paid" | "failed" | "unanswered":
                assert request is not None
                if facts.change == "paid":
                    assert entry.data.grant is not None
                    paid[request] += 1
                    granted[entry.data.grant.id] += 1
                    assert Decimal(entry.data.amount or 0) == amounts[request]
                if outstanding[asset] == request:
                    outstanding[asset] = None
    assert set(paid.values()) <= {1}
    assert set(granted.values()) <= {1}
    rows = [json.loads(value) for value in till.bytes_of_rows().values()]
    found = {row["asset"]: row.get("outstanding") for row in rows if row["row"] == "topup"}
    assert found == {asset: outstanding[asset] for asset in found}
    states = {row["id"]: row.get("state") for row in rows if row["row"] == "topup_request"}
    assert {id for id, state in states.items() if state == "paid"} == set(paid)


@settings(max_examples=60)
@given(STEPS)
def test_one_request_at_a_time_within_the_caps_and_each_payment_is_one_grant(
    steps: list[tuple[Any, ...]],
) -> None:
    till = Till()
    till.grant("ada", "100", "first")
    for step in steps:
        try:
            play(till, step)
        except RecordError:
            assert step[0] not in ("use", "grant"), "these are never refused here"
    check_requests(till)
    assert till.wrongs() == []
    assert till.replayed().bytes_of_rows() == till.bytes_of_rows()
    for row in till.rows.values():
        if row is not None:
            assert row_of(row_bytes(row)) == row
