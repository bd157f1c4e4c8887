"""What both clients share: how httpx is set up, what a run is made of, what answers hold."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from drawdown.client import questions
from drawdown.client.advice import Balances, advise
from drawdown.client.questions import Amount, Quantities, Question, Require
from drawdown.client.reports import report_in
from drawdown.client.story import Story
from drawdown.events.codec import decode_decision, decode_wallet
from drawdown.events.decisions import Decision
from drawdown.events.rows import WalletRow

TIMEOUT_S: Final = 5.0
PATIENCE_S: Final = 15.0
CONNECTIONS: Final = 100
CONNECT_S: Final = 3.0
SPARE_S: Final = 2.0
"""An answer may come that much later than the gateway was told to wait."""
JSON: Final = {"Content-Type": "application/json"}
KEEP_S: Final = 30.0
"""Connections are kept so long; the gateway keeps them longer."""


class _WalletIn(msgspec.Struct):
    wallet: msgspec.Raw


_decode_wallet_in = msgspec.json.Decoder(_WalletIn).decode


def wallet_in(body: bytes) -> WalletRow:
    """The wallet that an answer holds."""
    return decode_wallet(bytes(_decode_wallet_in(body).wallet))


def options(
    key: str, url: str, timeout_s: float, connections: int, transport: Any
) -> dict[str, Any]:
    """How httpx is set up, for both clients."""
    # Reading the certificates there are takes 0.1 s, which plain HTTP has no use for.
    plain = url.startswith("http://")
    return {
        "headers": {"Authorization": f"Bearer {key}", "Request-Timeout": f"{timeout_s:g}"},
        "timeout": httpx.Timeout(timeout_s + SPARE_S, connect=CONNECT_S),
        "limits": httpx.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=KEEP_S,
        ),
        "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        "transport": transport,
    }


def story_of(
    customer: str,
    meter: str,
    dimensions: Mapping[str, str] | None,
    estimate: Quantities | Amount | None,
    *,
    require: Require,
    id: str | None,
    expires_in_s: int | None,
    max_usage_lag_ms: int | None,
) -> Story:
    """The story of a new run."""
    terms: dict[str, Any] = {}
    if expires_in_s is not None:
        terms["hold"] = {"expires_in_s": expires_in_s}
    if max_usage_lag_ms is not None:
        terms["max_usage_lag_ms"] = max_usage_lag_ms
    return Story(
        customer,
        meter,
        dimensions or {},
        estimate,
        require=require,
        id=named(id),
        terms=terms,
    )


def named(id: str | None) -> str:
    """The id that was given, or a new one."""
    return str(uuid.uuid4()) if id is None else id


def advice_of(replica: Balances | None, story: Story) -> Decision:
    """What the replica says of a run. Raises UnavailableError, and ValueError where none is."""
    if replica is None:
        raise ValueError("give the client a replica: require: advisory asks it and not the gateway")
    return advise(replica, story.customer, story.meter, story.dimensions, story.worth, story.id)


def decision_in(question: Question, body: bytes) -> Decision | None:
    """The decision in an answer: of usage that was reported it is in the report."""
    if question.path.startswith(questions.EVENTS):
        return report_in(body).outcomes[0].decision
    return decode_decision(body)
