"""The adapter for a provider over HTTP: one door that charges, one that tells.

    POST {url}/charges        Idempotency-Key: KEY, {"customer", "asset", "amount"}
    GET  {url}/charges/KEY

Both answer `{"id": ..., "status": "succeeded" | "failed" | "pending", "detail": ...}`. A provider
whose doors are others has a few lines of its own between, or another adapter. `sandbox` is a
provider that does this.
"""

from __future__ import annotations

import json
from typing import Any, Final

import httpx

from drawdown.notify.payments import Charge, Failed, Nothing, Outcome, Paid, Unknown

TIMEOUT_S: Final = 10.0
NOT_FOUND: Final = 404
ANSWERED: Final = frozenset({200, 201, 202, 402})
"""Statuses whose body says how it went; 402 is a card that was declined."""
TEXT_MAX: Final = 256


class HttpPayments:
    """See `payments.Payments`. The secret goes to the provider, and into no message."""

    def __init__(self, url: str, secret: str | None, timeout_s: float = TIMEOUT_S) -> None:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)

    def charge(self, charge: Charge) -> Outcome:
        content = {"customer": charge.customer, "asset": charge.asset, "amount": charge.amount}
        answer = self._ask("POST", "/charges", content, {"Idempotency-Key": charge.key})
        return answer if isinstance(answer, Unknown) else _outcome(answer)

    def find(self, charge: Charge) -> Outcome | Nothing:
        answer = self._ask("GET", f"/charges/{charge.key}", None, {})
        if isinstance(answer, Unknown):
            return answer
        return Nothing() if answer.status_code == NOT_FOUND else _outcome(answer)

    def close(self) -> None:
        self._client.close()

    def _ask(
        self, method: str, path: str, content: dict[str, str] | None, headers: dict[str, str]
    ) -> httpx.Response | Unknown:
        try:
            return self._client.request(method, path, json=content, headers=headers)
        except httpx.HTTPError as error:
            return Unknown(f"no answer: {type(error).__name__}")


def _outcome(answer: httpx.Response) -> Outcome:
    if answer.status_code not in ANSWERED:
        return Unknown(f"answered {answer.status_code}")
    try:
        said: Any = json.loads(answer.content)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Unknown("answered no JSON object")
    reference, detail = _text(said.get("id")), _text(said.get("detail"))
    match said.get("status"):
        case "succeeded":
            return Paid(reference)
        case "failed":
            return Failed(reference, detail)
        case other:
            return Unknown(f"its status is {str(other)[:TEXT_MAX]!r}")


def _text(value: object) -> str | None:
    """Text of a provider, as an entry may have it."""
    return value[:TEXT_MAX] if isinstance(value, str) and value else None
