"""Subscriptions over HTTP: what each does to the money is tested in `tests/ledger`."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.live import Live, quoted

pytestmark = pytest.mark.kafka


def at(customer: str, *parts: str) -> str:
    return "/".join([f"/v1/customers/{quoted(customer)}/subscriptions", *map(quoted, parts)])


def asked(live: Live, customer: str, what: str) -> Any:
    return live.query.get(f"/v1/customers/{quoted(customer)}/{what}").json()


def test_a_subscription_is_begun_changed_and_ended(live: Live) -> None:
    customer = live.customer("team/north 7 %")
    wanted = {"plan": "team", "subscription_id": "main/1", "seats": 2}
    assert live.gateway.post(at(customer), json=wanted).status_code == 400, "it needs an id"
    begun = live.gateway.post(at(customer), json={"id": "o1", **wanted})
    assert (begun.status_code, begun.json()["subscription"]["seats"]) == (201, 2)
    again = live.gateway.post(at(customer), json={"id": "o2", **wanted})
    assert (again.status_code, again.json()["code"]) == (409, "subscription_exists")
    changed = live.gateway.post(at(customer, "main/1", "change"), json={"seats": 3})
    assert changed.json()["subscription"]["seats"] == 3
    canceled = live.gateway.post(at(customer, "main/1", "cancel"))
    assert canceled.json()["subscription"]["canceled"]
    assert live.gateway.post(at(customer, "main/1", "resume")).json()["allowed"]
    live.await_entry(customer, 9)

    (row,) = asked(live, customer, "subscriptions")["data"]
    assert (row["id"], row["plan"], row["seats"], row["status"]) == ("main/1", "team", 3, "active")
    sso, replies = asked(live, customer, "entitlements")["data"]
    assert (sso["value"], replies["limit"], replies["used"], replies["left"]) == (
        True,
        "2",
        "0",
        "2",
    )
    (account,) = asked(live, customer, "balance")["balances"]
    assert (account["asset"], account["available"]) == ("credit", "300")

    ended = live.gateway.post(at(customer, "main/1", "cancel"), json={"when": "now"})
    assert ended.json()["subscription"]["status"] == "ended"
    over = live.gateway.post(at(customer, "main/1", "resume"))
    assert (over.status_code, over.json()["code"]) == (409, "subscription_ended")


def test_beyond_an_entitlement_the_answer_is_a_denial_with_its_reason(live: Live) -> None:
    customer = live.customer()
    live.gateway.post(at(customer), json={"id": "o1", "plan": "team", "subscription_id": "s"})
    asking = {"customer": customer, "meter": "responses"}
    few, many = (
        live.gateway.post(
            "/v1/authorizations", json={**asking, "estimate": {"quantities": {"responses": count}}}
        )
        for count in (2, 3)
    )
    assert (few.json()["reason"], many.status_code) == ("ok", 200)
    assert many.json()["reason"] == "entitlement_exceeded"


@pytest.mark.parametrize(
    ("door", "content", "status", "field"),
    [
        ((), {"id": "x", "plan": "gold"}, 404, "plan"),
        ((), {"id": "x"}, 400, "plan"),
        ((), {"id": "x", "plan": "team", "subscription_id": "s" * 65}, 400, "subscription_id"),
        (("none", "change"), {"seats": 3}, 404, "subscription_id"),
        (("none", "cancel"), {"when": "soon"}, 400, "when"),
        (("none", "resume"), {"subscription_id": "other"}, 400, "subscription_id"),
    ],
)
def test_what_cannot_be_is_a_problem_with_its_field(
    live: Live, door: tuple[str, ...], content: dict[str, Any], status: int, field: str
) -> None:
    answer = live.gateway.post(at(live.customer(), *door), json=content)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
