"""What `/openapi.json` says: FastAPI's own document, made true of these doors.

Bodies are read by our decoders, not by FastAPI, so a door names the schema of its body here; every
error is a problem; and a key goes in the `Authorization` header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from drawdown.web.problems import PROBLEM_TYPE, TITLES, Problem

Schema = dict[str, Any]

COMPONENTS: Final = "#/components/schemas/"
EXPLAINED: Final[Mapping[int, str]] = {
    400: "The request is wrong: `code`, `field` and `detail` say what to change",
    401: "No key, or one that is unknown, revoked or expired",
    403: "The key lacks the permission, or the token is another customer's",
    404: "Unknown here, or not known yet",
    409: "It cannot be done as things stand",
    413: "Too large: the body, one event, or too many of them",
    415: "A media type or content encoding that this door does not take",
    422: "The same id was used before with other content",
    429: "Too much is in hand or waits for Kafka; send it again after `Retry-After` seconds",
    503: "It could not be done in time; send it again, with the same id, after `Retry-After`"
    " seconds",
}


def problems(*statuses: int) -> dict[int | str, Schema]:
    """The `responses` of a door that may answer with these problems."""
    return {
        status: {
            "description": EXPLAINED[status],
            "content": {PROBLEM_TYPE: {"schema": reference(Problem.__name__)}},
        }
        for status in statuses
    }


def answered(description: str, example: Any) -> Schema:
    """A response with an example; its schema is that of the door's `response_model`."""
    return {"description": description, "content": {"application/json": {"example": example}}}


def answered_one_of(description: str, **examples: Any) -> Schema:
    """A response with several examples, by name."""
    named = {name: {"value": example} for name, example in examples.items()}
    return {"description": description, "content": {"application/json": {"examples": named}}}


def reference(name: str) -> Schema:
    return {"$ref": COMPONENTS + name}


def header(name: str, description: str, example: str) -> Schema:
    """An optional header."""
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def describe(app: FastAPI) -> None:
    """Have the app tell its own `/openapi.json`. Schemas that doors refer to are in
    `state.schemas`, by name."""
    app.state.schemas = schemas_of(Problem)

    def document() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def schemas_of(*models: type[BaseModel]) -> dict[str, Schema]:
    """The schemas of models and of all they refer to, by name."""
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template=COMPONENTS + "{model}"
    )
    found: dict[str, Schema] = schemas["$defs"]
    return found


def _document(app: FastAPI) -> Schema:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    # A record that is asked for and answered has one schema, and FastAPI's is of the answer.
    components["schemas"] = dict(sorted({**app.state.schemas, **schemas}.items()))
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, `drw_sk_…`, or where one customer is read a customer"
            " token, `drw_ct_…`",
        }
    }
    document["security"] = [{"key": []}]
    for doors in document["paths"].values():
        for door in doors.values():
            _mend(door)
    return document


def _mend(door: Schema) -> None:
    responses: Schema = door["responses"]
    unasked = responses.get("422", {})
    if "HTTPValidationError" in str(unasked):
        # FastAPI's own answer to a parameter it refuses: here that is a problem, and 400.
        del responses["422"]
    for status, response in responses.items():
        if status in map(str, TITLES):
            # FastAPI adds the media type of success to every response it has a model for.
            response["content"].pop("application/json", None)
    for always, problem in problems(400, 401, 403).items():
        responses.setdefault(str(always), problem)
    door["responses"] = dict(sorted(responses.items()))
