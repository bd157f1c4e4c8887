"""A wallet against one kept slowly and obviously (`reference`), whatever happens to it.

After every step the two have the same balances, grants, totals, revenue, breakage and deferred
revenue; money is conserved; and the judge agrees.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.ledger.reference import DAY, Plan, Reference
from tests.support.till import HOUR, START_MS, Till

from drawdown.events.base import at_text, milliseconds
from drawdown.events.numbers import amount_of
from drawdown.ledger.slices import deferred_revenue
from drawdown.ledger.values import Wallet

START = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=START_MS)
AMOUNTS = st.integers(1, 40)
PRICES = st.sampled_from(["0", "0.5", "1", "0.25"])
PRIORITIES = st.sampled_from([50, 100])
FAR = 30
UNIT = 10**12


class AgainstTheReference(RuleBasedStateMachine):
    """The life of one customer, with every boundary met at its instant or just before."""

    def __init__(self) -> None:
        super().__init__()
        self.till = Till()
        self.reference = Reference(START)
        self.made = 0
        self.holds: dict[str, int] = {}
        self.grants: list[str] = []
        self.undo: list[int] = []
        """Adjustments that took from the wallet."""

    def name(self, kind: str) -> str:
        self.made += 1
        return f"{kind}{self.made:03}"

    # what happens

    @rule(amount=AMOUNTS, price=PRICES, priority=PRIORITIES, days=st.sampled_from([0, 1, 2]))
    def grant(self, amount: int, price: str, priority: int, days: int) -> None:
        if len(self.reference.lots) > FAR:
            return
        name = self.name("g")
        terms: dict[str, Any] = {"expires_at": self.till.at_ms + days * 24 * HOUR} if days else {}
        self.till.grant("ada", str(amount), name, cost_basis=price, priority=priority, **terms)
        self.reference.give(
            name,
            Fraction(amount),
            Fraction(price),
            "granted",
            priority=priority,
            end=self.reference.now + days * DAY if days else None,
            paid=True,
        )
        self.grants.append(name)

    @precondition(lambda self: len(self.reference.plans) < 2)
    @rule(
        amount=AMOUNTS,
        price=PRICES,
        cycles=st.integers(2, 4),
        most=st.sampled_from([None, 0, 10, 100]),
    )
    def plan(self, amount: int, price: str, cycles: int, most: int | None) -> None:
        name = self.name("p")
        recurrence: dict[str, Any] = {"every": "day", "cycles": cycles}
        if most is not None:
            recurrence["rollover"] = {"max": str(most)}
        self.till.grant(
            "ada",
            str(amount),
            name,
            cost_basis=price,
            category="included" if price == "0" else "paid",
            priority=70,
            recurrence=recurrence,
        )
        now = self.reference.now
        self.reference.give(
            name,
            Fraction(amount),
            Fraction(price),
            "granted",
            priority=70,
            end=now + DAY,
            plan=name,
            paid=price != "0",
        )
        self.reference.plans.append(
            Plan(
                name,
                Fraction(amount),
                Fraction(price),
                70,
                now + DAY,
                cycles - 1,
                None if most is None else Fraction(most),
            )
        )
        self.grants.append(name)

    @rule(amount=AMOUNTS)
    def use(self, amount: int) -> None:
        self.till.use("ada", amount)
        expected = self.reference.pay(Fraction(amount), "debited")
        parts = {
            name: Fraction(part)
            for name, part in self.till.statement("ada")[-1][3].items()
            if name != "overdrawn"
        }
        assert parts == dict(expected)

    @rule(amount=AMOUNTS)
    def ask(self, amount: int) -> None:
        allowed = self.till.authorize("ada", amount).allowed
        assert allowed == (amount <= self.reference.available())

    @rule(amount=AMOUNTS)
    def hold(self, amount: int) -> None:
        name = self.name("h")
        terms = {"hold_id": name, "expires_in_s": 86_400}
        allowed = self.till.authorize("ada", amount, require="hold", hold=terms).allowed
        assert allowed == self.reference.hold(name, Fraction(amount))
        if allowed:
            self.holds[name] = self.till.at_ms + 24 * HOUR

    @precondition(lambda self: self.holds)
    @rule(amount=st.integers(0, 50), release=st.booleans(), data=st.data())
    def end_hold(self, amount: int, release: bool, data: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.holds)))
        del self.holds[name]
        if release:
            self.till.command("release", "ada", hold_id=name)
            self.reference.release(name)
        else:
            self.till.command("capture", "ada", hold_id=name, amount=str(amount))
            self.reference.capture(name, Fraction(amount))
        self.pass_time(0)  # what went back to a grant that is over lapses

    @rule(amount=AMOUNTS, up=st.booleans())
    def adjust(self, amount: int, up: bool) -> None:
        name = self.name("a")
        sign = "" if up else "-"
        more = {"grant_id": name} if up else {}
        self.till.command(
            "adjust", "ada", asset="USD", amount=f"{sign}{amount}", reason="why", **more
        )
        if up:
            self.reference.give(name, Fraction(amount), Fraction(0), "adjusted_up")
            self.grants.append(name)
        else:
            self.reference.pay(Fraction(amount), "adjusted_down")

    @precondition(lambda self: self.grants)
    @rule(data=st.data())
    def void(self, data: Any) -> None:
        name = data.draw(st.sampled_from(self.grants))
        live = [lot for lot in self.reference.lots if lot.grant == name and lot.there(self.now)]
        if not live or not live[0].amount or live[0].plan:
            return
        self.till.command("void", "ada", grant_id=name)
        self.reference.void(name)

    @rule(amount=st.integers(1, 15))
    def use_and_take_it_back(self, amount: int) -> None:
        """A debit and its reversal leave all as it was, where no grant was spent by it."""
        if not self.reference.debt and all(
            lot.amount > amount for lot in self.reference.by_turn() if lot.amount
        ):
            if amount > self.reference.available():
                return
            before = self.till.left("ada")
            revenue = self.till.wallet("ada").get("revenue", "0")
            self.till.use("ada", amount)
            self.till.reverse("ada")
            assert self.till.left("ada") == before
            assert self.till.wallet("ada").get("revenue", "0") == revenue
            self.reference.count("debited", Fraction(amount))
            self.reference.count("reversed_in", Fraction(amount))

    @rule(hours=st.sampled_from([0, 1, 12, 24, 48]), just_before=st.booleans())
    def pass_time(self, hours: int, just_before: bool = False) -> None:
        then_ms = self.till.at_ms + hours * HOUR
        if just_before and hours == 24:
            then_ms -= 1
        for end_ms in sorted({end_ms for end_ms in self.holds.values() if end_ms <= then_ms}):
            # What is back at the very instant of a reset is unspent at that instant.
            self.reference.pass_to(START + timedelta(milliseconds=end_ms - 1 - START_MS))
            for name in [name for name, at_ms in self.holds.items() if at_ms == end_ms]:
                self.reference.release(name)
                del self.holds[name]
            self._pass_to(end_ms)
        self._pass_to(then_ms)

    def _pass_to(self, at_ms: int) -> None:
        self.till.tick(at_ms)
        self.reference.pass_to(START + timedelta(milliseconds=at_ms - START_MS))

    # what is always so

    @property
    def now(self) -> datetime:
        return self.reference.now

    @invariant()
    def they_agree(self) -> None:
        wallet = self.till.rows.get("ada")
        if not isinstance(wallet, Wallet):
            return
        assert milliseconds(self.now) == self.till.at_ms
        reference = self.reference
        account = wallet.account("USD")
        assert account.imbalance == 0
        assert account.balance == reference.balance() * UNIT
        assert account.held == reference.held() * UNIT
        assert account.overdrawn == reference.debt * UNIT
        lots: dict[str, Fraction] = {}
        for lot in reference.lots:
            lots[lot.grant] = lots.get(lot.grant, Fraction(0)) + lot.amount
        left = {name: Fraction(text) for name, text in self.till.left("ada").items()}
        assert {k: v for k, v in left.items() if v} == {k: v for k, v in lots.items() if v}
        said = self.till.account("ada")
        for flow, amount in reference.flows.items():
            assert Fraction(said.get(flow, "0")) == amount, flow
        assert wallet.revenue == reference.revenue * UNIT
        assert wallet.breakage == reference.breakage * UNIT
        assert deferred_revenue(wallet) == reference.deferred() * UNIT

    @invariant()
    def entries_sum_up(self) -> None:
        """Revenue and breakage of the customer are the sums of the entries'."""
        wallet = self.till.rows.get("ada")
        if isinstance(wallet, Wallet):
            entries = [entry["data"] for entry in self.till.entries("ada")]
            for name in ("revenue", "breakage"):
                total = sum(amount_of(data.get(name, "0")) for data in entries)
                assert total == getattr(wallet, name)

    def teardown(self) -> None:
        assert self.till.wrongs() == []
        assert self.till.replayed().bytes_of_rows() == self.till.bytes_of_rows()


AgainstTheReference.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None
)
TestAgainstTheReference = AgainstTheReference.TestCase
assert at_text(START_MS) == "2027-01-15T08:00:00Z"
