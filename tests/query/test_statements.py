"""Statements over HTTP: read from the query service, issued by the gateway."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.query.test_doors import assert_stands, get, problem
from tests.web.live import Live, quoted

from drawdown.events.base import timestamp_text

pytestmark = pytest.mark.kafka


def period() -> dict[str, str]:
    """From yesterday to now."""
    now = datetime.now(UTC)
    return {"start": timestamp_text(now - timedelta(days=1)), "end": timestamp_text(now)}


def test_a_statement_is_read_and_issued_once(live: Live) -> None:
    customer = live.customer("states/north")
    live.grant(customer, "credit", "480")
    live.use(customer)
    asked = period()
    answer = get(live, customer, "statements", **asked)
    assert_stands(answer["position"])
    (credit,) = answer["statement"]["assets"]
    assert (credit["closing"]["balance"], credit["charged"]) == ("468", "12")
    assert [line["kind"] for line in credit["lines"]] == ["granted", "debited"]
    door = f"/v1/customers/{quoted(customer)}/statements"
    issued = live.gateway.post(door, json={"id": "first", "statement": answer["sums"]})
    assert issued.status_code == 200, issued.text
    assert issued.json()["statement"] == 1
    again = live.gateway.post(door, json={"id": "first", "statement": answer["sums"]})
    assert again.json()["duplicate"] is True
    other = live.gateway.post(door, json={"id": "second", "statement": answer["sums"]})
    assert problem(other, 409, "already_issued")["field"] == "statement.starts_at"
    live.use(customer)
    assert get(live, customer, "statements", **asked)["statement"]["number"] == 1


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "month"),
        ({"month": "2026-1"}, "month"),
        ({"month": "2026-10", "zone": "Mars"}, "zone"),
        ({"start": "2026-10-01T00:00:00Z"}, "month"),
        ({"start": "2026-10-01T00:00:00Z", "end": "2026-09-01T00:00:00Z"}, "end"),
    ],
)
def test_a_period_that_cannot_be(live: Live, params: dict[str, Any], field: str) -> None:
    answer = live.query.get("/v1/customers/anybody/statements", params=params)
    assert problem(answer, 400, "invalid")["field"] == field


def test_nobody_has_no_statement(live: Live) -> None:
    answer = live.query.get("/v1/customers/nobody-at-all/statements", params=period())
    problem(answer, 404, "unknown_customer")
