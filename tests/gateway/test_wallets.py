"""Corrections and states over HTTP: what each does to the money is tested in `tests/ledger`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.live import Live, quoted

pytestmark = pytest.mark.kafka


def post(live: Live, customer: str, door: str, **content: Any) -> Any:
    return live.gateway.post(f"/v1/customers/{quoted(customer)}/{door}", json=content)


def test_a_wallet_is_corrected_suspended_and_closed(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "60")
    taken = {"asset": "credit", "amount": "-12", "reason": "late"}
    assert post(live, customer, "adjustments", **taken).status_code == 400, "it needs an id"
    assert post(live, customer, "adjustments", id="a1", **taken).json()["balance"] == "48"
    live.await_entry(customer, 2)
    entries = live.query.get(f"/v1/customers/{quoted(customer)}/entries").json()["data"]
    (adjusted,) = [entry for entry in entries if entry["type"].endswith(".adjust")]
    undo = {"entry": adjusted, "reason": "not late"}
    assert post(live, customer, "cancellations", **undo).status_code == 400, "it was no usage"
    assert post(live, customer, "reversals", **undo).json()["balance"] == "60"
    again = post(live, customer, "reversals", **undo)
    assert (again.status_code, again.json()["code"]) == (409, "already_reversed")
    unknown = post(live, customer, "voids", grant_id="none")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "grant_id")
    asked = {"customer": customer, "meter": "responses"}
    for state in ("suspended", "closed"):
        door = f"/v1/customers/{quoted(customer)}/state"
        assert live.gateway.put(door, json={"state": state}).json()["allowed"]
        answer = live.gateway.post("/v1/authorizations", json=asked)
        assert (answer.status_code, answer.json()["reason"]) == (200, f"wallet_{state}")
    refused = post(live, customer, "adjustments", id="a2", **taken)
    assert (refused.status_code, refused.json()["code"]) == (409, "wallet_closed")


def test_a_top_up_is_refunded_in_part(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "60", id="top-up")
    live.use(customer)
    refund = {"grant_id": "top-up", "refund": True, "amount": "8", "reason": "asked for"}
    assert post(live, customer, "voids", **refund).json()["balance"] == "40"
    live.await_entry(customer, 3)
    entries = live.query.get(f"/v1/customers/{quoted(customer)}/entries").json()["data"]
    twice = post(live, customer, "reversals", entry=entries[-1], reason="disputed")
    assert (twice.status_code, twice.json()["code"]) == (409, "already_reversed")


def test_a_disputed_top_up_is_taken_back_and_restored_when_it_is_won(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "60", id="top-up")
    live.use(customer)
    live.await_entry(customer, 2)
    entries = live.query.get(f"/v1/customers/{quoted(customer)}/entries").json()["data"]
    answer = post(live, customer, "reversals", entry=entries[-1], reason="disputed")
    assert (answer.json()["amount"], answer.json()["balance"]) == ("60", "-12")
    live.await_entry(customer, 3)
    newest = live.query.get(f"/v1/customers/{quoted(customer)}/entries").json()["data"][0]
    won = post(live, customer, "reversals", entry=newest, reason="won")
    assert won.json()["balance"] == "48"
