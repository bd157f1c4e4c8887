"""Sessions: a key or customer token, exchanged once for a cookie, so that a page can ask again.

The cookie holds the very token, so that any query process knows it, and a token that expires or is
revoked ends its sessions everywhere and at once. No script can read it; it goes over HTTPS only
where the page came over HTTPS; it is sent to the pages and to the customer doors alone, for 12 h at
most, and never with a request that another site caused.

Nothing is done in anybody's name by a cookie, so there is nothing to forge:

- It is good for GET at the query service only (`web.app.caller_of`). Those doors change nothing,
  and what they answer cannot be read, embedded or framed by another origin.
- The gateway, where money moves, takes keys in the `Authorization` header and knows no cookies.
- Signing in and out need no cookie and change nothing but the cookie. They are refused where the
  browser says that another origin asked (`Sec-Fetch-Site`, else `Origin`), so that nobody is signed
  in to a wallet of somebody else's choice by a hidden form. A link can still do that, openly.

A token is never part of a URL that is sent: links carry it in the fragment, which stays in the
browser, and `session.js` removes it from the address bar before anything else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from fastapi import Request
from starlette.responses import Response

from drawdown.access import Caller, Settings
from drawdown.web.problems import ProblemError

COOKIE: Final = "drawdown_session"
PATHS: Final = ("/wallets", "/v1/customers")
"""Where the cookie is sent; one cookie each, because a cookie has one path."""
LIFE_S: Final = 12 * 3600
TOKEN_CHARACTERS_MAX: Final = 256
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"


class Credentials(msgspec.Struct):
    """What is sent to sign in: JSON by the script, a form without one."""

    token: str
    next: str = "/wallets"
    """The page to go on to."""


_decode = msgspec.json.Decoder(Credentials).decode


def credentials_of(content_type: str, body: bytes) -> Credentials:
    """The token in a body. Raises ProblemError 400, 415; what it says never repeats the body."""
    media = content_type.partition(";")[0].strip().lower()
    if media == JSON:
        try:
            return _decode(body)
        except ValueError:
            raise ProblemError(400, "malformed", 'expected {"token": "..."}') from None
    if media == FORM:
        try:
            fields = parse_qs(body.decode(), max_num_fields=8)
        except ValueError:
            raise ProblemError(400, "malformed", "expected a form with a token") from None
        return Credentials(
            fields.get("token", [""])[0].strip(), fields.get("next", ["/wallets"])[0]
        )
    raise ProblemError(415, "unsupported_media_type", f"send {JSON} or a form")


def caller_with(token: str, settings: Settings) -> Caller:
    """Whose token this is. Raises ProblemError 401, or 403 for a key that may not read."""
    caller = None
    if len(token) <= TOKEN_CHARACTERS_MAX:
        caller = settings.caller(token, datetime.now(UTC))
    if caller is None:
        raise ProblemError(
            401, "unauthenticated", "This key or token is unknown, expired or revoked."
        )
    if not caller.may("read", caller.customer):
        raise ProblemError(403, "forbidden", "This key may not read balances.")
    return caller


def caller_of_cookie(request: Request, settings: Settings) -> Caller | None:
    """Whose session this is, whatever they may."""
    token = request.cookies.get(COOKIE)
    return settings.caller(token, datetime.now(UTC)) if token else None


def refuse_other_origins(request: Request) -> None:
    """Raises ProblemError 403 where a page of another origin caused the request."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        elsewhere = site != "same-origin"
    else:  # over plain HTTP browsers say no more than the origin; other clients say nothing
        elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere:
        raise ProblemError(403, "forbidden", "Sign in and out from this site's own pages.")


def begin(response: Response, request: Request, token: str) -> None:
    """Set the cookie. The browser's own word counts for HTTPS, where a proxy's is not passed on."""
    origin = request.headers.get("origin", "")
    secure = request.url.scheme == "https" or origin.startswith("https:")
    for path in PATHS:
        response.set_cookie(
            COOKIE, token, LIFE_S, path=path, secure=secure, httponly=True, samesite="strict"
        )


def end(response: Response) -> None:
    """Remove the cookie from the browser."""
    for path in PATHS:
        response.delete_cookie(COOKIE, path, httponly=True, samesite="strict")


def page_after(path: str) -> str:
    """The page to go on to: one of ours, or the overview."""
    parts = urlsplit(path)
    ours = path == "/wallets" or path.startswith("/wallets/")
    if not ours or parts.netloc or parts.scheme or not path.isascii() or not path.isprintable():
        return "/wallets"
    return parts.path
