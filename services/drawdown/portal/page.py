"""The pages for people: a wallet that updates live, and the overview of all wallets.

They are part of the query service until the portal has a process of its own. A page is rendered
here, whole, from the same replica as the JSON doors; `wallet.js` listens to the customer's stream
and asks for the page again when something changed, so that there is one rendering, and a browser
without scripts sees the same as a snapshot.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi import Query as QueryParameter
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from drawdown.portal import session
from drawdown.portal.files import static_files, templates
from drawdown.portal.limits import limits_of
from drawdown.portal.usage import UsageShown, usage_of
from drawdown.portal.view import Line, WalletShown, line_of, wallet_of
from drawdown.query.answers import where
from drawdown.query.app import Query
from drawdown.query.limit_doors import shapes_in
from drawdown.query.limits import LimitRows
from drawdown.web.app import body_of, caller_of
from drawdown.web.problems import ProblemError, response

LINES: Final = 20
LOOK_BACK: Final = 1_000
"""Entries that say what used a wallet: read for each page, in about 10 ms."""
WALLETS: Final = 50
CUSTOMER_CHARACTERS_MAX: Final = 128

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not `no-referrer`: a form's Origin would be null, and signing in could not be told from an
    # attempt by another site.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
STATIC_HEADERS: Final = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def add_pages(app: FastAPI) -> None:
    """Add the pages to the query service's doors, and let its GET doors take their cookie."""
    query: Query = app.state.query
    static = static_files()
    pages = templates(static)
    by_address = {file.address: file for file in static.values()}
    app.state.session_cookie = session.COOKIE

    def page(name: str, status: int = 200, **content: Any) -> Response:
        content = {"caller": None, "trouble": "", **content}
        return HTMLResponse(pages.get_template(name).render(content), status, HEADERS)

    def refused(request: Request, problem: ProblemError, path: str) -> Response:
        """Without a session the sign-in page; with one that may not, the reason and the way."""
        crossed = request.headers.get("sec-fetch-site") == "cross-site"
        if not query.settings.caught_up.is_set():
            return page("starting.html", 503, caller=None)
        if problem.status == 401:
            return page(
                "sign_in.html",
                401,
                next=path,
                # A cookie is not sent where another site's link led here: the page asks again.
                crossed=crossed and session.COOKIE not in request.cookies,
                ended=session.COOKIE in request.cookies,
                trouble="",
            )
        own = session.caller_of_cookie(request, query.settings)
        own_path = None if own is None or own.customer is None else path_of(own.customer)
        return page("refused.html", problem.status, caller=own, own_path=own_path, next=path)

    @app.get("/", include_in_schema=False)
    def start() -> Response:
        return RedirectResponse(session.PATHS[0], 303)

    @app.get("/static/{name}", include_in_schema=False)
    def static_file(name: str) -> Response:
        file = by_address.get(f"/static/{name}")
        if file is None:
            raise ProblemError(404, "not_found", "no such file")
        return Response(file.content, 200, STATIC_HEADERS, file.media_type)

    @app.get("/wallets", include_in_schema=False)
    def wallets(
        request: Request,
        after: Annotated[str, QueryParameter(max_length=512)] = "",
        find: Annotated[str, QueryParameter(max_length=512)] = "",
    ) -> Response:
        """The wallets behind the id `after`; `find` leads to a wallet, or to where it would be."""
        own = session.caller_of_cookie(request, query.settings)
        if own is not None and own.customer is not None:
            return RedirectResponse(path_of(own.customer), 303, HEADERS)
        try:
            caller = caller_of(request, "read")
        except ProblemError as problem:
            return refused(request, problem, "/wallets")
        if not query.replica.caught_up():
            return page("starting.html", 503, caller=caller)
        find = find.strip()
        if _may_exist(find) and query.replica.row(find) is not None:
            return RedirectResponse(path_of(find), 303, HEADERS)
        now_ms = time.time_ns() // 1_000_000
        found = query.replica.customers(find or after, WALLETS + 1)
        return page(
            "wallets.html",
            caller=caller,
            wallets=[
                (path_of(customer), wallet_of(row, now_ms)) for customer, row in found[:WALLETS]
            ],
            find=find,
            after=after,
            following=quote(found[WALLETS - 1][0], safe="") if len(found) > WALLETS else None,
            now_ms=now_ms,
        )

    @app.get("/wallets/{customer:path}", include_in_schema=False)
    def wallet(request: Request, customer: str) -> Response:
        if not customer:
            return RedirectResponse("/wallets", 303, HEADERS)
        try:
            caller = caller_of(request, "read", customer)
        except ProblemError as problem:
            return refused(request, problem, path_of(customer))
        position = where(query.replica.position(customer))
        row = query.replica.row(customer) if _may_exist(customer) else None
        stream = f"/v1/customers/{quote(customer, safe='')}/stream"
        if row is not None:
            now_ms = time.time_ns() // 1_000_000
            shown = wallet_of(row, now_ms)
            lines, usage = _history(query, shown)
            return page(
                "wallet.html",
                caller=caller,
                wallet=shown,
                lines=lines,
                usage=usage,
                limits=limits_of(LimitRows(query.replica), customer, shapes_in(row), now_ms),
                position=position,
                stream=stream,
                now_ms=now_ms,
            )
        if not query.replica.caught_up():
            return page("starting.html", 503, caller=caller)
        return page("unknown.html", 404, caller=caller, customer=customer, stream=stream)

    @app.post("/session", include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        """Exchange a key or token for the cookie: JSON from the script, or the page's form."""
        session.refuse_other_origins(request)
        media = request.headers.get("content-type", "")
        given = session.credentials_of(media, await body_of(request))
        path = session.page_after(given.next)
        try:
            caller = session.caller_with(given.token, query.settings)
        except ProblemError as problem:
            if media.startswith(session.JSON):
                return response(problem, request)
            return page(
                "sign_in.html",
                problem.status,
                next=path,
                crossed=False,
                ended=False,
                trouble=problem.detail,
            )
        if media.startswith(session.JSON):
            answer: Response = JSONResponse({"customer": caller.customer}, 200, HEADERS)
        else:
            answer = RedirectResponse(path, 303, HEADERS)
        session.begin(answer, request, given.token)
        return answer

    @app.post("/session/end", include_in_schema=False)
    def sign_out(request: Request) -> Response:
        session.refuse_other_origins(request)
        answer = RedirectResponse("/wallets", 303, HEADERS)
        session.end(answer)
        return answer


def path_of(customer: str) -> str:
    """The path of a customer's page: an id may hold anything that is printed, slashes too."""
    return f"/wallets/{quote(customer, safe='')}"


def _may_exist(customer: str) -> bool:
    """Whether this can be a customer's id: the replica has keys of its own, and of other rows."""
    return 0 < len(customer) <= CUSTOMER_CHARACTERS_MAX and min(customer) >= " "


def _history(query: Query, wallet: WalletShown) -> tuple[list[Line], UsageShown]:
    """The newest entries, none newer than the wallet as it is shown, and what used it."""
    found = query.entries.latest(wallet.customer, wallet.sequence + 1, LOOK_BACK)
    usage = usage_of(found, complete=len(found) < LOOK_BACK)
    return [line_of(value) for value in found[:LINES]], usage
