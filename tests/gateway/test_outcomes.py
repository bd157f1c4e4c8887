"""Usage whose sender waits for what it came to: `POST /v1/events?wait=decided`."""

from __future__ import annotations

import concurrent.futures
import json
import socket
from typing import Any

import httpx
import pytest
from tests.gateway.test_commands import alone
from tests.gateway.test_events import balance, granted, problem
from tests.web.live import Live, until

from drawdown.events.codec import encode
from drawdown.gateway import answers, publisher

pytestmark = pytest.mark.kafka

BATCH = {"Content-Type": "application/cloudevents-batch+json"}


def report(live: Live, *events: dict[str, Any], **headers: str) -> httpx.Response:
    body = json.dumps(events).encode()
    return live.gateway.post("/v1/events?wait=decided", content=body, headers={**BATCH, **headers})


def test_the_sender_learns_what_was_debited(live: Live) -> None:
    customer = granted(live)
    one, two = live.event(customer), live.event(customer, responses=2)
    answer = report(live, one, two)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["accepted"], said["rejected"]) == (2, [])
    assert [(each["index"], each["id"]) for each in said["outcomes"]] == [
        (0, one["id"]),
        (1, two["id"]),
    ]
    decisions = [each["decision"] for each in said["outcomes"]]
    assert [(d["asset"], d["amount"], d["sequence"]) for d in decisions] == [
        ("credit", "12", 2),
        ("credit", "24", 3),
    ]
    until(lambda: balance(live, customer) == "444")


def test_a_duplicate_is_a_success_that_says_so(live: Live) -> None:
    customer = granted(live)
    event = live.event(customer)
    first, again = report(live, event), report(live, event)
    assert (first.status_code, again.status_code) == (200, 200)
    decision = again.json()["outcomes"][0]["decision"]
    assert (decision["duplicate"], decision["reason"]) == (True, "duplicate")
    assert (decision["allowed"], decision["amount"]) == (True, "12")
    # Also within one request.
    twins = report(live, *[live.event(customer)] * 2).json()["outcomes"]
    assert ["duplicate" in each["decision"] for each in twins] == [False, True]


def test_what_settlement_refused_is_rejected_with_reason_and_field(live: Live) -> None:
    customer = granted(live)
    good = live.event(customer)
    negative = live.event(customer, responses=-1)
    unknown = live.event(customer, "telepathy", thoughts=1)
    nobody = {**live.event(customer), "subject": ""}
    conflict = {**good, "data": {"responses": 2}}
    answer = report(live, good, negative, unknown, nobody, conflict)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["accepted"], said["outcomes"][0]["decision"]["amount"]) == (1, "12")
    assert [(each["index"], each["code"], each["field"]) for each in said["rejected"]] == [
        (1, "bad_quantity", "data.responses"),
        (2, "unknown_meter", "type"),
        (3, "malformed", "subject"),
        (4, "conflict", "id"),
    ]
    assert all(each["detail"] for each in said["rejected"])


def test_where_all_are_refused_it_is_a_problem(live: Live) -> None:
    customer = granted(live)
    said = problem(report(live, live.event(customer, responses=-1)), 400, "bad_quantity")
    assert (said["field"], said["errors"][0]["index"]) == ("data.responses", 0)
    event = live.event(customer)
    assert report(live, event).status_code == 200
    problem(report(live, {**event, "type": "llm.request"}), 422, "conflict")


def test_a_thousand_are_waited_for_in_one_request(live: Live) -> None:
    customer = granted(live, "12000")
    answer = report(live, *(live.event(customer) for _ in range(1_000)))
    assert answer.status_code == 200
    decisions = [each["decision"] for each in answer.json()["outcomes"]]
    assert {decision["amount"] for decision in decisions} == {"12"}
    assert sorted(decision["sequence"] for decision in decisions) == list(range(2, 1_002))


def test_each_gateway_tells_its_own_senders(live: Live) -> None:
    customer = granted(live)

    def sent(number: int) -> bool:
        client = (live.gateway, live.other_gateway)[number % 2]
        event = live.event(customer)
        said = client.post("/v1/events?wait=decided", json=event).json()
        return bool(said["outcomes"][0]["decision"]["id"] == event["id"])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(sent, range(32)))


def test_it_waits_for_decisions_and_for_nothing_else(live: Live) -> None:
    answer = live.gateway.post("/v1/events?wait=stored", json=live.event("c"))
    assert problem(answer, 400, "invalid")["field"] == "wait"
    for seconds in ("0", "31", "soon"):
        answer = report(live, live.event("c"), **{"Request-Timeout": seconds})
        assert problem(answer, 400, "invalid")["field"] == "request-timeout"


def test_what_is_not_decided_in_time_is_stored_and_says_so(live: Live) -> None:
    with alone(live, "undecided") as (_, client):
        event = live.event("c")
        answer = client.post(
            "/v1/events?wait=decided", json=event, headers={"Request-Timeout": "0.3"}
        )
        assert answer.status_code == 202
        assert answer.json() == {
            "accepted": 1,
            "rejected": [],
            "outcomes": [{"index": 0, "id": event["id"], "decision": None}],
        }


def test_so_many_decisions_are_waited_for_and_no_more(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = granted(live)
    monkeypatch.setattr(answers, "WAITING_MAX", 2)
    refused = report(live, *(live.event(customer) for _ in range(3)))
    problem(refused, 429, "busy")
    assert int(refused.headers["retry-after"]) > 0
    # Nothing of it was sent, and what is within the bound is.
    assert report(live, live.event(customer), live.event(customer)).status_code == 200
    until(lambda: balance(live, customer) == "456")
    monkeypatch.setattr(answers, "WAITING_MAX", 0)
    asked = {"customer": customer, "meter": "responses"}
    problem(live.gateway.post("/v1/authorizations", json=asked), 429, "busy")


def test_so_many_events_are_in_flight_and_no_more(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = granted(live)
    monkeypatch.setattr(publisher, "IN_FLIGHT_MAX", 2)
    events = [live.event(customer) for _ in range(3)]
    refused = live.gateway.post("/v1/events", content=encode(events), headers=BATCH)
    problem(refused, 429, "busy")
    assert live.gateway.post("/v1/events", json=live.event(customer)).status_code == 202
    until(lambda: balance(live, customer) == "468")


def test_who_goes_away_is_not_waited_for(live: Live) -> None:
    """Their slot is free at once, and not when their time is up."""
    with alone(live, "gone") as (_, client):
        host, port = client.base_url.host, client.base_url.port
        assert port is not None
        for door, content in (
            ("/v1/authorizations", {"id": "1", "customer": "c", "meter": "responses"}),
            ("/v1/events?wait=decided", live.event("c")),
        ):
            body = encode(content)
            head = (
                f"POST {door} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
                f"Authorization: {client.headers['authorization']}\r\nRequest-Timeout: 30\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            with socket.create_connection((host, port), 5) as line:
                line.sendall(head.encode() + body)
                until(lambda: client.get("/readyz").json()["waiting"] == 1)
            until(lambda: client.get("/readyz").json()["waiting"] == 0, 5)
        assert 'door="/v1/authorizations",status="499"' in client.get("/metrics").text
