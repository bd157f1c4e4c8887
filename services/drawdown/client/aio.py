"""The client for asyncio; see `sync` for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from drawdown.client import questions
from drawdown.client.advice import Balances
from drawdown.client.errors import Denied, DrawdownError, HoldGoneError, RefusedError
from drawdown.client.patience import Patience
from drawdown.client.questions import Amount, Number, Quantities, Question, Require
from drawdown.client.reports import Report, report_in
from drawdown.client.shared import (
    CONNECTIONS,
    JSON,
    PATIENCE_S,
    TIMEOUT_S,
    advice_of,
    decision_in,
    named,
    options,
    story_of,
    wallet_in,
)
from drawdown.client.story import Story
from drawdown.events.codec import decode_decision
from drawdown.events.decisions import Decision
from drawdown.events.rows import WalletRow


class AsyncClient:
    """The same as `Client`, for one event loop: use it in an `async with`, or `aclose` it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        query_url: str | None = None,
        replica: Balances | None = None,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        connections: int = CONNECTIONS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._query_url = None if query_url is None else query_url.rstrip("/")
        self._patience_s = patience_s
        self._replica = replica
        self._ending: set[asyncio.Task[None]] = set()
        self._http = httpx.AsyncClient(**options(key, url, timeout_s, connections, transport))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Runs that were cancelled are ended first."""
        while self._ending:
            await asyncio.wait(self._ending)
        await self._http.aclose()

    def later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that goes on where who began it is cancelled; `aclose` waits for it."""
        task = asyncio.ensure_future(work)
        self._ending.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; where nobody does, it is known

    def authorize(
        self,
        customer: str,
        meter: str,
        *,
        dimensions: Mapping[str, str] | None = None,
        estimate: Quantities | Amount | None = None,
        require: Require = "hold",
        id: str | None = None,
        expires_in_s: int | None = None,
        max_usage_lag_ms: int | None = None,
    ) -> AsyncRun:
        """A run, to be used in a `with`: entering asks, and raises Denied where it may not run.

        With `require` hold the estimate's price is set aside until it is captured or released; it
        lapses after `expires_in_s` (900). `id` names this run and no other: asked again, also by
        another process, it is the same hold. Without one it is made up. A check holds nothing.

        With `require` advisory the client's `replica` answers, in microseconds, and the gateway is
        not asked: the decision says `advisory` and how old it may be (`stale_ms`). It is no
        promise, others may be told the same of the same money, and the estimate must be an Amount,
        or nothing to ask whether anything is left. Raises UnavailableError where the replica is
        older than it may be.
        """
        story = story_of(
            customer,
            meter,
            dimensions,
            estimate,
            require=require,
            id=id,
            expires_in_s=expires_in_s,
            max_usage_lag_ms=max_usage_lag_ms,
        )
        return AsyncRun(self, story)

    async def charge(
        self,
        customer: str,
        meter: str,
        *,
        id: str,
        dimensions: Mapping[str, str] | None = None,
        estimate: Quantities | Amount,
    ) -> Decision:
        """Authorize and debit a known price in one decision. Raises Denied."""
        asked = questions.authorize(
            customer,
            meter,
            id=id,
            dimensions=dimensions or {},
            estimate=estimate,
            capture=True,
        )
        decision = decode_decision(await self.ask(asked))
        if not decision.allowed:
            raise Denied(decision)
        return decision

    async def events(self, given: Sequence[Mapping[str, Any]], *, wait: bool = False) -> Report:
        """Report up to 1,000 usage events, each with `id`, `type`, `customer` and `data`. With
        `wait` the report says what each came to. Raises RefusedError where none could be taken."""
        return report_in(await self.ask(questions.events(given, wait=wait)))

    async def grant(self, customer: str, amount: Amount, *, id: str, **terms: Any) -> Decision:
        """Put value into a wallet; the same id again grants nothing more."""
        return decode_decision(await self.ask(questions.grant(customer, amount, id=id, **terms)))

    async def auto_topup(self, customer: str, asset: str, *, id: str, **terms: Any) -> Decision:
        """Say when an asset is low and what is then bought: `below`, `top_up`, `caps`; or
        `remove=True`. See the command `set_auto_topup`."""
        asked = questions.auto_topup(customer, asset, id=id, **terms)
        return decode_decision(await self.ask(asked))

    async def settle_topup(
        self, customer: str, request: str, outcome: str, *, id: str, **said: Any
    ) -> Decision:
        """Say that a requested top-up was `paid`, or `failed`: for a payment service of your own.
        A paid one becomes a grant once. Raises RefusedError for one that is settled."""
        asked = questions.settle_topup(customer, request, outcome, id=id, **said)
        return decode_decision(await self.ask(asked))

    async def set_budget(
        self, customer: str, budget_id: str, cap: Number, *, id: str | None = None, **terms: Any
    ) -> Decision:
        """Set a budget, or change one: `scope`, `asset`, `window`, ... as `BudgetTerms` has them.
        What is stated replaces all that was. Raises RefusedError."""
        asked = questions.set_budget(customer, budget_id, cap=cap, id=named(id), **terms)
        return decode_decision(await self.ask(asked))

    async def remove_budget(
        self, customer: str, budget_id: str, *, id: str | None = None, reason: str | None = None
    ) -> Decision:
        """Remove a budget, with what was counted in it. Raises RefusedError."""
        asked = questions.remove_budget(customer, budget_id, id=named(id), reason=reason)
        return decode_decision(await self.ask(asked))

    async def block(
        self,
        customer: str,
        scope: Mapping[str, str],
        *,
        reason: str,
        until_at: datetime | None = None,
        id: str | None = None,
    ) -> Decision:
        """Block a scope, such as `{"key": "k-17"}`: it counts for every request that is decided
        after this returns. The empty scope is the customer. Raises RefusedError."""
        asked = questions.block(customer, scope, id=named(id), reason=reason, until_at=until_at)
        return decode_decision(await self.ask(asked))

    async def unblock(
        self,
        customer: str,
        scope: Mapping[str, str],
        *,
        reason: str | None = None,
        id: str | None = None,
    ) -> Decision:
        """Let a scope run again; the decision is not `allowed` where it was not blocked."""
        asked = questions.unblock(customer, scope, id=named(id), reason=reason)
        return decode_decision(await self.ask(asked))

    async def wallet(self, customer: str) -> WalletRow:
        """The wallet, from the query service. Raises RefusedError where none is known."""
        if self._query_url is None:
            raise ValueError("give the client a query_url: wallets are read there")
        return wallet_in(await self.ask(questions.wallet(customer), self._query_url))

    async def decided(self, story: Story) -> Decision:
        """What is decided about a run. Raises RefusedError, UnavailableError."""
        if story.advisory:
            return advice_of(self._replica, story)
        return decode_decision(await self.ask(story.question))

    async def ask(self, question: Question, url: str | None = None) -> bytes:
        """The answer, asked for as often as there is patience.

        Raises RefusedError, UnavailableError.
        """
        patience = Patience(self._patience_s)
        address = (url or self._url) + question.path
        while True:
            try:
                response = await self._http.request(
                    question.method, address, content=question.body, headers=JSON
                )
            except httpx.RequestError as error:
                pause_s = patience.failed(error)
            else:
                if response.is_success:
                    return response.content
                pause_s = patience.refused(response)
            await asyncio.sleep(pause_s)


class AsyncRun:
    """The same as `Run`. Cancelled, it captures what was used and releases the rest all the same;
    cancelled while it is asked about, it releases what may have been held."""

    def __init__(self, client: AsyncClient, story: Story) -> None:
        self._client = client
        self._story = story
        self.id = story.id
        self.decision: Decision
        """What was decided, once the run is entered."""

    async def __aenter__(self) -> Self:
        try:
            decision = await self._client.decided(self._story)
        except asyncio.CancelledError:
            if self._story.hold:
                self._client.later(self._give_back())
            raise
        self.decision = self._story.begin(decision)
        return self

    async def _give_back(self) -> None:
        with suppress(HoldGoneError):
            await self.release("cancelled")

    def used(self, **quantities: Number) -> None:
        """Add to what this run has used; nothing is sent yet."""
        self._story.use(quantities)

    async def capture(
        self, usage: Quantities | Amount | None = None, *, final: bool = True
    ) -> Decision | None:
        """Debit what was used: `usage`, or what `used` added up since the last capture.

        The last capture closes the hold; `final=False` is for parts of a stream. None where the
        usage had to be reported without its hold and was not decided in time.
        """
        *held, last = self._story.capture(usage, final=final)
        try:
            decision = await self._captured(held, last)
        except RefusedError:
            self._story.refused()
            raise
        self._story.captured()
        return decision

    async def _captured(self, held: list[Question], last: Question) -> Decision | None:
        for question in held:
            try:
                return decision_in(question, await self._client.ask(question))
            except HoldGoneError:
                continue
        return decision_in(last, await self._client.ask(last))

    async def release(self, reason: str | None = None) -> Decision:
        """Give the hold back: the work did not run."""
        decision = decode_decision(await self._client.ask(self._story.release(reason)))
        self._story.ended = True
        return decision

    async def extend(self, seconds: int) -> Decision:
        """Let the hold live so many seconds from now, 24 hours in all at most."""
        return decode_decision(await self._client.ask(self._story.extend(seconds)))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        await asyncio.shield(self._client.later(self._end(kind, error)))

    async def _end(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        try:
            while self._story.owed:
                await self.capture()
            if not self._story.ended:
                await self.release(None if kind is None else kind.__name__)
        except HoldGoneError:
            pass  # nothing to give back
        except DrawdownError as failed:
            if error is None:
                raise
            error.add_note(f"{self.id} could not be ended: {failed}")
