"""The gateway's doors for what operators change in a wallet besides grants and terms: voids,
adjustments, reversals, conversions, states, statements; and a producer's cancellation of its own
event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel

from drawdown.events.base import PRINTABLE
from drawdown.events.codec import decode_any
from drawdown.events.commands import (
    Adjust,
    Convert,
    IssueStatement,
    Rerate,
    Reverse,
    SetState,
    Void,
)
from drawdown.gateway import doors
from drawdown.gateway.commands import command_in, decided, with_id
from drawdown.gateway.exchange import Gateway
from drawdown.web.app import body_of, caller_of
from drawdown.web.openapi import Schema, schemas_of
from drawdown.web.problems import ProblemError

Customer = Annotated[str, Path(min_length=1, max_length=128, pattern=PRINTABLE)]

VOID, ADJUSTMENT, REVERSAL, RERATING = "GrantVoid", "Adjustment", "Reversal", "Rerating"
CONVERSION, STATE, STATEMENT = "AssetConversion", "WalletState", "NewStatement"
MODELS: Final[Mapping[str, type[BaseModel]]] = {
    VOID: Void,
    ADJUSTMENT: Adjust,
    REVERSAL: Reverse,
    RERATING: Rerate,
    CONVERSION: Convert,
    STATE: SetState,
    STATEMENT: IssueStatement,
}

_DIGEST: Final = "9f2c6a1e0b7d4c5583e6f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6"
ENTRY_EXAMPLE: Final = {
    "specversion": "1.0",
    "id": "acme/7",
    "source": "drawdown",
    "type": "drawdown.entry.debit",
    "subject": "acme",
    "time": "2026-11-03T09:30:00.004Z",
    "datacontenttype": "application/json",
    "data": {
        "sequence": 7,
        "previous": _DIGEST,
        "cause": {"topic": "usage-events", "partition": 0, "offset": 41},
        "source": "chat",
        "id": "01JC9X2M7Q",
        "asset": "USD",
        "amount": "0.5",
        "before": "25",
        "after": "24.5",
        "allocations": [{"grant": "invoice-1041", "amount": "0.5", "revenue": "0.5"}],
        "revenue": "0.5",
    },
    "digest": _DIGEST,
}
VOID_EXAMPLE: Final = {"id": "void-1", "grant_id": "invoice-1041", "reason": "charged back"}
ADJUST_EXAMPLE: Final = {"id": "adjust-1", "asset": "USD", "amount": "-2.5", "reason": "May, late"}
REVERSE_EXAMPLE: Final = {"id": "undo-7", "entry": ENTRY_EXAMPLE, "reason": "the model failed"}
RERATE_EXAMPLE: Final = {
    "id": "june/7",
    "entry": ENTRY_EXAMPLE,
    "run": "june",
    "book": "2026-12",
    "reason": "the discount was missing",
}
CONVERT_EXAMPLE: Final = {"id": "swap-1", "asset": "USD", "amount": "5", "to": "credit"}
STATEMENT_EXAMPLE: Final = {
    "id": "2026-10",
    "statement": {
        "starts_at": "2026-10-01T00:00:00Z",
        "ends_at": "2026-11-01T00:00:00Z",
        "reporting": "USD",
        "first_sequence": 1,
        "last_sequence": 7,
        "closing_digest": _DIGEST,
        "assets": [
            {
                "asset": "USD",
                "opening": "0",
                "closing": "24.5",
                "movements": {"granted": "25", "debited": "-0.5"},
            }
        ],
        "revenue": {
            "paid_in": "25",
            "recognized": "0.5",
            "deferred_closing": "24.5",
            "margin": "0.5",
        },
    },
}
STATE_EXAMPLE: Final = {"state": "suspended", "reason": "unpaid"}


def done(command: str, id_: str, **more: Any) -> dict[str, Any]:
    """An example of a decision: the command was done."""
    return {
        "kind": "command",
        "id": id_,
        "customer": "acme",
        "command": command,
        "at": "2026-11-03T09:30:04Z",
        "allowed": True,
        "reason": "ok",
        "sequence": 8,
        "digest": _DIGEST,
        **more,
    }


def schemas() -> dict[str, Schema]:
    """The schemas of bodies, by name."""
    found = schemas_of(*MODELS.values())
    named = {
        name: doors.body_schema(found.pop(model.__name__), "customer")
        for name, model in MODELS.items()
    }
    return {**found, **named}


def add_wallet_doors(app: FastAPI, gateway: Gateway) -> None:
    """Add them."""
    app.state.schemas.update(schemas())

    async def act(
        request: Request, customer: str, kind: str, why: str | None, scope: str = "admin"
    ) -> Response:
        caller = caller_of(request, scope)
        content = with_id(command_in(await body_of(request), customer=customer), request, why)
        if scope == "ingest":
            _check_own(content)
        return await decided(gateway, request, kind, content, caller.id)

    @app.post(
        "/v1/customers/{customer:path}/voids",
        summary="End a grant",
        **doors.command_door(
            VOID,
            VOID_EXAMPLE,
            "Voided",
            done("void", "void-1", asset="USD", amount="19.5", balance="0"),
        ),
    )
    async def voids(request: Request, customer: Customer) -> Response:
        """What is left of it is gone. One that recurs does not come again; with `keep` what is left
        of this cycle stays. With `refund` what is taken was paid back, in part with `amount`."""
        return await act(request, customer, "void", None)

    @app.post(
        "/v1/customers/{customer:path}/adjustments",
        summary="Book by hand, with a reason",
        **doors.command_door(
            ADJUSTMENT,
            ADJUST_EXAMPLE,
            "Booked",
            done("adjust", "adjust-1", asset="USD", amount="2.5", balance="22"),
        ),
    )
    async def adjustments(request: Request, customer: Customer) -> Response:
        """Needs an id, in the body or as `Idempotency-Key`: the same again books nothing more."""
        return await act(request, customer, "adjust", "a repeated booking must not count twice")

    @app.post(
        "/v1/customers/{customer:path}/reversals",
        summary="Reverse an entry",
        **doors.command_door(
            REVERSAL,
            REVERSE_EXAMPLE,
            "Reversed",
            done("reverse", "undo-7", asset="USD", amount="0.5", balance="25"),
        ),
    )
    async def reversals(request: Request, customer: Customer) -> Response:
        """The entry whole, as the query service gives it. It is reversed once: the same again is
        refused, or with its id answered as the first time. Of a grant: what was used of it is taken
        back too, as when a top-up is disputed; the reversal is reversed when the dispute is won."""
        return await act(request, customer, "reverse", None)

    @app.post(
        "/v1/customers/{customer:path}/reratings",
        summary="Price a use anew",
        **doors.command_door(
            RERATING,
            RERATE_EXAMPLE,
            "Priced anew",
            done("rerate", "june/7", asset="USD", amount="0.4", balance="24.6"),
            more="; `unchanged` where the price is the same",
        ),
    )
    async def reratings(request: Request, customer: Customer) -> Response:
        """By another version of the price book: what was charged is reversed, and the new price
        debited. The entry whole, as the query service gives it; usage that had no price gets
        one."""
        return await act(request, customer, "rerate", None)

    @app.post(
        "/v1/customers/{customer:path}/cancellations",
        summary="Cancel a usage event",
        **doors.command_door(
            REVERSAL,
            REVERSE_EXAMPLE,
            "Cancelled",
            done("reverse", "undo-7", asset="USD", amount="0.5", balance="25"),
        ),
    )
    async def cancellations(request: Request, customer: Customer) -> Response:
        """As a reversal, for who reported the usage: the key needs no more than `ingest`, and the
        entry must be of a usage event."""
        return await act(request, customer, "reverse", None, "ingest")

    @app.post(
        "/v1/customers/{customer:path}/conversions",
        summary="Turn one asset into another",
        **doors.command_door(
            CONVERSION,
            CONVERT_EXAMPLE,
            "Converted",
            done("convert", "swap-1", asset="credit", amount="500", balance="500"),
        ),
    )
    async def conversions(request: Request, customer: Customer) -> Response:
        """At the rate of the price book in effect. Needs an id, in the body or as
        `Idempotency-Key`: the same again converts nothing more."""
        return await act(request, customer, "convert", "a repeated conversion must not count twice")

    @app.put(
        "/v1/customers/{customer:path}/state",
        summary="Suspend, activate or close a wallet",
        **doors.command_door(STATE, STATE_EXAMPLE, "Set", done("set_state", "state-1")),
    )
    async def state(request: Request, customer: Customer) -> Response:
        """Suspended, nothing is authorized; closed, it stays so. What is used is booked all the
        same, and the wallet is kept."""
        return await act(request, customer, "set_state", None)

    @app.post(
        "/v1/customers/{customer:path}/statements",
        summary="Issue a statement",
        **doors.command_door(
            STATEMENT, STATEMENT_EXAMPLE, "Issued", done("issue_statement", "2026-10", statement=1)
        ),
    )
    async def statements(request: Request, customer: Customer) -> Response:
        """Of a period that is over, with the `sums` as the query service or `drawdown statement`
        gives them. From then on it does not change; the next one begins where it ends."""
        return await act(request, customer, "issue_statement", None)


def _check_own(content: dict[str, Any]) -> None:
    """Only usage is its producer's to cancel. Raises ProblemError."""
    entry = decode_any(bytes(content.get("entry", b"null")))
    data = entry.get("data") if isinstance(entry, dict) else None
    if not isinstance(data, dict) or not data.get("source") or not data.get("usage"):
        raise ProblemError(
            400, "invalid", "give the entry of a usage event, whole", field="entry.data.source"
        )
