"""Budgets and blocks as the query service tells them: with what is used now, in pages."""

from __future__ import annotations

from typing import Any

import pytest
from tests.web.live import Live, bearer, quoted

pytestmark = pytest.mark.kafka


def get(live: Live, customer: str, what: str, **params: Any) -> Any:
    answer = live.query.get(f"/v1/customers/{quoted(customer)}/{what}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def given(live: Live) -> str:
    """A customer with budgets for all, a team, its keys and each session."""
    customer = live.customer("org/é 7 %")
    live.grant(customer, "credit", "48000")
    live.budget(customer, "all", "1000")
    live.budget(customer, "team", "240", scope={"team": "a"})
    live.budget(customer, "keys", "120", scope={"team": "a", "key": "*"})
    live.budget(customer, "sessions", "60", scope={"session": "*"}, window={"every": "life"})
    return customer


def test_budgets_are_a_tree_with_what_is_used(live: Live) -> None:
    customer = given(live)
    live.use(customer, responses=2, team="a", key="k1", session="s1")
    held = live.gateway.post(
        "/v1/authorizations",
        json={
            "customer": customer,
            "meter": "responses",
            "dimensions": {"team": "a"},
            "estimate": {"quantities": {"responses": 1}},
            "require": "hold",
        },
    ).json()
    live.await_entry(customer, held["sequence"])
    answer = get(live, customer, "budgets")
    assert answer["position"]["stale_ms"] is not None
    states = {each["id"]: each.get("state") for each in answer["data"]}
    assert {each["id"]: each.get("parent") for each in answer["data"]} == {
        "all": None,
        "team": "all",
        "keys": "team",
        "sessions": "all",
    }
    team = states["team"]
    assert (team["used"], team["held"], team["left"]) == ("24", "12", "204")
    assert team["resets_at"] > answer["position"]["as_of"]
    assert states["keys"] is states["sessions"] is None
    one = get(live, customer, "budgets/team")["budget"]
    assert (one["state"], one["scope"]) == (team, "team=a")
    (session,) = get(live, customer, "budgets/sessions/values")["data"]
    assert (session["scope"], session["used"], session["left"]) == ("session=s1", "24", "36")


@pytest.mark.parametrize("order", ["used", "key"])
def test_values_come_most_used_first_or_by_key_in_pages(live: Live, order: str) -> None:
    customer = given(live)
    used = {"s/1": 1, "s&2": 4, "s#3": 3, "s 4": 2, "s%5": 4}
    for session, responses in used.items():
        live.use(customer, responses=responses, session=session)
    found: list[tuple[str, str]] = []
    cursor = ""
    while True:
        params = {"order": order, "limit": 2, "cursor": cursor}
        page = get(live, customer, "budgets/sessions/values", **params)
        assert len(page["data"]) <= 2
        found += [(each["scope"], each["used"]) for each in page["data"]]
        if not page["has_more"]:
            break
        cursor = page["next_cursor"]
    by_key = {
        "session=s 4": "24",
        "session=s%233": "36",
        "session=s%255": "48",
        "session=s%262": "48",
        "session=s/1": "12",
    }
    most_first = sorted(by_key, key=lambda scope: -int(by_key[scope]))
    assert found == [(scope, by_key[scope]) for scope in (by_key if order == "key" else most_first)]


def test_budgets_come_in_pages(live: Live) -> None:
    customer = given(live)
    first = get(live, customer, "budgets", limit=3)
    assert ([each["id"] for each in first["data"]], first["has_more"]) == (
        ["all", "keys", "sessions"],
        True,
    )
    rest = get(live, customer, "budgets", limit=3, cursor=first["next_cursor"])
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (["team"], False)


def test_blocks_say_who_why_since_and_until(live: Live) -> None:
    customer = given(live)
    key_id, secret = live.new_key("admin")
    for number, until in ((1, None), (2, "2099-01-01T00:00:00Z"), (3, None)):
        done = live.anyone.post(
            f"{live.gateways[0]}/v1/customers/{quoted(customer)}/blocks",
            json={"scope": {"key": f"k{number}"}, "reason": "leaked", "until_at": until},
            headers=bearer(secret),
        ).json()
        live.await_entry(customer, done["sequence"])
    answer = get(live, customer, "blocks", limit=2)
    assert [each["scope"] for each in answer["data"]] == [{"key": "k1"}, {"key": "k2"}]
    first, second = (each["block"] for each in answer["data"])
    assert (first["by"], first["reason"], first.get("until_at")) == (key_id, "leaked", None)
    assert second["until_at"] == "2099-01-01T00:00:00Z"
    assert first["since_at"] <= second["since_at"]
    rest = get(live, customer, "blocks", limit=2, cursor=answer["next_cursor"])
    assert ([each["scope"] for each in rest["data"]], rest["has_more"]) == ([{"key": "k3"}], False)


def test_a_customers_token_reads_its_own_limits_only(live: Live) -> None:
    customer, other = given(live), live.customer()
    live.grant(other, "credit", "12")
    mine = bearer(live.token(customer))
    for what in ("budgets", "budgets/team", "budgets/sessions/values", "blocks"):
        own, others = (
            live.anyone.get(f"{live.address}/v1/customers/{quoted(each)}/{what}", headers=mine)
            for each in (customer, other)
        )
        assert (own.status_code, others.status_code) == (200, 403)


@pytest.mark.parametrize(
    ("what", "params", "status", "code"),
    [
        ("budgets/none", {}, 404, "budget_unknown"),
        ("budgets/none/values", {}, 404, "budget_unknown"),
        ("budgets/sessions/values", {"order": "name"}, 400, "invalid"),
        ("budgets/sessions/values", {"cursor": "cXV4"}, 400, "invalid"),
        ("blocks", {"cursor": "?"}, 400, "invalid"),
        ("budgets", {"limit": 101}, 400, "invalid"),
    ],
)
def test_what_is_not_there_is_a_problem(
    live: Live, what: str, params: dict[str, Any], status: int, code: str
) -> None:
    customer = given(live)
    answer = live.query.get(f"/v1/customers/{quoted(customer)}/{what}", params=params)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_nobodys_limits_are_not_found(live: Live) -> None:
    for what in ("budgets", "blocks"):
        answer = live.query.get(f"/v1/customers/nobody/{what}")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_customer")
