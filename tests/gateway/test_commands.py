"""Authorizations, grants and terms over HTTP, decided by settlement on a real Kafka."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from tests.gateway.test_events import problem
from tests.web.live import (
    Live,
    bearer,
    grants_of,
    http,
    prepare,
    quoted,
    serving,
    settling,
    until,
)

from drawdown.access import new_key, write_setting
from drawdown.events.catalogue import COMMANDS, DECISIONS, Environment
from drawdown.gateway.app import create_app

pytestmark = pytest.mark.kafka

LONG_AGO = "2026-01-01T00:00:00Z"


def ask(live: Live, of: str, **content: Any) -> httpx.Response:
    """May a response, of 12 credits, be sent?"""
    content.setdefault("estimate", {"quantities": {"responses": 1}})
    return live.gateway.post(
        "/v1/authorizations", json={"customer": of, "meter": "responses", **content}
    )


def grant(live: Live, to: str, **content: Any) -> httpx.Response:
    body = {"asset": "credit", "amount": "480", "cost_basis": "0.01", **content}
    return live.gateway.post(grants_of(to), json=body)


# Authorizations


def test_what_is_there_may_be_spent(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    answer = ask(live, customer, id="run-1")
    assert answer.status_code == 200
    decision = answer.json()
    assert decision["allowed"] is True
    assert decision["reason"] == "ok"
    assert decision["id"] == "run-1"
    assert (decision["amount"], decision["asset"]) == ("12", "credit")
    assert decision["available"] == {"credit": "480"}
    assert decision["rate"] == "response"
    assert decision["book"] == "2026-11"
    assert decision["sequence"] == 1


def test_a_denial_is_a_successful_answer_with_its_shortfall(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "20")
    answer = ask(live, customer, estimate={"quantities": {"responses": 2}})
    assert answer.status_code == 200
    decision = answer.json()
    assert decision["allowed"] is False
    assert decision["reason"] == "insufficient_balance"
    assert decision["shortfall"] == "4"
    assert decision["available"] == {"credit": "20"}


def test_spent_to_the_last_response_the_next_is_denied(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "24")
    for left in (24, 12):
        decision = ask(live, customer).json()
        assert (decision["allowed"], decision["available"]) == (True, {"credit": str(left)})
        live.use(customer)
    decision = ask(live, customer).json()
    assert (decision["allowed"], decision["shortfall"]) == (False, "12")


def test_a_customer_nobody_has_seen_is_denied_and_not_opened(live: Live) -> None:
    customer = live.customer()
    answer = ask(live, customer)
    assert answer.status_code == 200
    assert (answer.json()["allowed"], answer.json()["reason"]) == (False, "unknown_customer")
    assert live.query.get(f"/v1/customers/{customer}/wallet").status_code == 404


def test_a_denial_is_not_remembered(live: Live) -> None:
    customer = live.customer()
    assert ask(live, customer, id="again").json()["reason"] == "unknown_customer"
    live.grant(customer, "credit", "12")
    assert ask(live, customer, id="again").json()["allowed"] is True


def test_an_authorization_without_an_id_is_given_one(live: Live) -> None:
    customer = live.customer()
    assert ask(live, customer).json()["id"]
    named = live.gateway.post(
        "/v1/authorizations",
        json={"customer": customer, "meter": "responses"},
        headers={"Idempotency-Key": "mine"},
    )
    assert named.json()["id"] == "mine"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"meter": "telepathy"}, "unknown_meter", "meter"),
        ({"meter": ""}, "malformed", "meter"),
        ({"customer": ""}, "malformed", "customer"),
        ({"customer": None}, "malformed", "customer"),
        ({"estimate": {"quantities": {"responses": -1}}}, "bad_quantity", "responses"),
        ({"estimate": {"quantities": {"responses": "-1"}}}, "malformed", "estimate.quantities"),
        ({"estimate": {"quantities": {"responses": "1e400"}}}, "malformed", "estimate.quantities"),
        ({"estimate": {"amount": "-1", "asset": "credit"}}, "malformed", "estimate.amount"),
        ({"estimate": {"amount": 1.5, "asset": "credit"}}, "malformed", "estimate.amount"),
        ({"estimate": {"quantities": {"responses": 0.5}}}, "malformed", "estimate.quantities"),
        ({"estimate": {"amount": "NaN", "asset": "credit"}}, "malformed", "estimate.amount"),
        ({"estimate": {"amount": "1", "asset": "USD"}}, "invalid", "estimate.asset"),
        ({"estimat": {}}, "malformed", "estimat"),
        ({"time": LONG_AGO}, "too_late", "time"),
        ({"time": "2099-01-01T00:00:00Z"}, "too_early", "time"),
        ({"time": "2026-11-03T09:30:00"}, "malformed", "time"),
        ({"type": "grant"}, "malformed", "type"),
        ({"timesource": "gateway"}, "malformed", "timesource"),
        ({"id": "a\nb"}, "malformed", "id"),
    ],
)
def test_a_wrong_question_names_its_field(
    live: Live, change: dict[str, Any], code: str, field: str
) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "480")
    said = problem(ask(live, customer, **change), 400, code)
    assert field in said["field"]
    assert said["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "1", "amount": NaN}',
        b'{"id": "1", "meter": "\xff"}',
        b'{"id": "1", "meter": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"id": "1"} {}',
        b"[]",
        b"",
        b"null",
    ],
)
def test_a_body_that_is_no_command_is_a_problem(live: Live, body: bytes) -> None:
    for door in ("/v1/authorizations", "/v1/customers/c/grants"):
        problem(live.gateway.post(door, content=body), 400, "malformed")


def test_a_number_is_not_taken_for_an_amount_however_large(live: Live) -> None:
    for number in (b"1e400", b"5", b"0.1"):
        body = b'{"id": "1", "asset": "credit", "amount": ' + number + b"}"
        said = problem(live.gateway.post(grants_of("c"), content=body), 400, "malformed")
        assert said["field"] == "amount"


@pytest.mark.parametrize("seconds", ["0", "-1", "31", "nan", "inf", "soon"])
def test_nobody_waits_for_ever(live: Live, seconds: str) -> None:
    answer = live.gateway.post(
        "/v1/authorizations",
        json={"customer": "c", "meter": "responses"},
        headers={"Request-Timeout": seconds},
    )
    assert problem(answer, 400, "invalid")["field"] == "request-timeout"


def test_past_its_deadline_a_command_is_not_evaluated(live: Live) -> None:
    customer = live.customer()
    answer = grant(live, customer, id="late", deadline_at=LONG_AGO)
    said = problem(answer, 503, "deadline_passed")
    assert (said["id"], said["field"]) == ("late", "deadline_at")
    assert answer.headers["retry-after"] == "1"
    assert ask(live, customer).json()["reason"] == "unknown_customer"
    # Nothing is remembered of it: the same id with time enough is decided.
    again = grant(live, customer, id="late")
    assert (again.status_code, "duplicate" in again.json()) == (201, False)


# Grants


def test_a_grant_opens_the_wallet(live: Live) -> None:
    customer = live.customer("a/b c")
    decision = live.grant(customer, "credit", "480.000", category="promotional")
    assert decision["balance"] == "480"
    assert decision["amount"] == "480"
    assert decision["grant"] == decision["id"]
    assert live.balances(customer)["credit"]["available"] == "480"


def test_the_same_grant_again_is_the_first_result(live: Live) -> None:
    customer = live.customer()
    first = grant(live, customer, id="invoice-1")
    again = live.other_gateway.post(
        grants_of(customer),
        json={"asset": "credit", "amount": "480", "cost_basis": "0.01"},
        headers={"Idempotency-Key": "invoice-1"},
    )
    assert (first.status_code, again.status_code) == (201, 201)
    assert "duplicate" not in first.json()
    assert {**first.json(), "duplicate": True} == again.json()
    live.await_entry(customer, 1)
    assert live.balances(customer)["credit"]["granted"] == "480"


def test_the_same_id_with_other_content_is_a_conflict(live: Live) -> None:
    customer = live.customer()
    assert grant(live, customer, id="invoice-1").status_code == 201
    said = problem(grant(live, customer, id="invoice-1", amount="481"), 422, "conflict")
    assert (said["id"], said["field"]) == ("invoice-1", "id")
    live.await_entry(customer, 1)
    assert live.balances(customer)["credit"]["granted"] == "480"


def test_twins_at_the_same_time_grant_once(live: Live) -> None:
    customer = live.customer()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: grant(live, customer, id="twin"), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert sum("duplicate" in answer.json() for answer in answers) == 7
    assert len({answer.json()["digest"] for answer in answers}) == 1


def test_a_grant_needs_an_id(live: Live) -> None:
    said = problem(grant(live, live.customer()), 400, "idempotency_key_missing")
    assert said["field"] == "id"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"amount": "-5"}, "malformed", "amount"),
        ({"amount": 5}, "malformed", "amount"),
        ({"amount": "1e3"}, "malformed", "amount"),
        ({"amount": "0"}, "invalid", "amount"),
        ({"amount": "0.5"}, "invalid", "amount"),
        ({"asset": "doubloon"}, "invalid", "asset"),
        ({"category": "gift"}, "malformed", "category"),
        ({"expires_at": LONG_AGO}, "invalid", "expires_at"),
        ({"customer": "somebody-else"}, "invalid", "customer"),
        ({"cost_basis": None}, "invalid", "cost_basis"),
    ],
)
def test_a_wrong_grant_names_its_field(
    live: Live, change: dict[str, Any], code: str, field: str
) -> None:
    customer = live.customer()
    said = problem(grant(live, customer, id="g", **change), 400, code)
    assert said["field"] == field
    assert live.query.get(f"/v1/customers/{customer}/wallet").status_code == 404


def test_a_customers_id_is_checked_in_the_path_too(live: Live) -> None:
    long = live.gateway.post(f"/v1/customers/{'x' * 129}/grants", json={"id": "1"})
    assert problem(long, 400, "invalid")["field"] == "customer"
    control = live.gateway.post("/v1/customers/a%1Fb/grants", json={"id": "1"})
    assert problem(control, 400, "invalid")["field"] == "customer"


# Terms


def test_a_credit_limit_is_set_and_can_be_spent(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "credit", "6")
    assert ask(live, customer).json()["shortfall"] == "6"
    live.terms(customer, credit_limits={"credit": "10"}, thresholds={"credit": ["5"]})
    decision = ask(live, customer).json()
    assert (decision["allowed"], decision["available"]) == (True, {"credit": "16"})


# Who may


def doors(live: Live) -> list[httpx.Request]:
    """A request to every door of the gateway, as nobody."""
    asked = [
        ("POST", "/v1/events"),
        ("POST", "/api/v1/events"),
        ("POST", "/v1/authorizations"),
        ("POST", "/v1/holds/h/capture"),
        ("POST", "/v1/holds/h/release"),
        ("POST", "/v1/holds/h/extend"),
        ("POST", "/v1/customers/c/grants"),
        ("PUT", "/v1/customers/c/terms"),
    ]
    return [httpx.Request(method, live.gateways[0] + path, content=b"{}") for method, path in asked]


def status_with(request: httpx.Request, secret: str) -> int:
    with http() as client:
        request.headers["Authorization"] = f"Bearer {secret}"
        return client.send(request).status_code


def test_every_door_needs_a_key(live: Live) -> None:
    with http() as client:
        for request in doors(live):
            answer = client.send(request)
            assert "drawdown keys create" in problem(answer, 401, "unauthenticated")["detail"]
            assert answer.headers["www-authenticate"] == "Bearer"
            for wrong in ("Bearer drw_sk_aaaaaaaa_" + "a" * 32, "Bearer", "Basic YTpi", "x"):
                request.headers["Authorization"] = wrong
                problem(client.send(request), 401, "unauthenticated")


def test_a_key_opens_the_doors_of_its_permissions(live: Live) -> None:
    open_to = {
        "ingest": [400, 400] + [403] * 6,
        "authorize": [403, 403] + [400] * 4 + [403, 403],
        "read": [403] * 8,
    }
    for permission, expected in open_to.items():
        secret = live.key(permission)
        assert [status_with(request, secret) for request in doors(live)] == expected
    token = live.token("c")
    assert [status_with(request, token) for request in doors(live)] == [403] * 8


def test_a_key_with_a_wrong_secret_is_none(live: Live) -> None:
    secret = live.key("ingest")
    other = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert {status_with(request, other) for request in doors(live)} == {401}


def test_a_revoked_key_is_refused_from_then_on(live: Live) -> None:
    key_id, secret = live.new_key("ingest", "authorize")
    live.revoke(key_id)
    live.await_known(secret, known=False)
    assert {status_with(request, secret) for request in doors(live)} == {401}


# Who gets the answer


def test_each_gateway_gets_its_own_answers(live: Live) -> None:
    """Two gateways with many waiting at once: every caller gets the decision of its own id."""
    customers = [live.customer() for _ in range(4)]
    for customer in customers:
        live.grant(customer, "credit", "480")

    def asked(number: int) -> bool:
        client = (live.gateway, live.other_gateway)[number % 2]
        customer = customers[number % 4]
        body = {"id": f"reply-{number}", "customer": customer, "meter": "responses"}
        decision = client.post("/v1/authorizations", json=body).json()
        return (decision["id"], decision["customer"]) == (body["id"], customer)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(asked, range(64)))
    addressed: dict[str, set[str]] = {}
    for decision, headers in live.records(DECISIONS):
        if decision["id"].startswith("reply-"):
            number = int(decision["id"].removeprefix("reply-")) % 2
            addressed.setdefault(f"{number}", set()).add(headers["reply_to"])
    assert len(addressed["0"]) == len(addressed["1"]) == 1
    assert addressed["0"] != addressed["1"]


# Without settlement


@contextmanager
def alone(live: Live, name: str) -> Iterator[tuple[Environment, httpx.Client]]:
    """A gateway of an environment in which no settlement runs."""
    environment = Environment(name)
    prepare(live.cluster, environment)
    secret, record = new_key(("admin",), datetime.now(UTC))
    write_setting(live.cluster, environment, "api_key", record.id, record)
    with (
        serving(create_app(live.cluster, environment, "0")) as address,
        http(base_url=address, headers=bearer(secret), timeout=20) as client,
    ):
        yield environment, client


@pytest.fixture(scope="module")
def outage(live: Live, tmp_path_factory: pytest.TempPathFactory) -> dict[str, httpx.Response]:
    """What a gateway answers before settlement runs, and after."""
    body = {"asset": "credit", "amount": "480", "cost_basis": "0.01"}
    waits = {**body, "id": "waits", "deadline_at": "2099-01-01T00:00:00Z"}
    answers: dict[str, httpx.Response] = {}
    with ExitStack() as stack:
        environment, client = stack.enter_context(alone(live, "lonely"))
        for name, content in (("waits", waits), ("missed", {**body, "id": "missed"})):
            answers[name] = client.post(
                "/v1/customers/c/grants", json=content, headers={"Request-Timeout": "0.2"}
            )
        answers["usage"] = client.post("/v1/events", json=live.event("c"))
        stack.enter_context(settling(live.cluster, environment, tmp_path_factory.mktemp("late")))
        for name in ("waits", "missed"):
            answers[f"{name} again"] = client.post(
                "/v1/customers/c/grants", json={**body, "id": name}
            )
    return answers


def test_without_settlement_there_is_no_decision(outage: dict[str, httpx.Response]) -> None:
    said = problem(outage["waits"], 503, "no_decision")
    assert said["id"] == "waits"
    assert outage["waits"].headers["retry-after"] == "1"


def test_the_same_id_later_gets_the_decision_that_was_made(
    outage: dict[str, httpx.Response],
) -> None:
    again = outage["waits again"]
    assert again.status_code == 201
    assert (again.json()["duplicate"], again.json()["amount"]) == (True, "480")


def test_without_settlement_usage_is_stored_all_the_same(
    outage: dict[str, httpx.Response],
) -> None:
    assert outage["usage"].status_code == 202


def test_what_nobody_waits_for_any_more_is_not_evaluated(
    outage: dict[str, httpx.Response],
) -> None:
    problem(outage["missed"], 503, "no_decision")
    assert "duplicate" not in outage["missed again"].json()


def test_the_gateway_says_what_it_has_in_hand(live: Live) -> None:
    state = live.gateway.get("/readyz").json()
    assert state["ready"] is True
    assert state["answers"] is True
    assert state["settings"] is True
    until(lambda: live.gateway.get("/readyz").json()["in_flight"] == 0)
    assert live.gateway.get("/readyz").json()["waiting"] == 0


def test_a_command_says_who_asked(live: Live) -> None:
    customer = live.customer()
    key_id, secret = live.new_key("admin")
    answer = live.gateway.post(
        grants_of(customer),
        content=json.dumps({"id": "1", "asset": "USD", "amount": "1"}),
        headers=bearer(secret),
    )
    assert answer.status_code == 201
    live.await_entry(customer, 1)
    entry = live.query.get(f"/v1/customers/{quoted(customer)}/entries").json()["data"][0]
    assert entry["data"]["actor"] == key_id
    headers = [said for record, said in live.records(COMMANDS) if record["customer"] == customer]
    assert headers[0]["actor"] == key_id
