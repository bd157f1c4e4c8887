"""Every HTTP door that `/openapi.json` tells of, asked what its schema allows and what it does not.

Whatever is asked, the answer is one the document has: its status, its media type, its body. An
error is a problem, and of faults there is none but a 503 that says when to come again. Everything
is real: Kafka, settlement, the services, over HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fuzz.bounds import fuzzed
from tests.fuzz.poison import corpus
from tests.support.brokers import FEW_CORES
from tests.web.live import LIMIT_S, Live, bearer, live
from tests.web.test_openapi import document_of, doors

from drawdown.broker.local import LocalKafka

pytestmark = pytest.mark.kafka

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "/v1/customers/{customer}/stream"
"""Server-sent events: `tests/query/test_stream.py` has them."""
DOCUMENTS = {service: document_of(service) for service in ("gateway", "query")}
DOORS = [
    (service, *name.split(" ", 1))
    for service, document in DOCUMENTS.items()
    for name, _ in doors(document)
    if not name.endswith(ENDLESS)
]


def filled(path: str) -> str:
    """A door's path with an id for each that it takes: ada's, and things of hers."""
    return re.sub(r"\{\w+\}", "x", path.replace("{customer}", "ada"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Services of our own: what is made here is for nobody else to find among theirs."""
    with (
        LocalKafka(tmp_path_factory.mktemp("kafka"), jvm_args=FEW_CORES) as broker,
        live(broker, tmp_path_factory.mktemp("live"), "fuzz") as everything,
    ):
        everything.grant("ada", "USD", "1000000")
        yield everything


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("service", "method", "path"), DOORS)
@fuzzed(6, shrink=False)
@given(st.data())
def test_a_door_answers_as_it_says(
    house: Live, service: str, method: str, path: str, mode: GenerationMode, data: Any
) -> None:
    operation = schemathesis.openapi.from_dict(DOCUMENTS[service])[path][method]
    case = data.draw(operation.as_strategy(mode))
    address = house.gateways[0] if service == "gateway" else house.address
    answer = case.call(base_url=address, headers=bearer(house.key("admin")), timeout=LIMIT_S)
    if answer.status_code >= 500:
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"], answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == ["application/problem+json"]
        said = json.loads(answer.text)
        assert said["status"] == answer.status_code
        assert said["code"]
        assert said["detail"]
    case.validate_response(answer, checks=CHECKS)


KEYS = (None, b"Basic x", b"Bearer", b"Bearer drw_sk_", b"Bearer drw_sk_x_y", b"Bearer \xff")


@pytest.mark.parametrize(("service", "method", "path"), DOORS)
def test_no_door_opens_without_a_key(house: Live, service: str, method: str, path: str) -> None:
    address = house.gateways[0] if service == "gateway" else house.address
    for key in (*KEYS, b"Bearer " + b"x" * 4000):
        answer = house.anyone.request(
            method,
            address + filled(path),
            headers=[] if key is None else [(b"Authorization", key)],
            content=b"{",
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), key


MEDIA = ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json")


@pytest.mark.parametrize("media", MEDIA)
def test_poison_over_http_is_a_problem_or_an_event(house: Live, media: str) -> None:
    """The gateway refuses what it can tell; what only the books can tell becomes a dead letter."""
    for name, value in corpus().items():
        for door in ("/v1/events", "/api/v1/events"):
            answer = house.gateway.post(door, content=value, headers={"Content-Type": media})
            assert answer.status_code in (202, 204, 400, 413), (name, answer.text)
            assert answer.status_code < 400 or answer.json()["detail"], name
    house.use("ada", "llm.request", model="gpt-5", input=1)


BODY_DOORS = [(service, method, path) for service, method, path in DOORS if method != "get"]


@pytest.mark.parametrize(("service", "method", "path"), BODY_DOORS)
def test_poison_as_any_body_is_a_problem(house: Live, service: str, method: str, path: str) -> None:
    for name, value in corpus().items():
        answer = house.gateway.request(
            method,
            filled(path),
            content=value,
            headers={"Content-Type": "application/json", "Idempotency-Key": name},
        )
        assert answer.status_code < 500, (name, answer.text)


HEADERS = st.dictionaries(
    st.sampled_from(
        ["ce-id", "ce-type", "ce-subject", "ce-source", "ce-time", "ce-specversion", "content-type",
         "content-encoding", "idempotency-key", "request-timeout", "x-request-id", "traceparent"]
    ),
    st.binary(max_size=20).map(lambda text: text.translate(None, b"\r\n\x00"))
    | st.sampled_from(
        [b"1.0", b"%FF", b'"a\\"b"', b"%00", b"application/json", b"gzip", b"nan", b"1e400", b"-1",
         b"application/cloudevents+json; charset=utf-16", b"2027-01-15T08:00:00Z"]
    ),
)  # fmt: skip


@fuzzed(60)
@given(HEADERS, st.binary(max_size=30) | st.just(b'{"input":1}'))
def test_any_headers_are_survived(house: Live, headers: dict[str, bytes], body: bytes) -> None:
    try:
        answer = house.gateway.post("/v1/events", headers=headers, content=body)  # type: ignore[arg-type]
    except (httpx.LocalProtocolError, httpx.RemoteProtocolError):
        return  # no HTTP at all
    assert answer.status_code in (200, 202, 400, 413, 415, 422), answer.text


@pytest.mark.parametrize("customer", ["..%2f", "%00", "%ff", "a%1fb", "%F0", "%2F", "x" * 999])
def test_any_customer_in_a_path_is_survived(house: Live, customer: str) -> None:
    for door in ("wallet", "entries", "holds", "grants", "balance"):
        answer = house.query.get(f"/v1/customers/{customer}/{door}")
        assert answer.status_code in (200, 400, 404)
