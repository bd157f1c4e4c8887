"""What each service says of its doors in `/openapi.json`, held against the doors themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from drawdown.events.catalogue import Environment
from drawdown.events.codec import decode_command, decode_decision, encode
from drawdown.gateway.app import create_app as gateway_app
from drawdown.gateway.intake import read_events
from drawdown.query.app import create_app as query_app
from drawdown.stream.memory import MemoryCluster

Document = dict[str, Any]
ENVIRONMENT = Environment("test")


def document_of(service: str) -> Document:
    cluster = MemoryCluster(lambda: 0, lambda _: None).process("web")
    if service == "gateway":
        return gateway_app(cluster, ENVIRONMENT, "0").openapi()
    return query_app(cluster, ENVIRONMENT, Path("unused")).openapi()


@pytest.fixture(params=["gateway", "query"])
def document(request: pytest.FixtureRequest) -> Document:
    return document_of(request.param)


@pytest.fixture
def gateway() -> Document:
    return document_of("gateway")


def doors(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for method, door in methods.items():
            yield f"{method} {path}", door


def nested(part: Any) -> Iterator[Document]:
    if isinstance(part, dict):
        yield part
        for item in part.values():
            yield from nested(item)
    elif isinstance(part, list):
        for item in part:
            yield from nested(item)


def assert_valid(document: Document, schema: Document, value: Any) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def test_it_is_json_and_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    json.dumps(document)


def test_every_reference_leads_somewhere(document: Document) -> None:
    schemas = document["components"]["schemas"]
    references = {part["$ref"] for part in nested(document) if "$ref" in part}
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas
    assert not [part for part in nested(document) if "$defs" in part]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_door_needs_a_key(document: Document) -> None:
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_error_is_a_problem(document: Document) -> None:
    for name, door in doors(document):
        statuses = door["responses"]
        assert {"400", "401", "403"} <= statuses.keys(), name
        for status, answer in statuses.items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
                assert answer["description"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_door_says_what_it_is_for_and_what_it_answers(document: Document) -> None:
    for name, door in doors(document):
        assert door["summary"], name
        assert door.get("description") or name.startswith("get"), name
        success = next(status for status in door["responses"] if status < "300")
        answer = door["responses"][success]
        assert success == "204" or answer["content"], name


def test_every_example_is_valid(document: Document) -> None:
    found = 0
    for part in nested(document["paths"]):
        if "schema" not in part:
            continue
        examples = [each["value"] for each in part.get("examples", {}).values()]
        for example in [part["example"]] if "example" in part else examples:
            assert_valid(document, part["schema"], example)
            found += 1
    assert found >= 2


def test_the_events_in_the_examples_are_taken(gateway: Document) -> None:
    content = gateway["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    assert list(content) == [
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/json",
    ]
    examples = [(media, said["example"]) for media, said in content.items() if "example" in said]
    plain = content["application/json"]["examples"]
    examples += [("application/json", plain[name]["value"]) for name in ("one", "several")]
    for media, example in examples:
        taken, refused = read_events(media, {}, encode(example), datetime.now(UTC))
        assert (len(taken), refused) == (1, [])


SUBSCRIPTION = "/v1/customers/{customer}/subscriptions/{subscription}"


@pytest.mark.parametrize(
    ("path", "method", "kind", "answer"),
    [
        ("/v1/authorizations", "post", "authorize", "200"),
        ("/v1/authorizations", "post", "authorize", "201"),
        ("/v1/holds/{hold}/capture", "post", "capture", "200"),
        ("/v1/holds/{hold}/release", "post", "release", "200"),
        ("/v1/holds/{hold}/extend", "post", "extend", "200"),
        ("/v1/customers/{customer}/grants", "post", "grant", "201"),
        ("/v1/customers/{customer}/terms", "put", "set_terms", "200"),
        ("/v1/customers/{customer}/voids", "post", "void", "200"),
        ("/v1/customers/{customer}/adjustments", "post", "adjust", "200"),
        ("/v1/customers/{customer}/reversals", "post", "reverse", "200"),
        ("/v1/customers/{customer}/reratings", "post", "rerate", "200"),
        ("/v1/customers/{customer}/cancellations", "post", "reverse", "200"),
        ("/v1/customers/{customer}/conversions", "post", "convert", "200"),
        ("/v1/customers/{customer}/state", "put", "set_state", "200"),
        ("/v1/customers/{customer}/statements", "post", "issue_statement", "200"),
        ("/v1/customers/{customer}/subscriptions", "post", "subscribe", "201"),
        (f"{SUBSCRIPTION}/change", "post", "change_subscription", "200"),
        (f"{SUBSCRIPTION}/cancel", "post", "cancel_subscription", "200"),
        (f"{SUBSCRIPTION}/resume", "post", "resume_subscription", "200"),
        ("/v1/customers/{customer}/auto-topups/{asset}", "put", "set_auto_topup", "200"),
        ("/v1/customers/{customer}/topups/{topup}/settlement", "post", "settle_topup", "200"),
    ],
)
def test_the_commands_in_the_examples_are_commands(
    gateway: Document, path: str, method: str, kind: str, answer: str
) -> None:
    door = gateway["paths"][path][method]
    body = door["requestBody"]["content"]["application/json"]["example"]
    filled_in = {"id": "1", "customer": "acme", "time": "2026-11-03T09:30:00Z"}
    if "{hold}" in path:
        filled_in["hold_id"] = "run-4711"
    if "{subscription}" in path:
        filled_in["subscription_id"] = "main"
    if "{asset}" in path:
        filled_in["asset"] = "USD"
    if "{topup}" in path:
        filled_in["request_id"] = "topup-USD-41"
    decode_command(encode({**filled_in, **body, "type": kind}))
    content = door["responses"][answer]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Decision"}
    answers = [each["value"] for each in content.get("examples", {}).values()]
    for example in [*answers, *([content["example"]] if "example" in content else [])]:
        decode_decision(encode(example))
    names = {parameter["name"] for parameter in door["parameters"]}
    assert {"Idempotency-Key", "Request-Timeout"} <= names


def test_what_the_door_fills_in_is_not_asked_for(gateway: Document) -> None:
    schemas = gateway["components"]["schemas"]
    assert "customer" in schemas["Authorization"]["required"]
    assert schemas["NewGrant"]["required"] == ["asset", "amount"]
    for name in ("Terms", "HoldCapture", "HoldRelease", "HoldExtension"):
        assert "required" not in schemas[name]
        assert "hold_id" not in schemas[name]["properties"]
    for name in ("Authorization", "NewGrant", "Terms", "UsageEvent", "PlainUsageEvent"):
        assert "timesource" not in schemas[name]["properties"]
