"""The query service's door for statements: a period of a customer, summed up from the entries."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Request, Response
from fastapi import Query as QueryParameter
from pydantic import AwareDatetime, BaseModel

from drawdown.events.base import NAME, Name, milliseconds
from drawdown.events.calendar import PeriodError, bounds_asked, zone_named
from drawdown.events.statements import Statement, StatementSums
from drawdown.ledger.statements import BY_DEFAULT, Period, statement_of, sums_of
from drawdown.query.answers import Customer, Where, json_of, where
from drawdown.query.entries import Entries
from drawdown.web.app import caller_of
from drawdown.web.openapi import problems
from drawdown.web.problems import ProblemError

ENTRIES_MAX: Final = 20_000
"""Of one customer: a second or two of work. Those with more have `drawdown statement`."""
BY_MAX: Final = 8

Month = Annotated[str | None, QueryParameter(description="A calendar month: 2026-10")]
Start = Annotated[AwareDatetime | None, QueryParameter(description="Included; with `end`")]
End = Annotated[AwareDatetime | None, QueryParameter(description="Not included; with `start`")]
Zone = Annotated[
    str, QueryParameter(min_length=1, max_length=64, description="By whose clock a month is one")
]
Reporting = Annotated[
    str,
    QueryParameter(pattern=NAME, max_length=128, description="As the price book's `reporting`"),
]
By = Annotated[
    list[Name] | None,
    QueryParameter(
        max_length=BY_MAX, description="Usage by `meter`, `rate` (both by default) or a dimension"
    ),
]


class StatementAnswer(BaseModel):
    position: Where
    statement: Statement
    sums: StatementSums


def add_statement_door(app: FastAPI, entries: Entries) -> None:
    """Add it."""

    @app.get(
        "/v1/customers/{customer:path}/statements",
        response_model=StatementAnswer,
        summary="A statement of a month, or of any period",
        responses=problems(404, 413),
    )
    def statements(
        request: Request,
        customer: Customer,
        month: Month = None,
        start: Start = None,
        end: End = None,
        zone: Zone = "UTC",
        reporting: Reporting = "USD",
        by: By = None,
    ) -> Response:
        """Opening balance + lines = closing balance, per asset; and revenue. `sums` are what the
        gateway takes to issue it. For customers of at most 20,000 entries."""
        caller_of(request, "read", customer)
        period = _period(month, start, end, zone)
        position = where(entries.position(customer))
        values = entries.oldest(customer, ENTRIES_MAX + 1)
        if not values:
            raise ProblemError(
                404, "unknown_customer", f"no entry of {customer!r} is known here (yet)"
            )
        if len(values) > ENTRIES_MAX:
            raise ProblemError(
                413,
                "too_many_entries",
                f"{customer!r} has more than {ENTRIES_MAX:,} entries: use `drawdown statement`",
            )
        grouped = tuple(by) if by else BY_DEFAULT
        made = statement_of(customer, lambda: values, period, reporting, grouped)
        content: dict[str, Any] = {"position": position, "statement": made, "sums": sums_of(made)}
        return json_of(content)


def _period(month: str | None, start: Any, end: Any, zone: str) -> Period:
    """The period that is meant. Raises ProblemError."""
    starts_ms, ends_ms = (None if at is None else milliseconds(at) for at in (start, end))
    try:
        return Period(*bounds_asked(month, starts_ms, ends_ms, zone), zone, zone_named(zone))
    except PeriodError as error:
        raise ProblemError(400, "invalid", error.said, field=error.field) from None
