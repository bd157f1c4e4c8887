"""What is asked of the gateway, as bytes; a retry repeats them unchanged.

Ids are derived from the caller's: `run-4711` is authorized and held under that very id, captured as
`run-4711/capture`, released as `run-4711/release`. Whoever asks again, also after a crash, asks for
the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, get_args
from urllib.parse import quote

from drawdown.events.base import timestamp_text
from drawdown.events.codec import encode
from drawdown.events.numbers import plain_text

EVENTS: Final = "/v1/events"
SOURCE: Final = "drawdown.client"
"""Of usage events that do not name theirs."""

Require = Literal["hold", "check", "advisory"]
REQUIRES: Final[tuple[str, ...]] = get_args(Require)
Number = int | Decimal | str
Quantities = Mapping[str, Number]


@dataclass(frozen=True, slots=True)
class Amount:
    """So much of an asset."""

    amount: Number
    asset: str = "USD"


@dataclass(frozen=True, slots=True)
class Question:
    """One request."""

    method: str
    path: str
    body: bytes | None = None


def number(value: Number) -> int | str:
    """A quantity as it is sent. Raises TypeError for a float: it is not what it looks like."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise TypeError(f"{value!r}: give an int, a Decimal or decimal text")
    return plain_text(value) if isinstance(value, Decimal) else value


def quantities(values: Quantities) -> dict[str, int | str]:
    return {name: number(value) for name, value in values.items()}


def authorize(
    customer: str,
    meter: str,
    *,
    id: str,
    dimensions: Mapping[str, str],
    estimate: Quantities | Amount | None,
    **terms: Any,
) -> Question:
    """May this run? `terms` are fields of the command as they are."""
    content: dict[str, Any] = {"id": id, "customer": customer, "meter": meter, **terms}
    if dimensions:
        content["dimensions"] = dict(dimensions)
    if isinstance(estimate, Amount):
        amount = str(number(estimate.amount))
        content["estimate"] = {"amount": amount, "asset": estimate.asset}
    elif estimate is not None:
        content["estimate"] = {"quantities": quantities(estimate)}
    return Question("POST", "/v1/authorizations", encode(content))


def about_hold(what: str, hold: str, customer: str, **content: Any) -> Question:
    """Capture, release or extend a hold."""
    path = f"/v1/holds/{in_path(hold)}/{what}"
    return Question("POST", path, encode({"customer": customer, **content}))


def events(given: Sequence[Mapping[str, Any]], *, wait: bool) -> Question:
    """Usage events, as plain JSON."""
    made = [{"source": SOURCE, **event, "data": _data(event.get("data", {}))} for event in given]
    path = f"{EVENTS}?wait=decided" if wait else EVENTS
    return Question("POST", path, encode(made))


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in data.items():
        if isinstance(value, float):
            raise TypeError(f"data.{name}: {value!r}: give an int, a Decimal or decimal text")
    return {
        name: plain_text(value) if isinstance(value, Decimal) else value
        for name, value in data.items()
    }


def grant(customer: str, amount: Amount, *, id: str, **terms: Any) -> Question:
    """Put value into a wallet; `terms` are fields of the command as they are."""
    content = {"id": id, "asset": amount.asset, "amount": str(number(amount.amount))}
    for name, value in terms.items():
        content[name] = timestamp_text(value) if isinstance(value, datetime) else value
    return Question("POST", f"/v1/customers/{in_path(customer)}/grants", encode(content))


def auto_topup(customer: str, asset: str, *, id: str, **terms: Any) -> Question:
    """Set or remove an auto top-up; `terms` are fields of the command as they are."""
    path = f"/v1/customers/{in_path(customer)}/auto-topups/{in_path(asset)}"
    return Question("PUT", path, encode({"id": id, **terms}))


def settle_topup(customer: str, request: str, outcome: str, *, id: str, **said: Any) -> Question:
    """Say how a requested top-up was paid; `said` are fields of the command as they are."""
    path = f"/v1/customers/{in_path(customer)}/topups/{in_path(request)}/settlement"
    return Question("POST", path, encode({"id": id, "outcome": outcome, **said}))


def set_budget(customer: str, budget_id: str, *, cap: Number, id: str, **terms: Any) -> Question:
    """Set a budget; `terms` are its other fields as they are."""
    body = encode({"id": id, "budget": {**terms, "cap": str(number(cap))}})
    return Question("PUT", f"{_of(customer)}/budgets/{in_path(budget_id)}", body)


def remove_budget(customer: str, budget_id: str, *, id: str, reason: str | None) -> Question:
    path = f"{_of(customer)}/budgets/{in_path(budget_id)}/remove"
    return Question("POST", path, encode(_stated(id=id, reason=reason)))


def block(
    customer: str, scope: Mapping[str, str], *, id: str, reason: str, until_at: datetime | None
) -> Question:
    """Block a scope."""
    until = None if until_at is None else timestamp_text(until_at)
    content = _stated(id=id, scope=dict(scope), reason=reason, until_at=until)
    return Question("POST", f"{_of(customer)}/blocks", encode(content))


def unblock(customer: str, scope: Mapping[str, str], *, id: str, reason: str | None) -> Question:
    content = _stated(id=id, scope=dict(scope), reason=reason)
    return Question("POST", f"{_of(customer)}/unblocks", encode(content))


def _of(customer: str) -> str:
    return f"/v1/customers/{in_path(customer)}"


def _stated(**fields: Any) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in fields.items() if value is not None}


def wallet(customer: str) -> Question:
    return Question("GET", f"/v1/customers/{in_path(customer)}/wallet")


def in_path(text: str) -> str:
    """An id as a part of a path. Dots too: `..` would be taken for a step up."""
    return quote(text, safe="").replace(".", "%2E")
