"""Holds over HTTP: made by an authorization, captured, released, extended, and seen in the query
service. What each does to the money is tested in `tests/ledger`; here it goes the whole way.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

import httpx
import pytest
from tests.gateway.test_commands import alone
from tests.gateway.test_events import problem
from tests.web.live import Live, quoted, settling, until

from drawdown.events.reasons import Reason
from drawdown.gateway.commands import HTTP_STATUS
from drawdown.web.problems import TITLES

pytestmark = pytest.mark.kafka


def hold(live: Live, of: str, id: str, responses: int = 1, **content: Any) -> httpx.Response:
    """Hold so many responses, of 12 credits each."""
    body = {
        "id": id,
        "customer": of,
        "meter": "responses",
        "estimate": {"quantities": {"responses": responses}},
        "require": "hold",
        **content,
    }
    return live.gateway.post("/v1/authorizations", json=body)


def act(live: Live, what: str, on: str, **content: Any) -> httpx.Response:
    return live.other_gateway.post(f"/v1/holds/{quoted(on)}/{what}", json=content)


def funded(live: Live, credits: str = "60") -> str:
    customer = live.customer()
    live.grant(customer, "credit", credits)
    return customer


def account(live: Live, customer: str, sequence: int) -> tuple[str, str, str]:
    """Available, held and debited, once this entry is read."""
    live.await_entry(customer, sequence)
    found = live.balances(customer)["credit"]
    return found["available"], found.get("held", "0"), found.get("debited", "0")


def holds_of(live: Live, customer: str) -> list[str]:
    answer = live.query.get(f"/v1/customers/{quoted(customer)}/holds")
    return [row["id"] for row in answer.json()["data"]]


def test_every_reason_has_its_status() -> None:
    assert set(HTTP_STATUS) == set(Reason)
    assert set(HTTP_STATUS.values()) - {None, 200} <= set(TITLES)


def test_what_is_allowed_is_set_aside_until_it_is_captured(live: Live) -> None:
    customer = funded(live)
    made = hold(live, customer, "run/1", responses=3)
    assert made.status_code == 201, made.text
    decision = made.json()
    assert (decision["allowed"], decision["amount"]) == (True, "36")
    assert decision["hold"]["id"] == "run/1"
    assert [part["amount"] for part in decision["hold"]["allocations"]] == ["36"]
    assert account(live, customer, decision["sequence"]) == ("24", "36", "0")
    denied = hold(live, customer, "run/2", responses=3)
    assert (denied.status_code, denied.json()["shortfall"]) == (200, "12")
    captured = act(
        live, "capture", "run/1", id="run/1/capture", customer=customer, quantities={"responses": 2}
    )
    assert captured.status_code == 200, captured.text
    assert captured.json()["amount"] == "24"
    assert captured.json()["hold"]["closed"] is True
    assert account(live, customer, captured.json()["sequence"]) == ("36", "0", "24")


def test_a_hold_is_released_once(live: Live) -> None:
    customer = funded(live)
    assert hold(live, customer, "r", responses=5).status_code == 201
    key = {"Idempotency-Key": "a"}
    first = live.gateway.post(f"/v1/holds/r/release?customer={customer}", headers=key)
    assert first.status_code == 200, first.text
    assert first.json()["hold"]["returned"] == "60"
    again = act(live, "release", "r", customer=customer, id="a")
    assert {**first.json(), "duplicate": True} == again.json()
    said = problem(act(live, "release", "r", customer=customer), 409, "hold_closed")
    assert said["detail"]
    assert account(live, customer, first.json()["sequence"]) == ("60", "0", "0")


def test_open_holds_are_listed_with_pages(live: Live) -> None:
    customer = funded(live)
    door = f"/v1/customers/{customer}/holds"
    assert problem(live.query.get("/v1/customers/nobody-here/holds"), 404, "unknown_customer")
    assert live.query.get(door).json()["data"] == []
    for name in ("c", "a", "b"):
        last = hold(live, customer, name).json()
    live.await_entry(customer, last["sequence"])
    until(lambda: holds_of(live, customer) == ["a", "b", "c"])
    page = live.query.get(door, params={"limit": 2}).json()
    assert ([row["id"] for row in page["data"]], page["has_more"]) == (["a", "b"], True)
    rest = live.query.get(door, params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (["c"], False)
    row = rest["data"][0]
    assert (row["held"], row["asset"], row["meter"]) == ("12", "credit", "responses")
    act(live, "release", "a", customer=customer)
    until(lambda: holds_of(live, customer) == ["b", "c"])


def test_many_holds_do_not_stand_between_the_customers(live: Live) -> None:
    first, second = funded(live, "1200"), funded(live)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: hold(live, first, f"h{n}").json(), range(80)))
    live.await_entry(first, max(each["sequence"] for each in made))
    found: list[str] = []
    page: dict[str, Any] = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        asked = {"limit": 7, "cursor": page["next_cursor"]}
        page = live.query.get("/v1/customers", params=asked).json()
        found += [row["customer"] for row in page["data"]]
    assert found.count(first) == found.count(second) == 1
    assert found == sorted(set(found))


def test_usage_that_names_its_hold_captures_it(live: Live) -> None:
    customer = funded(live)
    hold(live, customer, "s", responses=4)
    for number, final in ((1, False), (2, True)):
        event = live.event(customer, responses=1, hold="s", final=final)
        answer = live.gateway.post("/v1/events?wait=decided", json=event)
        decision = answer.json()["outcomes"][0]["decision"]
        assert (answer.status_code, decision["amount"]) == (200, "12"), number
    assert account(live, customer, decision["sequence"]) == ("36", "0", "24")


def test_a_known_price_is_debited_in_one_decision(live: Live) -> None:
    customer = funded(live)
    body = {"require": "check", "capture": True}
    first = hold(live, customer, "once", **body)
    assert (first.status_code, first.json()["amount"]) == (200, "12")
    again = hold(live, customer, "once", **body)
    assert again.json() == {**first.json(), "duplicate": True}
    assert account(live, customer, first.json()["sequence"]) == ("48", "0", "12")


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"estimate": {}}, 400, "estimate_missing", "estimate"),
        ({"estimate": {"quantities": {"responses": -1}}}, 400, "bad_quantity", "responses"),
        ({"meter": "telepathy"}, 400, "unknown_meter", "meter"),
        ({"hold": {"expires_in_s": 86_401}}, 400, "hold_too_long", "hold"),
        ({"hold": {"expires_in_s": 0}}, 400, "malformed", "hold.expires_in_s"),
        ({"require": "money"}, 400, "malformed", "require"),
    ],
)
def test_a_hold_that_cannot_be_names_its_field(
    live: Live, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    customer = funded(live)
    said = problem(hold(live, customer, "wrong", **change), status, code)
    assert said["field"].startswith(field) or field in said["field"]
    assert live.sequence(customer) == 1


def test_a_hold_of_another_customer_is_never_found(live: Live) -> None:
    owner, thief = funded(live), funded(live)
    hold(live, owner, "mine", responses=2)
    for what, more in (("capture", {"id": "x"}), ("release", {}), ("extend", {"expires_in_s": 60})):
        problem(act(live, what, "mine", customer=thief, **more), 404, "hold_unknown")
        problem(act(live, what, "none", customer=owner, **more), 404, "hold_unknown")
        problem(act(live, what, "mine", customer="nobody", **more), 404, "hold_unknown")
    assert live.sequence(thief) == 1


@pytest.mark.parametrize(
    ("what", "content", "code", "field"),
    [
        ("capture", {"customer": "c"}, "idempotency_key_missing", "id"),
        ("capture", {"id": "1"}, "malformed", "customer"),
        ("release", {}, "malformed", "customer"),
        ("release", {"customer": "c", "hold_id": "other"}, "invalid", "hold_id"),
        ("extend", {"customer": "c", "minutes": 5}, "malformed", "minutes"),
        ("capture", {"customer": "c", "id": "1", "amount": 5}, "malformed", "amount"),
    ],
)
def test_a_wrong_question_about_a_hold_names_its_field(
    live: Live, what: str, content: dict[str, Any], code: str, field: str
) -> None:
    assert problem(act(live, what, "h", **content), 400, code)["field"] == field


def test_captured_twice_it_is_debited_once(live: Live) -> None:
    customer = funded(live)
    hold(live, customer, "twice", responses=2)
    first = act(live, "capture", "twice", customer=customer, id="k", quantities={"responses": 1})
    again = act(live, "capture", "twice", customer=customer, id="k", quantities={"responses": 1})
    assert again.json() == {**first.json(), "duplicate": True}
    other = act(live, "capture", "twice", customer=customer, id="k", quantities={"responses": 2})
    problem(other, 422, "conflict")
    late = act(live, "capture", "twice", customer=customer, id="l", quantities={"responses": 1})
    problem(late, 409, "hold_closed")
    assert account(live, customer, first.json()["sequence"]) == ("48", "0", "12")


def test_a_hold_is_extended_and_expires_by_itself(live: Live) -> None:
    customer = funded(live)
    hold(live, customer, "short", responses=5, hold={"expires_in_s": 1})
    extended = act(live, "extend", "short", customer=customer, expires_in_s=2)
    assert extended.status_code == 200, extended.text
    assert extended.json()["hold"]["expires_at"] > hold(live, customer, "no").json()["at"]
    until(lambda: live.balances(customer)["credit"]["available"] == "60", 10)
    assert holds_of(live, customer) == []
    late = act(live, "capture", "short", customer=customer, id="late", quantities={"responses": 1})
    problem(late, 409, "hold_expired")


def test_a_thousand_twins_make_one_hold(live: Live) -> None:
    """Through two gateways at once: one hold, and everybody is told the same of it."""
    customer = funded(live, "120")
    body = {
        "id": "twin",
        "customer": customer,
        "meter": "responses",
        "estimate": {"quantities": {"responses": 1}},
        "require": "hold",
    }

    def ask(number: int) -> httpx.Response:
        """Again where there was no answer in time, as a client does."""
        client = (live.gateway, live.other_gateway)[number % 2]
        for _ in range(20):
            answer = client.post("/v1/authorizations", json=body)
            if answer.status_code != 503:
                break
        return answer

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(1_000)))
    assert {answer.status_code for answer in answers} == {201}
    told = [answer.json() for answer in answers]
    assert sum("duplicate" not in each for each in told) == 1
    first = next(each for each in told if "duplicate" not in each)
    assert all(each == {**first, "duplicate": True} for each in told if "duplicate" in each)
    assert account(live, customer, first["sequence"]) == ("108", "12", "0")
    assert live.sequence(customer) == 2


def test_the_first_requests_of_a_customer_nobody_knows(live: Live) -> None:
    customer = live.customer()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: hold(live, customer, f"h{n}"), range(16)))
    assert {(a.status_code, a.json()["reason"]) for a in answers} == {(200, "unknown_customer")}
    assert live.query.get(f"/v1/customers/{customer}/wallet").status_code == 404
    live.grant(customer, "credit", "12")
    assert hold(live, customer, "h0").status_code == 201


def test_no_decision_in_time_and_the_same_id_later_holds_once(
    live: Live, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with alone(live, "late-holds") as (environment, client):
        body = {"id": "g", "asset": "credit", "amount": "60", "cost_basis": "0.01"}
        far = {"deadline_at": "2099-01-01T00:00:00Z"}
        asked = {
            "id": "h",
            "customer": "c",
            "meter": "responses",
            "estimate": {"quantities": {"responses": 1}},
            "require": "hold",
        }
        short = {"Request-Timeout": "0.2"}
        client.post("/v1/customers/c/grants", json={**body, **far}, headers=short)
        for _ in range(3):
            answer = client.post("/v1/authorizations", json={**asked, **far}, headers=short)
            problem(answer, 503, "no_decision")
        with settling(live.cluster, environment, tmp_path_factory.mktemp("stores")):
            answer = client.post("/v1/authorizations", json={**asked, **far})
            assert (answer.status_code, answer.json()["duplicate"]) == (201, True)
            assert answer.json()["sequence"] == 2
