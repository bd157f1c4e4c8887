"""The demo from beginning to end, against services that run: play, play again, prove.

Steps: publish two versions of the prices, grant, play live, publish all of it again as duplicates,
and prove every balance with a program that shares no code (`proof.py`). What a person sees goes to
standard error; `Result` is what came of it.
"""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.table import Table

from drawdown.cli.book_diff import changes, side_of
from drawdown.demo import prepay, subscribed, traffic
from drawdown.demo.play import DemoError, Played, Player
from drawdown.demo.screen import Screen, dollars, margin_cells
from drawdown.demo.watch import Watch, quantile_ms
from drawdown.events.base import moment
from drawdown.events.catalogue import USAGE_EVENTS, Environment
from drawdown.events.codec import decode_any, encode
from drawdown.settlement.publish import publish
from drawdown.stream.ports import Cluster

LEAD_S: Final = 3.5
"""From the first version of the prices to the first request: a second one and the grants fit in."""
QUIET_S: Final = 60.0
"""Without any progress for so long, the demo gives up."""
PRINT_S: Final = 2.0


@dataclass(frozen=True)
class Doors:
    """Where the services are."""

    gateway: str
    query: str
    key: str


@dataclass
class Result:
    """What `--json` prints."""

    events: int = 0
    customers: int = 0
    seconds: int = 0
    events_per_second: int = 0
    """Of the second publication, flat out: from the first record sent to the last one answered."""
    live_events_per_second: int = 0
    """Of the first publication, at the trace's own pace: until the last debit."""
    lag_ms_p50: float = 0.0
    """From handing a usage event to Kafka's client to its debit being readable by others, live."""
    lag_ms_p99: float = 0.0
    authorize_ms_p50: float = 0.0
    authorize_ms_p99: float = 0.0
    played_s: float = 0.0
    """How long the live play took, to the last debit."""
    mismatches: int = 0
    duplicates_ignored: int = 0
    denials: int = 0
    top_ups: int = 0
    low_balance_alerts: int = 0
    dead_letters: int = 0
    retried: int = 0
    settlement_killed: bool = False
    debited: str = "0"
    holds: int = 0
    """Requests of the live play that ran on a hold, and captured it."""
    prepay_over: dict[str, str] = field(default_factory=dict)
    """USD spent beyond what was paid, by how the agents were held back."""
    subscription: dict[str, str] = field(default_factory=dict)
    """USD of the subscriber's month: fee, what was included, overage, what is left."""
    differences: dict[str, list[str]] = field(default_factory=dict)

    @property
    def proved(self) -> bool:
        """Whether every wallet holds what it must, and the duplicates changed nothing."""
        return not self.mismatches and self.duplicates_ignored == self.events

    def content(self) -> dict[str, Any]:
        return asdict(self)


class Demo:
    """One run. `kill`, where given, is called once at a random moment of the play, in a thread."""

    def __init__(
        self,
        cluster: Cluster,
        environment: Environment,
        doors: Doors,
        console: Console,
        *,
        seconds: int = 20,
        kill: Callable[[], None] | None = None,
    ) -> None:
        self._cluster = cluster
        self._environment = environment
        self._doors = doors
        self._console = console
        self._seconds = seconds
        self._kill = kill
        self._run = secrets.token_hex(4)
        self._watch = Watch(cluster, environment, f"demo-{self._run}")
        self._requests = traffic.requests(seconds)
        self.result = Result(
            events=len(self._requests), customers=len(traffic.CUSTOMERS), seconds=seconds
        )

    def run(self) -> Result:
        """All of it. Raises DemoError. Blocks for about a minute."""
        self._say(
            f"{len(self._requests):,} real requests (Azure LLM code trace, 16 November 2023), their"
            f" times compressed onto {self._seconds} s.\nCustomers, features and models are made up"
            " by a fixed rule; prices are LiteLLM's catalogue + 30 %,\nexcept `review`, which is"
            f" sold below its cost and mostly used by {traffic.LOSING}."
        )
        self._watch.start()
        try:
            asyncio.run(self._run_all())
        finally:
            self._watch.stop()
        return self.result

    async def _run_all(self) -> None:
        doors, loop = self._doors, asyncio.get_running_loop()
        async with Player(
            self._cluster,
            self._environment.topic(USAGE_EVENTS),
            doors.gateway,
            doors.key,
            self._watch,
            self._run,
        ) as player:
            start_ms, change_ms = await loop.run_in_executor(None, self._publish_prices)
            await self._grant(player)
            await self._live(player, start_ms, change_ms)
            await self._prepay(player)
            await self._subscribed(player)
            before = await self._wallets()
            self._rule("All of it once more, flat out: nothing may change")
            await self._again(player, start_ms)
            after = await self._wallets()
            if after != before:
                changed = [name for name in after if after[name] != before.get(name)]
                raise DemoError(f"duplicates changed the wallets of {', '.join(changed)}")
            self._rule("The proof")
            played = player.played
            await loop.run_in_executor(None, self._prove, played, change_ms - start_ms, after)

    # --- the steps -----------------------------------------------------------------------------

    def _publish_prices(self) -> tuple[int, int]:
        """Both versions, before the traffic; returns when it starts and when the prices change."""
        now_ms = time.time_ns() // 1_000_000
        first = traffic.book(f"demo-{self._run}-1")
        publish(
            self._cluster,
            self._environment,
            first,
            now=moment(now_ms),
            effective_at=moment(now_ms - 60_000),
            force=True,
        )
        second = traffic.book(f"demo-{self._run}-2", cheaper=True)
        start_ms = time.time_ns() // 1_000_000 + int(LEAD_S * 1000)
        change_ms = start_ms + self._seconds * 500
        publish(
            self._cluster,
            self._environment,
            second,
            now=moment(time.time_ns() // 1_000_000),
            effective_at=moment(change_ms),
            force=True,
        )
        self._say(
            f"prices: {len(second.rates):,} published, and a second version in which"
            f" {traffic.CHEAPER_MODEL} is cheaper, in effect at the middle instant:"
        )
        for change in changes(side_of(first), side_of(second)):
            self._say(f"  [red]- {change.old}[/]\n  [green]+ {change.new}[/]")
        return start_ms, change_ms

    async def _grant(self, player: Player) -> None:
        await asyncio.gather(
            *(
                player.grant(name, amount, category, f"{category}-{name}")
                for name in traffic.CUSTOMERS
                for category, amount in (
                    ("included", traffic.INCLUDED),
                    ("paid", traffic.bought(name)),
                )
            )
        )
        self._say(
            f"grants: {len(player.played.grants)}, {traffic.INCLUDED} USD included and"
            f" {traffic.BOUGHT} or {traffic.BOUGHT_BY_LARGE} bought; who runs dry is denied, buys"
            f" {traffic.TOP_UP} and goes on\n"
        )

    async def _live(self, player: Player, start_ms: int, change_ms: int) -> None:
        total = len(self._requests)
        screen = Screen(self._watch, player.played, total, change_ms / 1000)
        drawn = self._console.is_terminal
        killer = self._killer(start_ms)
        live = (
            Live(screen, console=self._console, refresh_per_second=4, transient=False)
            if drawn
            else nullcontext()
        )
        with live:
            shown = asyncio.create_task(self._show_lines(screen, drawn))
            try:
                await player.play(self._requests, start_ms)
                await self._until(lambda: self._watch.seen.debits >= total, "debits")
                took_s = time.time() - start_ms / 1000
            except* DemoError as group:
                raise group.exceptions[0] from None
            finally:
                shown.cancel()
                if killer is not None:
                    killer.join()
        self._fill(player.played)
        self.result.live_events_per_second = round(total / took_s)
        self.result.played_s = round(took_s, 1)
        if took_s > self._seconds * 1.25:
            self._say(
                f"\nplayed in {took_s:.0f} s, not {self._seconds}: this machine was too busy for"
                " the trace's pace"
            )
        if not drawn:
            self._say(screen.line())
        self._say_margins()

    async def _prepay(self, player: Player) -> None:
        self._rule(
            f"{prepay.PAID} USD prepaid, {prepay.AGENTS} agents at {traffic.AGENT_PRICE} USD a"
            " second; a minute is played in a second (60 to 1)"
        )
        try:
            outcomes = await prepay.Prepay(player, self._watch).play()
        except* DemoError as group:
            raise group.exceptions[0] from None
        except* TimeoutError:
            raise DemoError("what the agents used was not booked in time") from None
        for found in outcomes:
            denied = f"{found.denied} denied, {found.shortfall} USD short" if found.denied else ""
            self._say(
                f"  {found.how:<28}{found.steps:>6,} steps of a minute   {found.over:>8} USD over"
                f"   {denied}"
            )
            self.result.prepay_over[found.customer.removeprefix("prepay-")] = found.over
        self.result.holds = len(player.played.holds)

    async def _subscribed(self, player: Player) -> None:
        self._rule(f"A plan: {traffic.PLAN_FEE} USD a month, {traffic.PLAN_INCLUDED} USD included")
        try:
            month = await subscribed.play(player, self._watch)
        except TimeoutError:
            raise DemoError("what the subscriber used was not booked in time") from None
        self._say(
            f"  fee {month.fee} USD, to be invoiced; {month.included} USD included, all used;"
            f" denied, {month.shortfall} USD short;\n  topped up {subscribed.TOP_UP} USD, which"
            f" paid {month.overage} USD of overage: {month.left} USD left"
        )
        self.result.subscription = asdict(month)

    def _killer(self, start_ms: int) -> threading.Thread | None:
        if self._kill is None:
            return None
        kill, share = self._kill, 0.2 + secrets.randbelow(600) / 1000
        at_s = start_ms / 1000 + self._seconds * share

        def at_the_moment() -> None:
            time.sleep(max(at_s - time.time(), 0))
            kill()
            self.result.settlement_killed = True

        thread = threading.Thread(target=at_the_moment, name="killer", daemon=True)
        thread.start()
        return thread

    async def _show_lines(self, screen: Screen, drawn: bool) -> None:
        while not drawn:
            await asyncio.sleep(PRINT_S)
            self._say(screen.line())

    async def _again(self, player: Player, start_ms: int) -> None:
        seen = self._watch.seen
        debits = seen.debits
        began = time.monotonic()
        flood = asyncio.create_task(player.flood(self._requests, start_ms, f"demo-{self._run}"))
        total = len(self._requests)
        await self._until(lambda: seen.outcomes.total() >= total, "answers")
        took = time.monotonic() - began
        await flood
        self.result.duplicates_ignored = seen.outcomes["duplicate"]
        self.result.events_per_second = round(total / took)
        written = seen.debits - debits
        self._say(
            f"{seen.outcomes['duplicate']:,} of {total:,} recognized as duplicates in {took:.2f} s"
            f" ({total / took:,.0f} a second); {written} journal entries written"
        )
        if written:
            raise DemoError("duplicates changed the journal")

    def _prove(self, played: Played, change_ms: int, wallets: dict[str, dict[str, str]]) -> None:
        """Run the proof in a process of its own: isolated, it could not import us if it tried."""
        data = files("drawdown.data")
        with (
            as_file(files("drawdown.demo") / "proof.py") as program,
            as_file(data.joinpath(*traffic.TRACE)) as trace,
            as_file(data / "litellm-prices" / "model_prices_and_context_window.json") as catalogue,
        ):
            run = {
                "trace": str(trace),
                "catalogue": str(catalogue),
                "seconds": self._seconds,
                "change_ms": change_ms,
                "grants": played.grants,
                "wallets": wallets,
            }
            done = subprocess.run(
                [sys.executable, "-I", str(program)],
                input=encode(run),
                capture_output=True,
                check=False,
            )
        if done.returncode not in (0, 1) or not done.stdout:
            raise DemoError(f"the proof did not run: {done.stderr.decode()[-400:]}")
        found: dict[str, Any] = decode_any(done.stdout)
        self.result.mismatches = found["mismatches"]
        self.result.differences = found["differences"]
        self.result.debited = found["debited"]
        self._say(
            f"recomputed from the CSV and {len(played.grants)} grants with Decimal, by a program"
            f" that imports nothing of Drawdown:\n{found['requests']:,} requests,"
            f" {found['customers']} customers, {found['debited']} USD debited,"
            f" [bold {'red' if found['mismatches'] else 'green'}]{found['mismatches']}"
            " mismatches[/]"
        )
        for customer, lines in found["differences"].items():
            for line in lines:
                self._say(f"  [red]{customer}: {line}[/]")

    # --- reading -------------------------------------------------------------------------------

    async def _wallets(self) -> dict[str, dict[str, str]]:
        """Every wallet from the query service, once it has all that was seen in the journal."""
        found: dict[str, dict[str, str]] = {}
        sequences = self._watch.seen.sequences
        headers = {"Authorization": f"Bearer {self._doors.key}"}
        async with aiohttp.ClientSession(self._doors.query, headers=headers) as client:
            deadline = time.monotonic() + QUIET_S
            while missing := [name for name in traffic.CUSTOMERS if name not in found]:
                if time.monotonic() > deadline:
                    raise DemoError(f"the query service did not catch up on {missing[0]}")
                for name in missing:
                    async with client.get(f"/v1/customers/{name}/wallet") as answer:
                        if answer.status != 200:
                            continue
                        wallet = decode_any(await answer.read())["wallet"]
                    if wallet["sequence"] >= sequences.get(name, 0):
                        found[name] = _totals(wallet)
                await asyncio.sleep(0.02)
        return found

    async def _until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait; gives up when nothing has been seen for a while. Raises DemoError."""
        last: Sequence[int] = ()
        deadline = time.monotonic() + QUIET_S
        while not reached():
            seen = self._watch.seen
            if self._watch.failed is not None:
                raise DemoError(f"watching failed: {self._watch.failed}")
            now = (seen.debits, seen.outcomes.total(), seen.dead_letters)
            if now != last:
                last, deadline = now, time.monotonic() + QUIET_S
            if time.monotonic() > deadline:
                raise DemoError(f"no more {what} came for {QUIET_S:.0f} s: {now}")
            await asyncio.sleep(0.005)

    # --- saying --------------------------------------------------------------------------------

    def _fill(self, played: Played) -> None:
        seen, result = self._watch.seen, self.result
        lags = list(self._watch.lags_s)
        result.lag_ms_p50, result.lag_ms_p99 = quantile_ms(lags, 0.5), quantile_ms(lags, 0.99)
        result.authorize_ms_p50 = quantile_ms(played.decision_s, 0.5)
        result.authorize_ms_p99 = quantile_ms(played.decision_s, 0.99)
        result.denials, result.top_ups = played.denials.total(), played.top_ups
        result.low_balance_alerts = seen.low_balances
        result.dead_letters, result.retried = seen.dead_letters, played.retried

    def _say_margins(self) -> None:
        made = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
        made.add_column("margin by feature")
        for title in ("revenue", "cost", "margin", ""):
            made.add_column(title, justify="right")
        for name, margin in sorted(self._watch.seen.by_feature.items()):
            made.add_row(name, *margin_cells(margin))
        losing = self._watch.seen.margins[traffic.LOSING]
        self._console.print()
        self._console.print(made)
        self._say(
            f"{traffic.LOSING} costs more than it pays: {dollars(losing.revenue)} USD for"
            f" {dollars(losing.cost)} - seen at the event, not at the end of the month"
        )
        cheaper = f"demo-{self._run}-2"
        rates = self._watch.seen.rates
        before = sum(n for (book, rate), n in rates.items() if rate == traffic.CHEAPER_MODEL)
        after = rates[cheaper, traffic.CHEAPER_MODEL]
        self._say(
            f"{traffic.CHEAPER_MODEL}: {before - after:,} debits at the old price, {after:,} at the"
            " new one"
        )

    def _rule(self, title: str) -> None:
        self._say(f"\n[bold]{title}[/]")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False)


def _totals(wallet: dict[str, Any]) -> dict[str, str]:
    account = next(a for a in wallet["accounts"] if a["asset"] == "USD")
    return {
        "balance": account["balance"],
        "held": account.get("held", "0"),
        "granted": account.get("granted", "0"),
        "debited": account.get("debited", "0"),
        "cost": wallet.get("cost", "0"),
        "sequence": str(wallet["sequence"]),
    }
