"""Usage over HTTP: every form in which it may come, and what is said of what cannot be taken."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest
from tests.web.live import Live, bearer, now, until

from drawdown.events.catalogue import DEAD_LETTERS

pytestmark = pytest.mark.kafka

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
PLAIN = {"Content-Type": "application/json"}


def granted(live: Live, amount: str = "480") -> str:
    """A customer with credits; a response costs 12."""
    customer = live.customer()
    live.grant(customer, "credit", amount)
    return customer


def balance(live: Live, customer: str) -> str:
    return live.balances(customer)["credit"]["balance"]


def post(live: Live, content: Any, headers: dict[str, str] = PLAIN) -> httpx.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return live.gateway.post("/v1/events", content=body, headers=headers)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem of an answer that must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said["status"] == status
    assert said["code"] == code
    assert said["request_id"] == answer.headers["x-request-id"]
    return said


# In every form


def test_a_structured_cloud_event_is_debited(live: Live) -> None:
    customer = granted(live)
    answer = post(live, live.event(customer), STRUCTURED)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
    until(lambda: balance(live, customer) == "468")


def test_a_batch_tells_of_each_event_what_is_wrong_with_it(live: Live) -> None:
    customer = granted(live)
    good, other = live.event(customer), live.event(customer)
    nobody = {**live.event(customer), "id": "x1"}
    del nobody["subject"]
    unnamed = live.event(customer)
    del unnamed["id"]
    dated = {**live.event(customer), "id": "x2", "time": "2026-11-03T09:30:00"}
    answer = post(live, [good, nobody, unnamed, other, dated, 7], BATCH)
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    assert [
        (item["index"], item["id"], item["code"], item["field"])
        for item in answer.json()["rejected"]
    ] == [
        (1, "x1", "malformed", "subject"),
        (2, None, "malformed", "id"),
        (4, "x2", "malformed", "time"),
        (5, None, "malformed", None),
    ]
    until(lambda: balance(live, customer) == "456")


def test_a_binary_cloud_event_has_its_attributes_in_headers(live: Live) -> None:
    customer = live.customer("café 10 %")
    live.grant(customer, "credit", "24")
    headers = {
        "ce-specversion": "1.0",
        "ce-id": '"quoted \\"1\\""',
        "ce-source": "tests",
        "ce-type": "response.sent",
        "ce-subject": customer.replace("%", "%25").replace("é", "%C3%A9"),
        "ce-time": now(),
    }
    assert post(live, {"responses": 1}, {**PLAIN, **headers}).status_code == 202
    until(lambda: balance(live, customer) == "12")
    entry = live.query.get(f"/v1/customers/{customer.replace('%', '%25')}/entries").json()
    assert entry["data"][0]["data"]["id"] == 'quoted "1"'
    vendors = {**headers, "ce-id": "2", "Content-Type": "application/vnd.acme.usage+json"}
    assert post(live, {"responses": 1}, vendors).status_code == 202
    until(lambda: balance(live, customer) == "0")


def test_the_body_of_a_binary_event_is_its_data_and_nothing_else(live: Live) -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-type": "response.sent",
        "ce-subject": "mallory",
    }
    smuggled = post(live, b'{"responses": 1}, "subject": "somebody-else"', {**PLAIN, **headers})
    problem(smuggled, 400, "malformed")
    headers["ce-subject"] = "%FF"
    assert problem(post(live, {}, {**PLAIN, **headers}), 400, "malformed")["field"] == "ce-subject"


def test_plain_json_needs_no_envelope(live: Live) -> None:
    customer = granted(live)
    event = {"id": "1", "type": "response.sent", "customer": customer, "data": {"responses": 2}}
    assert post(live, event).json() == {"accepted": 1, "rejected": []}
    # Without a media type, and as a list.
    assert live.gateway.post("/v1/events", content=json.dumps([{**event, "id": "2"}])).is_success
    until(lambda: balance(live, customer) == "432")


def test_a_retry_is_debited_once_even_where_the_gateway_filled_in_the_time(live: Live) -> None:
    customer = granted(live)
    event = {"id": "1", "type": "response.sent", "customer": customer, "data": {"responses": 1}}
    assert post(live, event).status_code == 202
    assert live.other_gateway.post("/v1/events", json=event).status_code == 202
    post(live, {**event, "id": "2"})
    until(lambda: balance(live, customer) == "456")


def test_a_zipped_body_is_unzipped(live: Live) -> None:
    customer = granted(live)
    body = gzip.compress(json.dumps(live.event(customer)).encode())
    assert post(live, body, {**PLAIN, "Content-Encoding": "gzip"}).status_code == 202
    until(lambda: balance(live, customer) == "468")


def test_who_sent_an_event_is_in_its_entry(live: Live) -> None:
    customer = granted(live)
    key_id, secret = live.new_key("ingest")
    event = live.event(customer)
    assert live.gateway.post("/v1/events", json=event, headers=bearer(secret)).is_success
    live.await_entry(customer, 2)
    entry = live.query.get(f"/v1/customers/{customer}/entries").json()["data"][0]["data"]
    assert (entry["actor"], entry["id"], entry["source"]) == (key_id, event["id"], "tests")


# As LiteLLM posts


def litellm(customer: str, event_id: str, **data: Any) -> dict[str, Any]:
    """What LiteLLM's `openmeter` callback sends."""
    return {
        "specversion": "1.0",
        "type": "llm.request",
        "id": event_id,
        "time": now().replace("Z", "+00:00"),
        "subject": customer,
        "source": "litellm-proxy",
        "data": {"model": "gpt-5", **data},
    }


def test_the_callback_of_litellm_needs_nothing_but_our_address(live: Live) -> None:
    customer = live.customer()
    live.grant(customer, "USD", "1")
    tokens = {"prompt_tokens": 2000, "completion_tokens": 400, "total_tokens": 2400}
    event = litellm(customer, "chatcmpl-1", cost=0.0028333333333333335, **tokens)
    answer = live.gateway.post("/api/v1/events", content=json.dumps(event), headers=STRUCTURED)
    assert (answer.status_code, answer.content) == (204, b"")
    live.await_entry(customer, 2)
    assert live.balances(customer)["USD"]["balance"] == "0.9935"
    entry = live.query.get(f"/v1/customers/{customer}/entries").json()["data"][0]["data"]
    assert entry["usage"]["quantities"] == {"input": 2000, "output": 400}
    assert entry["cost"] == "0.002833333333"


def test_litellms_cost_is_a_float_with_or_without_tokens(live: Live) -> None:
    event = litellm(live.customer(), "img-1", cost=0.00028333333333333335)
    answer = live.gateway.post("/api/v1/events", content=json.dumps(event), headers=STRUCTURED)
    assert answer.status_code == 204
    nothing = litellm(live.customer(), "img-2", cost=None)
    answer = live.gateway.post("/api/v1/events", content=json.dumps(nothing), headers=STRUCTURED)
    assert answer.status_code == 204


def test_openmeters_path_takes_all_or_nothing(live: Live) -> None:
    customer = granted(live)
    events = [live.event(customer), {**live.event(customer), "type": ""}]
    answer = live.gateway.post("/api/v1/events", json=events, headers=BATCH)
    said = problem(answer, 400, "malformed")
    assert (said["field"], [item["index"] for item in said["errors"]]) == ("type", [1])
    live.use(customer)
    assert balance(live, customer) == "468"
    problem(live.gateway.post("/api/v1/events", json=[], headers=BATCH), 400, "malformed")


# What cannot be taken


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"id": ""}, "malformed", "id"),
        ({"id": 5}, "malformed", "id"),
        ({"id": "a\u001fb"}, "malformed", "id"),
        ({"id": "x" * 257}, "malformed", "id"),
        ({"subject": "x" * 129}, "malformed", "subject"),
        ({"type": None}, "malformed", "type"),
        ({"time": "yesterday"}, "malformed", "time"),
        ({"time": 1_800_000_000}, "malformed", "time"),
        ({"specversion": "0.3"}, "malformed", "specversion"),
        ({"data": [1]}, "malformed", "data"),
        ({"data_base64": "e30="}, "malformed", "data_base64"),
        ({"data": {"responses": 0.12345678901234567}}, "bad_quantity", "data.responses"),
        ({"data": {"prompt_tokens": -1}}, "bad_quantity", "data.prompt_tokens"),
    ],
)
def test_a_wrong_event_names_its_field(
    live: Live, change: dict[str, Any], code: str, field: str
) -> None:
    said = problem(post(live, {**live.event("nobody"), **change}, STRUCTURED), 400, code)
    assert said["field"] == field
    assert said["detail"]


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        (b'{"responses": 1e400}', "bad_quantity", "data.responses"),
        (b'{"responses": -1e400}', "bad_quantity", "data.responses"),
        (b'{"a": {"b": 1e999999999999}}', "bad_quantity", "data.a"),
        (b'{"responses": NaN}', "malformed", None),
        (b'{"responses": Infinity}', "malformed", None),
        (b'{"responses": 1', "malformed", None),
        (b'{"responses": "\xff"}', "malformed", None),
        (b'{"responses": "\xed\xa0\x80"}', "malformed", None),
        (b'{"responses": "\\ud800"}', "malformed", None),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "malformed", None),
        (b"[" * 20_000 + b"]" * 20_000, "malformed", None),
    ],
)
def test_wrong_data_is_a_problem_and_never_a_fault(
    live: Live, data: bytes, code: str, field: str | None
) -> None:
    event = json.dumps({**live.event("nobody"), "data": 0}).encode()
    body = event.replace(b'"data": 0', b'"data": ' + data)
    said = problem(post(live, body, STRUCTURED), 400, code)
    assert (said.get("field") or "").startswith(field or "")
    problem(post(live, b"[" + body + b"]", BATCH), 400, code)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b"\x00", b"\xff\xfe", b"[1, 2", b'"x"']
)
def test_a_body_that_is_no_event_is_a_problem(live: Live, body: bytes) -> None:
    for headers in (STRUCTURED, BATCH, PLAIN):
        problem(post(live, body, headers), 400, "malformed")


def test_what_only_the_price_book_can_tell_is_a_dead_letter(live: Live) -> None:
    customer = granted(live)
    event = live.event(customer, responses=-1)
    assert post(live, event).status_code == 202
    live.use(customer)

    def why() -> list[dict[str, str]]:
        letters = live.records(DEAD_LETTERS)
        return [headers for value, headers in letters if value["id"] == event["id"]]

    until(why)
    assert why()[0]["drawdown-reason"] == "bad_quantity"
    assert why()[0]["drawdown-field"] == "data.responses"
    assert balance(live, customer) == "468"


def test_nobody_can_have_late_usage_booked_over_http(live: Live) -> None:
    """The header that an operator's redrive sets on the topic is no header of this door."""
    customer = granted(live)
    event = {**live.event(customer), "time": "2020-01-01T00:00:00Z"}
    for name in ("drawdown-accept-late", "ce-drawdown-accept-late"):
        assert post(live, event, {**PLAIN, name: "eve"}).status_code == 202
    live.use(customer)
    assert balance(live, customer) == "468"
    found = live.records(DEAD_LETTERS)
    letters = [headers for value, headers in found if value["id"] == event["id"]]
    assert [headers["drawdown-reason"] for headers in letters] == ["too_late"] * 2
    assert not any("drawdown-accept-late" in headers for headers in letters)


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
def test_another_media_type_is_refused(live: Live, media: str) -> None:
    answer = post(live, live.event("nobody"), {"Content-Type": media})
    said = problem(answer, 415, "unsupported_media_type")
    assert said["field"] == "content-type"
    assert "application/cloudevents+json" in said["detail"]


def test_another_encoding_is_refused(live: Live) -> None:
    answer = post(live, live.event("nobody"), {**PLAIN, "Content-Encoding": "br"})
    problem(answer, 415, "unsupported_encoding")


# What is too much


def test_a_batch_has_a_thousand_events_at_most(live: Live) -> None:
    customer = granted(live, "12000")
    events = [live.event(customer) for _ in range(1001)]
    assert "1000" in problem(post(live, events, BATCH), 413, "oversized")["detail"]
    assert post(live, events[:1000], BATCH).json() == {"accepted": 1000, "rejected": []}
    until(lambda: balance(live, customer) == "0")


def test_a_body_is_bounded_before_it_is_read(live: Live) -> None:
    problem(post(live, b" " * (5 * 1024 * 1024 + 1)), 413, "oversized")


def test_a_body_without_a_length_is_bounded_too(live: Live) -> None:
    chunks = (b" " * 65_536 for _ in range(81))
    problem(live.gateway.post("/v1/events", content=chunks, headers=PLAIN), 413, "oversized")


def test_a_zip_bomb_is_refused(live: Live) -> None:
    zipped = {**PLAIN, "Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * (20 * 1024 * 1024 + 1))
    problem(post(live, bomb, zipped), 413, "oversized")


@pytest.mark.parametrize("cut", [1, 8, 40])
def test_a_broken_zip_is_a_problem(live: Live, cut: int) -> None:
    zipped = gzip.compress(json.dumps(live.event("nobody")).encode())
    headers = {**PLAIN, "Content-Encoding": "gzip"}
    problem(post(live, zipped[:-cut], headers), 400, "malformed")
    problem(post(live, zipped[:12] + b"\xff" * cut + zipped[12:], headers), 400, "malformed")


def test_one_event_is_a_mebibyte_at_most(live: Live) -> None:
    customer = granted(live)
    large = live.event(customer, responses=1, said="x" * (1 << 20))
    problem(post(live, large), 413, "oversized")
    answer = post(live, [large, live.event(customer)], BATCH)
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"][0]["code"] == "oversized"
