"""`drawdown explain`: an entry line by line, so that a customer's question has an answer.

The price is worked out again from the published rate, and compared with what was booked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Final

import msgspec
import typer

from drawdown.cli import given
from drawdown.cli.context import Context
from drawdown.cli.decided import decision_about, story
from drawdown.cli.explain_hold import show_hold, show_parts, show_read, show_since
from drawdown.cli.explain_limits import show_limits
from drawdown.cli.explain_subscription import show_subscription
from drawdown.cli.given import Customer, QueryUrl
from drawdown.cli.history import Found, MissingError, Wanted, find
from drawdown.cli.outcome import FAILED, USAGE, CommandError
from drawdown.cli.price_formulas import Given, counted
from drawdown.cli.price_lines import Sum, exact_text, worked_out
from drawdown.cli.published import matches_text, since
from drawdown.cli.render import Json, pairs, show, show_json, show_table, tell_error, time_text
from drawdown.cli.said import OUT, entry_kind, topup_about
from drawdown.cli.wallet import margin, recurrence_text, scope_text
from drawdown.events.base import timestamp_text
from drawdown.events.codec import RecordError, kind_of
from drawdown.events.numbers import amount_of, amount_text
from drawdown.ledger.journal import unseal
from drawdown.settlement.books import Content
from drawdown.settlement.publish import read_topic

app = typer.Typer(rich_markup_mode=None)

REPORTED: Final = "reported"
PAID: Final = frozenset({"debit", "hold", "capture"})
"""Kinds of entry whose amount is the sum of what was taken."""
OTHERWISE: Final = frozenset({"rollover", "settle", "void", "adjust", "convert", "reversal"})
"""Kinds whose amount may add or take: by how much says the balance."""
ABOVE: Final = {"allow": "what is used is taken too", "cap": "what is used is left uncharged"}


@app.command(
    epilog="""\b
Examples:
  drawdown explain acme                the last entry
  drawdown explain acme 17             entry 17
  drawdown explain acme req-17         the entry of a usage event or a grant
  drawdown explain acme --id 17        where an event's id is a number
  drawdown explain acme run-5          a hold, and what became of it; or why it was denied

Exit code 1 where what was booked is not what the arithmetic gives."""
)
def explain(
    customer: Customer,
    entry: Annotated[
        str | None,
        typer.Argument(metavar="ENTRY", help="Its number, or the id of the event or command."),
    ] = None,
    entry_id: Annotated[
        str | None, typer.Option("--id", help="The id of the event or command.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Of the event, where two sources use the same id.")
    ] = None,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """Show how an entry's price came about, line by line; or why something was denied.

    Quantities times prices, the sum, the rounding; the price book it is from; the cost and the
    margin; what was taken from which grant; and of a hold what became of it. A denial or a check
    is no entry: of its id, the last decision is told.
    """
    given.customer_id(customer)
    wanted = wanted_entry(entry, entry_id, source)
    context = Context()
    try:
        with context.query(query) as door:
            found = find(door, customer, wanted)
    except MissingError:
        if not _explain_decision(context, customer, wanted, as_json=as_json):
            raise
        return
    content = None
    price = found.entry["data"].get("price")
    if price is not None:
        content = read_topic(context.kafka(), context.config.topics, keep=True).contents.get(
            price["book"]
        )
    explained = Explained(found, content)
    if as_json:
        show_json(explained.as_json())
    else:
        _show(explained)
    if explained.problems:
        for problem in explained.problems:
            tell_error(problem)
        raise typer.Exit(FAILED)


def _explain_decision(context: Context, customer: str, wanted: Wanted, *, as_json: bool) -> bool:
    """Show what was decided about a command that is in no entry; False where nothing was."""
    if wanted.id is None or wanted.source is not None:
        return False
    try:
        cluster = context.kafka()
    except CommandError:
        return False  # the entry is what is missing, not Kafka
    decision = decision_about(cluster, context.config.topics, customer, wanted.id)
    if decision is None:
        return False
    if as_json:
        show_json({"decision": decision})
    else:
        for line in story(decision):
            show(line)
    return True


def wanted_entry(entry: str | None, entry_id: str | None, source: str | None) -> Wanted:
    """Which entry is meant: by number, or by the id of its event or command."""
    if entry is not None and entry_id is not None:
        raise CommandError("--id: give either ENTRY or --id", USAGE)
    if entry_id is None and entry is not None and not (entry.isascii() and entry.isdigit()):
        entry_id = entry
    if source is not None and entry_id is None:
        raise CommandError("--source: is for the id of an event, which is not given", USAGE)
    if entry_id is not None:
        return Wanted(id=given.identifier("ENTRY", entry_id), source=source)
    return Wanted(sequence=None if entry is None else int(entry))


@dataclass(frozen=True)
class Taken:
    """What an entry took from one grant; amounts as text."""

    grant: str
    before: str
    amount: str
    after: str
    revenue: str


class Explained:
    """An entry with its arithmetic done again, and what does not come out."""

    def __init__(self, found: Found, content: Content | None) -> None:
        self.entry = found.entry
        self.data: Mapping[str, Any] = found.entry["data"]
        self.kind = entry_kind(found.entry)
        self.hold: Mapping[str, Any] = self.data.get("hold") or {}
        self.since = found.since
        self.content = content
        self.price: Sum | None = None
        self.cost: Sum | None = None
        self.problems: list[str] = []
        self.taken = [
            Taken(
                part["grant"],
                amount_text(found.before.get(part["grant"], 0)),
                part["amount"],
                amount_text(found.after.get(part["grant"], 0)),
                part.get("revenue", "0"),
            )
            for part in self.data.get("allocations", ())
        ]
        self._work_out()
        self._check_sums()
        try:
            unseal(found.value)
        except RecordError as error:
            self.problems.append(str(error))

    @property
    def asset(self) -> str:
        return str(self.data.get("asset") or "")

    @property
    def reporting(self) -> str:
        return self.content.commit.reporting if self.content is not None else ""

    def amount(self, field: str) -> str:
        """An amount of the entry; nothing is zero."""
        return str(self.data.get(field) or "0")

    @property
    def moved(self) -> int:
        """By how much the balance changed: what a hold had was not in it any more."""
        amount = amount_of(self.amount("amount"))
        if self.kind in OTHERWISE:
            return amount_of(self.amount("after")) - amount_of(self.amount("before"))
        if self.kind == "capture":
            return self.of_hold("taken") + self.of_hold("returned") - amount
        return -amount if self.kind in OUT else amount

    def of_hold(self, name: str) -> int:
        """What the hold gave: `taken` by a capture, or `returned`."""
        parts = sum(amount_of(part["amount"]) for part in self.hold.get(name, ()))
        return parts + amount_of(self.hold.get(f"{name}_credit", "0"))

    def _work_out(self) -> None:
        usage, price = self.data.get("usage") or self.hold.get("use"), self.data.get("price")
        if usage is None or price is None or "reverses" in self.data:
            return
        if price.get("rounding") is None and not price.get("unpriced"):
            return  # an amount was stated, and nothing was priced
        if self.content is None:
            self.problems.append(
                f"price book {price['book']!r} is not on its topic: the price cannot be worked out"
            )
            return
        self.price = self._sum(price.get("rate"), self.content.prices, usage, priced=True)
        charged = str(self.hold.get("charge") or self.amount("amount"))
        if self.price is not None and not self._as_charged(self.price, amount_of(charged)):
            self.problems.append(
                f"the entry says {charged}, the arithmetic gives {amount_text(self.price.charge)}"
            )
        if price.get("cost_rate") == REPORTED:
            return
        self.cost = self._sum(price.get("cost_rate"), self.content.costs, usage)
        if self.cost is not None and self.cost.charge != amount_of(self.amount("cost")):
            self.problems.append(
                f"the entry says a cost of {self.amount('cost')}, the arithmetic gives"
                f" {amount_text(self.cost.charge)}"
            )

    def _sum(
        self,
        rate_id: str | None,
        rates: Sequence[Any],
        usage: Mapping[str, Any],
        *,
        priced: bool = False,
    ) -> Sum | None:
        if rate_id is None or self.content is None:
            return None
        rate = next((rate for rate in rates if rate.id == rate_id), None)
        if rate is None:
            self.problems.append(f"price book {self.content.commit.version!r} has no {rate_id!r}")
            return None
        asset = next(asset for asset in self.content.assets if asset.code == rate.asset)
        running = self.data.get("running") or {}
        if priced and (running.get("undone") or (not running and self.hold and counted(rate))):
            return None  # what its key was charged, or an estimate by a quantity that ran on
        before, after = _place(running)
        given = Given(
            dimensions=usage["dimensions"],
            cost=Fraction(self.amount("cost")),
            before=None if running.get("first") else Fraction(before),
            after=Fraction(after) if running else None,
        )
        return worked_out(rate, asset, usage["quantities"], given)

    def _as_charged(self, found: Sum, charged: int) -> bool:
        """Whether the arithmetic gives what was charged. No more is given back than was charged in
        the period, and use of a committed period that comes after its true-up is paid by that."""
        if found.charge == charged:
            return True
        if not counted(found.rate):
            return False
        if kind_of(found.rate.price) == "commitment":
            return 0 <= charged <= found.charge
        return found.charge <= charged <= 0

    def _check_sums(self) -> None:
        if self.data.get("amount") is None:
            return
        amount = amount_of(self.amount("amount"))
        if self.kind in PAID:
            paid = sum(amount_of(part.amount) for part in self.taken)
            paid += amount_of(self.amount("credit")) + amount_of(self.amount("overdrawn"))
            if paid != amount:
                self.problems.append(f"{amount_text(paid)} was taken for {amount_text(amount)}")
        if amount_of(self.amount("before")) + self.moved != amount_of(self.amount("after")):
            self.problems.append("the balance after is not the balance before and the amount")

    def as_json(self) -> dict[str, Any]:
        """All of it. A `sum` or `product` without end is a fraction."""
        book = None
        if self.content is not None:
            book = {
                "version": self.content.commit.version,
                "effective_at": timestamp_text(self.content.commit.effective_at),
                "offset": self.content.book.offset,
            }
        left = amount_of(self.amount("revenue")) - amount_of(self.amount("cost"))
        return {
            "entry": self.entry,
            "book": book,
            "price": None if self.price is None else self.price.as_json(),
            "cost": None if self.cost is None else self.cost.as_json(),
            "taken": [msgspec.to_builtins(part) for part in self.taken],
            "margin": amount_text(left),
            "since": list(self.since),
            "problems": self.problems,
        }


# In words


def _show(explained: Explained) -> None:
    entry, data = explained.entry, explained.data
    amount = data.get("amount")
    of = "" if amount is None else f" of {amount} {explained.asset}"
    show(f"entry {data['sequence']} of {entry['subject']}: {explained.kind}{of}", "bold")
    show(f"time        {time_text(entry['time'])}")
    show(f"cause       {_cause(data)}")
    if data.get("id"):
        source = f" of source {data['source']}" if data.get("source") else ""
        show(f"id          {data['id']}{source}")
    if data.get("reason"):
        show(f"reason      {data['reason']}")
    if explained.hold:
        show_hold(explained)
    if data.get("read"):
        show_read(data)
    if data.get("usage") or explained.hold.get("use"):
        _show_usage(explained)
    show_subscription(data)
    show_limits(data)
    if data.get("grant"):
        _show_grant(explained)
    if data.get("terms"):
        _show_terms(data["terms"])
    _show_correction(explained)
    if explained.taken or explained.kind in PAID:
        _show_taken(explained)
    if explained.hold:
        show_parts(explained)
    _show_balance(explained)
    if explained.hold:
        show_since(explained)
    if not explained.problems:
        show()
        show("checked: the arithmetic, the sums and the entry's digest are right", "green")


def _cause(data: Mapping[str, Any]) -> str:
    cause = data["cause"]
    if cause.get("timer"):
        return f"timer {cause['timer']}, due {time_text(cause.get('due_at'))}"
    key = f", by key {data['actor']}" if data.get("actor") else ""
    late = cause.get("accepted_late_by")
    accepted = "" if late is None else f", accepted late by {late}"
    return f"{cause['topic']}[{cause.get('partition', 0)}]@{cause.get('offset', 0)}{key}{accepted}"


def _show_usage(explained: Explained) -> None:
    price = explained.data.get("price") or {}
    usage = explained.data.get("usage") or explained.hold["use"]
    done = "used  " if explained.data.get("usage") else "for   "
    show(f"{done}      {time_text(usage['time'])}")
    show(f"meter       {usage['meter']}: {pairs(usage['quantities'])}")
    show(f"dimensions  {pairs(usage['dimensions']) or '-'}")
    if not price:
        return  # an amount was captured, and nothing was priced
    show()
    commit = None if explained.content is None else explained.content.commit
    effect = ""
    if commit is not None:
        effect = f", in effect {_from(since(timestamp_text(commit.effective_at)))}"
    show(f"price       book {price.get('book')} (price-book@{price.get('book_offset')}){effect}")
    running = explained.data.get("running")
    if running:
        start = running.get("starts_at")
        period = "for life" if start is None else f"from {time_text(start)}"
        before, after = _place(running)
        show(f"period      {period}: {before} before, {after} after ({running['counter']})")
    if price.get("unpriced"):
        show(f"            no price: {price['unpriced']}; recorded, to be priced later")
    if explained.price is not None:
        show_sum(explained.price, explained.price.rate.asset)
    if not explained.data.get("usage"):
        return  # nothing was used yet: it cost nothing
    show()
    if price.get("cost_rate") == REPORTED:
        show(f"cost        {explained.amount('cost')} {explained.reporting}, as the event reported")
    elif explained.cost is not None:
        show(f"cost        to us, from the same book, in {explained.reporting}")
        show_sum(explained.cost, explained.reporting)
    else:
        show("cost        no cost rate matches")


def _from(instant: str) -> str:
    return instant if instant == "always" else f"from {instant}"


def show_sum(found: Sum, asset: str) -> None:
    show(f"            rate {found.rate.id}, which matches {matches_text(found.rate)}")
    show()
    priced = [line for line in found.lines if line.price is not None]
    products = aligned([exact_text(line.product) for line in priced] + [exact_text(found.total)])
    rows: list[tuple[object, ...]] = [
        (f"  {line.quantity}", line.used, f"x {line.price}", per_text(line.per), f"= {product}")
        for line, product in zip(priced, products, strict=False)
    ]
    rows.append(("  sum", "", "", "", f"= {products[-1]}"))
    show_table(("  quantity", ">used", "price", "per", "product"), rows)
    for line in found.lines:
        if line.price is None:
            show(f"  {line.quantity} {line.used} has no price in this rate")
    show(f"  rounding  {found.rounding}")
    show(f"  charge    {amount_text(found.charge)} {asset}")


def per_text(per: int | str) -> str:
    return f"/ {per:,}" if isinstance(per, int) else f"/ {per}" if per else ""


def aligned(texts: Sequence[str]) -> list[str]:
    """Numbers one below the other, point below point."""
    whole = max(len(text.partition(".")[0]) for text in texts)
    return [" " * (whole - len(text.partition(".")[0])) + text for text in texts]


def _show_grant(explained: Explained) -> None:
    grant = explained.data["grant"]
    show()
    show(f"grant       {grant['id']}, {grant['category']}, priority {grant['priority']}")
    starts = "at once" if grant.get("at_once") else time_text(grant["effective_at"])
    ends = time_text(grant["expires_at"]) if grant.get("expires_at") else "never"
    show(f"in effect   {starts}; expires {ends}")
    if grant.get("recurrence"):
        show(f"comes again {recurrence_text(grant)}")
    if grant.get("subscription"):
        show(f"granted by  subscription {grant['subscription']}: it pays no fees and no debts")
    if grant.get("rolled"):
        show(f"rolled over what was left of {grant['rolled']}")
    show(f"pays for    {scope_text(grant.get('scope'))}")
    show(f"sold for    {grant['paid']} in the reporting currency")
    for field, what in (("overdrawn", "overdrawn"), ("credit", "used on credit")):
        owed = amount_of(explained.amount(field))
        if owed:
            show(f"paid back   {amount_text(-owed)} {explained.asset} that was {what}")


def _show_terms(terms: Mapping[str, Any]) -> None:
    show()
    for asset, limit in terms.get("credit_limits", {}).items():
        show(f"credit limit  {limit} {asset}")
    for asset, amounts in terms.get("thresholds", {}).items():
        show(f"tells below   {', '.join(amounts) or 'nothing'} {asset}")
    if terms.get("capture_policy"):
        show(f"above a hold  {ABOVE[terms['capture_policy']]}")
    if terms.get("outage"):
        outage = terms["outage"]
        show(f"in an outage  runs up to {outage['amount']} {outage['asset']}")
    if terms.get("drawdown"):
        show(f"pays first    as {terms['drawdown']} has it")
    if terms.get("holds_max") is not None:
        show(f"open holds    {terms['holds_max']} at most")


def _place(running: Mapping[str, Any]) -> tuple[str, str]:
    """The running quantity before and after what an entry was priced for."""
    before, after = running.get("place") or (running.get("before", "0"), running.get("after", "0"))
    return str(before), str(after)


def _show_correction(explained: Explained) -> None:
    data = explained.data
    if rerates := data.get("rerates"):
        was = "it had no price" if rerates.get("amount") is None else f"{rerates['amount']} before"
        show(
            f"re-rating {rerates['run']}: prices entry {rerates['sequence']} anew, {was}"
            f" by book {rerates['book']}"
        )
    reverses, conversion = data.get("reverses"), data.get("conversion")
    if reverses:
        back = "comes back" if reverses["back"] else "is taken back"
        last = "; it cannot be reversed again" if reverses.get("again") else ""
        show(f"reverses    entry {reverses['sequence']}, a {reverses['kind']}: {back}{last}")
    if void := data.get("void"):
        kept = "; what is left is kept to its end" if void.get("kept") else ""
        whole = f"; a whole cycle of it is {void['whole']}" if void.get("whole") else ""
        lives = (
            f"it lives on with the rest{whole}" if void.get("part") else f"it comes no more{kept}"
        )
        what = "taken from" if void.get("part") else "ended"
        show(f"{what:<12}grant {void['grant']}: {lives}")
        if void.get("refunded") is not None:
            show(f"refunded    {void['refunded']} was paid for what is taken")
    if statement := data.get("statement"):
        sums = statement["sums"]
        show(f"statement   {statement['number']}, {sums['starts_at']} to {sums['ends_at']}")
        show(f"entries     {sums['first_sequence']} to {sums['last_sequence']}")
    if conversion:
        to = "for" if data.get("grant") else "to"
        show(
            f"converted   {to} {conversion['amount']} {conversion['asset']}, at"
            f" {conversion['price']} for one"
        )
    if data.get("state"):
        show(f"state       {data['state']}")
    if topup := data.get("topup"):
        show(f"top-up      {topup_about(topup)}")
    if explained.amount("breakage") != "0":
        show(f"breakage    {explained.amount('breakage')} was paid for what is gone")


def _show_taken(explained: Explained) -> None:
    show()
    rows: list[tuple[object, ...]] = [
        (f"  grant {part.grant}", part.before, part.amount, part.after, part.revenue)
        for part in explained.taken
    ]
    for field, what in (("credit", "on credit"), ("overdrawn", "overdrawn")):
        if explained.amount(field) != "0":
            rows.append((f"  {what}", None, explained.amount(field), None, None))
    if rows:
        show_table(("taken from", ">before", ">taken", ">after", ">revenue"), rows)


def _show_balance(explained: Explained) -> None:
    data = explained.data
    if data.get("amount") is not None:
        moved = explained.moved
        sign = "-" if moved < 0 or (not moved and explained.kind in OUT) else "+"
        show()
        show(
            f"balance     {explained.amount('before')} {sign} {amount_text(abs(moved))}"
            f" = {explained.amount('after')} {explained.asset}"
        )
    revenue, cost = explained.amount("revenue"), explained.amount("cost")
    if (revenue, cost) != ("0", "0"):
        left = f"{margin(revenue, cost)} {explained.reporting}".rstrip()
        show(f"margin      revenue {revenue} - cost {cost} = {left}")
