"""The parts of a gateway process, and what it does with them: send a record, wait for its decision.

What it takes on is bounded: records on their way to Kafka and decisions waited for. What is beyond
is refused at once, before any of it is sent.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI

from drawdown.access import Settings
from drawdown.events.catalogue import COMMANDS, USAGE_EVENTS, Environment
from drawdown.events.codec import Command
from drawdown.gateway.answers import Answers
from drawdown.gateway.intake import Taken
from drawdown.gateway.outage import Outages
from drawdown.gateway.publisher import BusyError, NotSentError, Publisher, Sent
from drawdown.stream.ports import Cluster, Headers
from drawdown.web.bounds import busy
from drawdown.web.problems import ProblemError


class NoDecisionError(ProblemError):
    """No decision could be had in time; whether one is made is not known."""

    def __init__(self, id_: str, why: str | None = None) -> None:
        detail = (
            "no decision could be had in time; send the same id again: it gets the decision that"
            " was made, or makes one"
        )
        super().__init__(
            503,
            "no_decision",
            f"{detail} ({why})" if why else detail,
            retry_after_s=1,
            extra={"id": id_},
        )


class Gateway:
    """The parts of a gateway process."""

    def __init__(self, cluster: Cluster, environment: Environment, instance: str) -> None:
        # A name of its own for each life: an answer to a former one is for nobody.
        self.instance = f"gateway-{instance}-{secrets.token_hex(4)}"
        self.usage_topic = environment.topic(USAGE_EVENTS)
        self.commands_topic = environment.topic(COMMANDS)
        self.settings = Settings(cluster, environment)
        self.publisher = Publisher(cluster)
        self.answers = Answers(cluster, environment, self.instance)
        self.outages = Outages(cluster, environment)

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        self.settings.start()
        self.publisher.start()
        await self.answers.start()
        await self.outages.start()
        try:
            yield
        finally:
            await self.outages.stop()
            await self.answers.stop()
            await self.publisher.stop()
            self.settings.stop()

    def ready(self) -> tuple[bool, dict[str, Any]]:
        caught_up = self.settings.caught_up.is_set()
        outages = self.outages.caught_up.is_set()
        return self.answers.ready and caught_up and outages, {
            "answers": self.answers.ready,
            "settings": caught_up,
            "outage_terms": outages,
            "in_flight": self.publisher.in_flight,
            "waiting": self.answers.waiting,
        }

    async def decide(self, command: Command, value: bytes, actor: str, wait_s: float) -> bytes:
        """Send a command and wait for its decision. Raises ProblemError 429, NoDecisionError."""
        with _refusing(), self.answers.expecting(1) as (attempt,):
            sent = self.publisher.send(
                self.commands_topic,
                command.customer.encode(),
                value,
                self._headers(actor, attempt.id),
            )
            try:
                async with asyncio.timeout(wait_s):
                    # Whichever comes first: the answer may overtake the delivery report.
                    await asyncio.wait((sent, attempt.answer), return_when=asyncio.FIRST_COMPLETED)
                    if not attempt.answer.done():
                        sent.result()
                    return await attempt.answer
            except (TimeoutError, NotSentError) as error:
                raise NoDecisionError(command.id) from error
            finally:
                sent.cancel()  # nobody is to be told any more that it failed

    async def report(self, taken: Sequence[Taken], actor: str, wait_s: float) -> None:
        """Send usage; returns when Kafka has all of it. Raises ProblemError 429, 503."""
        with _refusing():
            self.publisher.make_room(len(taken))
            sent = [self._send_usage(item, self._headers(actor)) for item in taken]
            await _stored(sent, wait_s)

    async def outcomes(
        self, taken: Sequence[Taken], actor: str, wait_s: float
    ) -> list[bytes | None]:
        """Send usage and wait for what it came to, in the order it came; None for what Kafka has
        and was not decided in time. Raises ProblemError 429, and 503 where Kafka has it not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        with _refusing(), self.answers.expecting(len(taken)) as asked:
            self.publisher.make_room(len(taken))
            sent = [
                self._send_usage(item, self._headers(actor, attempt.id))
                for item, attempt in zip(taken, asked, strict=True)
            ]
            await _stored(sent, wait_s)
            answers = [attempt.answer for attempt in asked]
            await asyncio.wait(answers, timeout=max(0.0, end - loop.time()))
            return [answer.result() if answer.done() else None for answer in answers]

    def _send_usage(self, item: Taken, headers: Headers) -> Sent:
        return self.publisher.send(
            self.usage_topic, item.event.subject.encode(), item.value, headers
        )

    def _headers(self, actor: str, attempt_id: str | None = None) -> Headers:
        headers: Headers = [("actor", actor.encode())]
        if attempt_id is not None:
            headers += [("reply_to", self.instance.encode()), ("attempt_id", attempt_id.encode())]
        return headers


@contextmanager
def _refusing() -> Iterator[None]:
    """What is too much at once, or did not reach Kafka, as a problem."""
    try:
        yield
    except BusyError as error:
        raise busy(str(error)) from None
    except NotSentError as error:
        raise ProblemError(
            503,
            "not_stored",
            f"Kafka did not confirm the events ({error}); send them again: what arrived is not"
            " counted twice",
            retry_after_s=2,
        ) from None


async def _stored(sent: Sequence[Sent], wait_s: float) -> None:
    """Wait until Kafka has all of it. Raises NotSentError."""
    try:
        async with asyncio.timeout(wait_s):
            await asyncio.gather(*sent)
    except TimeoutError:
        raise NotSentError(f"not within {wait_s:g} s") from None
