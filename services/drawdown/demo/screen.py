"""What the demo shows while it plays: one table, drawn again a few times a second."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drawdown.demo.play import Played
from drawdown.demo.traffic import CHEAPER_MODEL
from drawdown.demo.watch import Margin, Watch, quantile_ms
from drawdown.events.numbers import amount_text

CUSTOMERS_SHOWN = 6
SPAN_S = 1.0


@dataclass
class Screen:
    """Draws the state of a play of `total` requests. `change_at` is in Unix seconds."""

    watch: Watch
    played: Played
    total: int
    change_at: float
    marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=64))

    def rate(self) -> int:
        """Debits in the last second."""
        now = time.monotonic()
        self.marks.append((now, self.watch.seen.debits))
        while len(self.marks) > 2 and self.marks[0][0] < now - SPAN_S:
            self.marks.popleft()
        (then, before), (_, after) = self.marks[0], self.marks[-1]
        return round((after - before) / (now - then)) if now > then else 0

    def line(self) -> str:
        """The state in one line, for where nothing can be drawn."""
        seen, played = self.watch.seen, self.played
        recent = list(self.watch.recent_s)
        return (
            f"{seen.debits:>5} of {self.total} debited, {self.rate():>4}/s, event -> balance p50"
            f" {quantile_ms(recent, 0.5)} ms p99 {quantile_ms(recent, 0.99)} ms,"
            f" {played.denials.total()} denied, {seen.low_balances} low balances"
        )

    def __rich__(self) -> RenderableType:
        seen, played = self.watch.seen, self.played
        recent = list(self.watch.recent_s)
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim")
        facts.add_column()
        facts.add_row(
            "debited",
            Text.assemble(
                (f"{seen.debits:,}", "bold"),
                f" of {self.total:,}   {self.rate():,} a second   {dollars(seen.debited)} USD",
            ),
        )
        facts.add_row("", ProgressBar(total=self.total, completed=seen.debits, width=50))
        facts.add_row(
            "event → balance",
            f"p50 {quantile_ms(recent, 0.5)} ms   p99 {quantile_ms(recent, 0.99)} ms",
        )
        decisions = played.decision_s[-1000:]
        facts.add_row(
            "authorize",
            f"p50 {quantile_ms(decisions, 0.5)} ms   p99 {quantile_ms(decisions, 0.99)} ms"
            f"   {played.authorized:,} allowed",
        )
        reasons = ", ".join(f"{count} {reason}" for reason, count in played.denials.items())
        facts.add_row("denied", Text(reasons or "none yet", style="red" if reasons else ""))
        if played.last_denial:
            facts.add_row("", Text(f"last: {played.last_denial}; then topped up", style="dim"))
        facts.add_row(
            "low balances",
            f"{seen.low_balances}" + (f"   {seen.last_low}" if seen.last_low else ""),
        )
        left = self.change_at - time.time()
        facts.add_row(
            "price change",
            f"{CHEAPER_MODEL} becomes cheaper in {left:.0f} s"
            if left > 0
            else Text(f"{CHEAPER_MODEL} is cheaper now; nothing before it moved", style="green"),
        )
        return Group(facts, "", self._margins())

    def _margins(self) -> RenderableType:
        found = sorted(
            self.watch.seen.margins.items(), key=lambda item: item[1].revenue - item[1].cost
        )
        half = CUSTOMERS_SHOWN // 2
        shown = found if len(found) <= CUSTOMERS_SHOWN else found[:half] + found[-half:]
        made = Table(box=None, header_style="dim", padding=(0, 3, 0, 0))
        made.add_column("margin by customer")
        for title in ("revenue", "cost", "margin", ""):
            made.add_column(title, justify="right")
        for name, margin in shown:
            made.add_row(name, *margin_cells(margin))
        return made


def margin_cells(margin: Margin) -> tuple[str, str, Text, Text]:
    """Revenue, cost, margin and its share, as text; a loss is red."""
    left = margin.revenue - margin.cost
    style = "red" if left < 0 else "green"
    share = f"{left * 100 // margin.revenue} %" if margin.revenue else ""
    return (
        dollars(margin.revenue),
        dollars(margin.cost),
        Text(dollars(left), style=style),
        Text(share, style=style),
    )


def dollars(pico: int) -> str:
    """Pico-USD to four places, for the eye; never for a sum."""
    return f"{Decimal(amount_text(pico)):.4f}"
