"""A wallet kept slowly and obviously: the judge of the stateful test.

It keeps no balance. It keeps every unit of value as a lot - how much, what was paid for it, until
when, in which place - and moves lots about. What an account or a grant has is counted anew each
time it is asked. One asset, USD; it shares no code with the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

DAY = timedelta(days=1)


@dataclass
class Lot:
    """Value of one origin with the same terms."""

    grant: str
    amount: Fraction
    price: Fraction
    """Paid for one unit."""
    priority: int
    paid: bool
    start: datetime
    end: datetime | None
    number: int
    held: dict[str, Fraction] = field(default_factory=dict)
    plan: str | None = None
    rolls: Fraction | None = None
    """Up to how much of it rolls over once it is over, whenever it comes back from a hold."""

    def there(self, now: datetime) -> bool:
        return self.start <= now and (self.end is None or now < self.end)


@dataclass
class Plan:
    """A daily grant."""

    name: str
    amount: Fraction
    price: Fraction
    priority: int
    next: datetime
    left: int
    most: Fraction | None
    """Of what rolls over; None where nothing does."""


@dataclass
class Reference:
    """The wallet; `now` moves by days and hours."""

    now: datetime
    lots: list[Lot] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    debt: Fraction = Fraction(0)
    revenue: Fraction = Fraction(0)
    breakage: Fraction = Fraction(0)
    flows: dict[str, Fraction] = field(default_factory=dict)
    numbers: int = 0

    def available(self) -> Fraction:
        return sum((lot.amount for lot in self.lots if lot.there(self.now)), Fraction(0))

    def balance(self) -> Fraction:
        return sum((lot.amount for lot in self.lots), Fraction(0)) - self.debt

    def held(self) -> Fraction:
        return sum((part for lot in self.lots for part in lot.held.values()), Fraction(0))

    def deferred(self) -> Fraction:
        whole = (
            (lot.amount + sum(lot.held.values(), Fraction(0))) * lot.price for lot in self.lots
        )
        return sum(whole, Fraction(0))

    def count(self, flow: str, amount: Fraction) -> None:
        self.flows[flow] = self.flows.get(flow, Fraction(0)) + amount

    def by_turn(self) -> list[Lot]:
        """The drawdown order, in words of its own."""
        far = datetime.max.replace(tzinfo=UTC)
        return sorted(
            (lot for lot in self.lots if lot.there(self.now)),
            key=lambda lot: (lot.priority, lot.end or far, lot.paid, lot.start, lot.number),
        )

    def give(
        self,
        name: str,
        amount: Fraction,
        price: Fraction,
        flow: str,
        *,
        priority: int = 100,
        end: datetime | None = None,
        start: datetime | None = None,
        plan: str | None = None,
        paid: bool = False,
    ) -> None:
        self.count(flow, amount)
        self.numbers += 1
        begins = start or self.now
        back = min(amount, self.debt) if begins <= self.now else Fraction(0)
        self.debt -= back
        self.revenue += back * price
        self.lots.append(
            Lot(name, amount - back, price, priority, paid, begins, end, self.numbers, plan=plan)
        )

    def pay(self, amount: Fraction, flow: str) -> list[tuple[str, Fraction]]:
        """Use so much: of each lot in turn; the rest is owed."""
        self.count(flow, amount)
        parts = []
        for lot in self.by_turn():
            part = min(lot.amount, amount)
            if part:
                lot.amount -= part
                amount -= part
                self.revenue += part * lot.price
                parts.append((lot.grant, part))
        self.debt += amount
        return parts

    def hold(self, name: str, amount: Fraction) -> bool:
        if not 0 < amount <= self.available():
            return False
        for lot in self.by_turn():
            part = min(lot.amount, amount)
            if part:
                lot.amount -= part
                lot.held[name] = part
                amount -= part
        return True

    def release(self, name: str) -> None:
        for lot in self.lots:
            lot.amount += lot.held.pop(name, Fraction(0))

    def capture(self, name: str, amount: Fraction) -> None:
        far = datetime.max.replace(tzinfo=UTC)
        for lot in sorted(
            self.lots,
            key=lambda lot: (lot.priority, lot.end or far, lot.paid, lot.start, lot.number),
        ):
            part = lot.held.pop(name, Fraction(0))
            used = min(part, amount)
            lot.amount += part - used
            self.revenue += used * lot.price
            self.count("debited", used)
            amount -= used
        if amount:
            # What is above the hold: what goes back by this capture is not yet free for it, but
            # nothing goes back where there is something above.
            self.pay(amount, "debited")

    def void(self, grant: str) -> None:
        for lot in self.lots:
            if lot.grant == grant:
                self.count("voided", lot.amount)
                self.breakage += lot.amount * lot.price
                lot.amount = Fraction(0)
                lot.end = min(lot.end or self.now, self.now)
        self.plans = [plan for plan in self.plans if plan.name != grant.partition("@")[0]]

    def pass_to(self, then: datetime) -> None:
        """Time passes, with every boundary seen at its own instant."""
        while True:
            instants = [plan.next for plan in self.plans if plan.next <= then]
            instants += [lot.end for lot in self.lots if lot.end and lot.end <= then and lot.amount]
            if not instants:
                break
            self.now = max(min(instants), self.now)
            self._boundary()
        self.now = then

    def _boundary(self) -> None:
        """What begins now, and what ends."""
        for plan in list(self.plans):
            if plan.next > self.now:
                continue
            name = f"{plan.name}@{plan.next.isoformat().replace('+00:00', 'Z')}"
            for lot in self.lots:
                if lot.plan == plan.name and lot.end == plan.next:
                    lot.rolls = plan.most
            self.give(
                name,
                plan.amount,
                plan.price,
                "granted",
                priority=plan.priority,
                end=plan.next + DAY,
                start=plan.next,
                plan=plan.name,
                paid=bool(plan.price),
            )
            plan.left -= 1
            plan.next += DAY
            if not plan.left:
                self.plans.remove(plan)
        for lot in list(self.lots):
            if lot.end is None or lot.end > self.now or not lot.amount:
                continue
            over = Fraction(0)
            if lot.rolls is not None:
                carried = [c for c in self.lots if c.grant == f"{lot.plan}+"]
                room = lot.rolls - sum((c.amount for c in carried), Fraction(0))
                over = max(Fraction(0), min(lot.amount, room))
                if over and carried:
                    carried[0].amount += over
                elif over:
                    self.numbers += 1
                    self.lots.append(
                        Lot(
                            f"{lot.plan}+",
                            over,
                            lot.price,
                            lot.priority,
                            lot.paid,
                            lot.end,
                            None,
                            self.numbers,
                        )
                    )
            self.count("lapsed", lot.amount - over)
            self.breakage += (lot.amount - over) * lot.price
            lot.amount = Fraction(0)
