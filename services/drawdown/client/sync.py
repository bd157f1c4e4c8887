"""The client for code that waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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


class Client:
    """A gateway, and where it is given the query service. Threads may share it; use it in a `with`,
    or `close` it.

    `replica` is a `drawdown.query.Replica`, which advisory questions are asked of; whoever started
    it stops it. `timeout_s` is how long a decision is waited for at a time (30 at most),
    `patience_s` how long a question is repeated in all where there is no answer.
    """

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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._query_url = None if query_url is None else query_url.rstrip("/")
        self._patience_s = patience_s
        self._replica = replica
        self._http = httpx.Client(**options(key, url, timeout_s, connections, transport))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

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
    ) -> Run:
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
        return Run(self, story)

    def charge(
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
        decision = decode_decision(self.ask(asked))
        if not decision.allowed:
            raise Denied(decision)
        return decision

    def events(self, given: Sequence[Mapping[str, Any]], *, wait: bool = False) -> Report:
        """Report up to 1,000 usage events, each with `id`, `type`, `customer` and `data`. With
        `wait` the report says what each came to. Raises RefusedError where none could be taken."""
        return report_in(self.ask(questions.events(given, wait=wait)))

    def grant(self, customer: str, amount: Amount, *, id: str, **terms: Any) -> Decision:
        """Put value into a wallet; the same id again grants nothing more."""
        return decode_decision(self.ask(questions.grant(customer, amount, id=id, **terms)))

    def auto_topup(self, customer: str, asset: str, *, id: str, **terms: Any) -> Decision:
        """Say when an asset is low and what is then bought: `below`, `top_up`, `caps`; or
        `remove=True`. See the command `set_auto_topup`."""
        asked = questions.auto_topup(customer, asset, id=id, **terms)
        return decode_decision(self.ask(asked))

    def settle_topup(
        self, customer: str, request: str, outcome: str, *, id: str, **said: Any
    ) -> Decision:
        """Say that a requested top-up was `paid`, or `failed`: for a payment service of your own.
        A paid one becomes a grant once. Raises RefusedError for one that is settled."""
        asked = questions.settle_topup(customer, request, outcome, id=id, **said)
        return decode_decision(self.ask(asked))

    def set_budget(
        self, customer: str, budget_id: str, cap: Number, *, id: str | None = None, **terms: Any
    ) -> Decision:
        """Set a budget, or change one: `scope`, `asset`, `window`, ... as `BudgetTerms` has them.
        What is stated replaces all that was. Raises RefusedError."""
        asked = questions.set_budget(customer, budget_id, cap=cap, id=named(id), **terms)
        return decode_decision(self.ask(asked))

    def remove_budget(
        self, customer: str, budget_id: str, *, id: str | None = None, reason: str | None = None
    ) -> Decision:
        """Remove a budget, with what was counted in it. Raises RefusedError."""
        asked = questions.remove_budget(customer, budget_id, id=named(id), reason=reason)
        return decode_decision(self.ask(asked))

    def block(
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
        return decode_decision(self.ask(asked))

    def unblock(
        self,
        customer: str,
        scope: Mapping[str, str],
        *,
        reason: str | None = None,
        id: str | None = None,
    ) -> Decision:
        """Let a scope run again; the decision is not `allowed` where it was not blocked."""
        asked = questions.unblock(customer, scope, id=named(id), reason=reason)
        return decode_decision(self.ask(asked))

    def wallet(self, customer: str) -> WalletRow:
        """The wallet, from the query service. Raises RefusedError where none is known."""
        if self._query_url is None:
            raise ValueError("give the client a query_url: wallets are read there")
        return wallet_in(self.ask(questions.wallet(customer), self._query_url))

    def decided(self, story: Story) -> Decision:
        """What is decided about a run. Raises RefusedError, UnavailableError."""
        if story.advisory:
            return advice_of(self._replica, story)
        return decode_decision(self.ask(story.question))

    def ask(self, question: Question, url: str | None = None) -> bytes:
        """The answer, asked for as often as there is patience.

        Raises RefusedError, UnavailableError.
        """
        patience = Patience(self._patience_s)
        address = (url or self._url) + question.path
        while True:
            try:
                response = self._http.request(
                    question.method, address, content=question.body, headers=JSON
                )
            except httpx.RequestError as error:
                pause_s = patience.failed(error)
            else:
                if response.is_success:
                    return response.content
                pause_s = patience.refused(response)
            time.sleep(pause_s)


class Run:
    """One run of work that is authorized before and captured after.

    Left without a capture, it captures what `used` added up, and releases the hold where that is
    nothing. So it does when an exception leaves the `with`: what a broken stream had used is paid,
    and the rest is free again.
    """

    def __init__(self, client: Client, story: Story) -> None:
        self._client = client
        self._story = story
        self.id = story.id
        self.decision: Decision
        """What was decided, once the run is entered."""

    def __enter__(self) -> Self:
        self.decision = self._story.begin(self._client.decided(self._story))
        return self

    def used(self, **quantities: Number) -> None:
        """Add to what this run has used; nothing is sent yet."""
        self._story.use(quantities)

    def capture(
        self, usage: Quantities | Amount | None = None, *, final: bool = True
    ) -> Decision | None:
        """Debit what was used: `usage`, or what `used` added up since the last capture.

        The last capture closes the hold; `final=False` is for parts of a stream. None where the
        usage had to be reported without its hold and was not decided in time.
        """
        *held, last = self._story.capture(usage, final=final)
        try:
            decision = self._captured(held, last)
        except RefusedError:
            self._story.refused()
            raise
        self._story.captured()
        return decision

    def _captured(self, held: list[Question], last: Question) -> Decision | None:
        for question in held:
            try:
                return decision_in(question, self._client.ask(question))
            except HoldGoneError:
                continue
        return decision_in(last, self._client.ask(last))

    def release(self, reason: str | None = None) -> Decision:
        """Give the hold back: the work did not run."""
        decision = decode_decision(self._client.ask(self._story.release(reason)))
        self._story.ended = True
        return decision

    def extend(self, seconds: int) -> Decision:
        """Let the hold live so many seconds from now, 24 hours in all at most."""
        return decode_decision(self._client.ask(self._story.extend(seconds)))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        try:
            while self._story.owed:
                self.capture()
            if not self._story.ended:
                self.release(None if kind is None else kind.__name__)
        except HoldGoneError:
            pass  # nothing to give back
        except DrawdownError as failed:
            if error is None:
                raise
            error.add_note(f"{self.id} could not be ended: {failed}")
