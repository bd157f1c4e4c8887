"""`drawdown budgets`, `budget`, `block`, `unblock`: limits, with what is used of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from shlex import quote
from typing import Annotated, Any, Final, get_args

import typer
from rich.text import Text
from rich.tree import Tree

from drawdown.cli import given
from drawdown.cli.commands import Id, Reason, decided
from drawdown.cli.context import Context
from drawdown.cli.doors import Door, in_path
from drawdown.cli.given import Customer, GatewayUrl, QueryUrl
from drawdown.cli.outcome import DENIED, USAGE, CommandError
from drawdown.cli.render import Json, show, show_json, show_raw, show_table, show_tree, tell
from drawdown.cli.said import blocked_about, left_about, margin_about
from drawdown.cli.wallet import pages
from drawdown.events.codec import decode_decision
from drawdown.events.limit_words import scope_words, terms_words
from drawdown.events.limits import EACH, Measure, Stretch
from drawdown.events.numbers import amount_of

app = typer.Typer(rich_markup_mode=None)
budget = typer.Typer(
    name="budget",
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Set, show and remove budgets.\n\nA budget caps what a scope uses in a window: a team a"
    " month, a key a day, each session of its life. All that a use is in must have room, or it is"
    " denied. `drawdown budgets CUSTOMER` draws them as a tree.",
)
app.add_typer(budget)

WINDOWS: Final = ("hour", "day", "week", "month", "life", "total")
MEASURES: Final = get_args(Measure)
OPEN_HOLDS: Final = "open_holds"
MARGIN: Final = "margin"
STRETCHES: Final = get_args(Stretch)
AT_CAP: Final = ("deny", "alert")
SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BAR: Final = 10
"""Characters of a bar."""
PART: Final = 100
"""Values that are asked for at a time."""
FULL: Final = 100
LOW: Final = 80
"""Percents from which a bar is red, and yellow."""

BudgetId = Annotated[str, typer.Argument(metavar="BUDGET", help="Its id.")]
Scope = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME=VALUE", help="Whose use: team=a key=k1."),
]


@app.command(
    epilog="""\b
Examples:
  drawdown budgets acme
  drawdown budgets acme --values 20      more of each session, key, ... of a budget with *
  drawdown budgets acme --json | jq -r '.budgets[] | select(.state.left == "0") | .id'"""
)
def budgets(
    customer: Customer,
    values: Annotated[
        int, typer.Option(min=0, max=1_000, help="Of a budget with *: so many, most used first.")
    ] = 3,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 200,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """Draw a customer's budgets as a tree, with what is used of each, and what is blocked.

    A budget stands under the one it is within: all on the way up must have room.
    """
    given.customer_id(customer)
    at = f"/v1/customers/{in_path(customer)}"
    with Context().query(query) as door:
        found = list(islice(pages(door, f"{at}/budgets", limit + 1), limit + 1))
        shown = found[:limit]
        used = {
            each["id"]: _values(door, at, each["id"], values)
            for each in shown
            if values and EACH in each["terms"].get("scope", {}).values()
        }
        blocked = list(islice(pages(door, f"{at}/blocks", limit), limit))
    if as_json:
        show_json({"budgets": shown, "values": used, "blocks": blocked})
    elif not shown and not blocked:
        tell(
            f"{customer} has no budget, and nothing is blocked:"
            f" `drawdown budget set {quote(customer)} all 500` caps a month"
        )
    else:
        if shown:
            show_tree(_tree(customer, shown, used))
        for each in blocked:
            show(Text(f"blocked  {blocked_about(each)}", style="red"))
    if len(found) > limit:
        tell(f"there are more: --limit {limit * 10}")


@budget.command(
    "show",
    epilog="""\b
Examples:
  drawdown budget show acme search
  drawdown budget show acme sessions --values 50 --json | jq -r '.values[].scope'""",
)
def show_one(
    customer: Customer,
    budget_id: BudgetId,
    values: Annotated[
        int, typer.Option(min=0, max=1_000, help="Of a budget with *: so many, most used first.")
    ] = 20,
    query: QueryUrl = None,
    as_json: Json = False,
) -> None:
    """Show one budget: its terms, and what is used of it."""
    given.customer_id(customer)
    at = f"/v1/customers/{in_path(customer)}"
    name = given.identifier("BUDGET", budget_id)
    with Context().query(query) as door:
        found = door.get(f"{at}/budgets/{in_path(name)}")["budget"]
        each = EACH in found["terms"].get("scope", {}).values()
        used = _values(door, at, name, values) if each and values else []
    if as_json:
        show_json({"budget": found, "values": used})
        return
    terms = found["terms"]
    show(f"budget   {found['id']} of {customer}", "bold")
    show(f"counts   {scope_words(terms.get('scope'))}")
    show(f"cap      {terms_words(terms)}")
    if terms.get("meters"):
        show(f"meters   {', '.join(terms['meters'])}")
    if found.get("parent"):
        show(f"within   {found['parent']}")
    show(f"tells at {', '.join(f'{percent} %' for percent in terms['alerts']) or 'nothing'}")
    if found.get("margin"):
        show(f"now      {margin_about(found['margin'])}")
    if found.get("state"):
        show(Text.assemble("now      ", _bar(found["state"]), f" {left_about(found['state'])}"))
    if used and terms.get("measure") == MARGIN:
        show()
        for one in used:
            show(f"{one['scope']}  {margin_about(one)}")
    elif used:
        show()
        show_table(
            ("value", ">used", ">held", ">left", ">%"),
            [
                (one["scope"], one["used"], one.get("held", "0"), one["left"], _percent(one))
                for one in used
            ],
        )
    elif each:
        show("now      nothing is used of it")


@budget.command(
    "set",
    epilog="""\b
Examples:
  drawdown budget set acme all 5000                             USD a month, of all that is used
  drawdown budget set acme search 500 team=search --zone Europe/Berlin
  drawdown budget set acme keys 50 team=search 'key=*' --every day      each key by itself
  drawdown budget set acme sessions 5 'session=*' --every life --idle 30m
  drawdown budget set acme burst 20 --every 15m                 of the last 15 minutes
  drawdown budget set acme renders 10 --measure open_holds      at a time
  drawdown budget set acme tokens 1000000 'agent=*' --measure quantity --quantity output
  drawdown budget set acme watch 100 --at-cap alert             tells, and denies nothing
  drawdown budget set acme pace 5000 'key=*' --times 5          tells at 5 times its usual hour
  drawdown budget set acme floor 20 --measure margin            percent of revenue, a month""",
)
def set_budget(
    customer: Customer,
    budget_id: BudgetId,
    cap: Annotated[
        str,
        typer.Argument(
            metavar="CAP", help="Decimal, e.g. 500; with --measure margin its floor in percent."
        ),
    ],
    scope: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Whose use counts; key=* is each key by itself."),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            metavar="WINDOW",
            help="hour, day, week, month (default); 15m, 6h, 7d: the last so long; life; total.",
        ),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Whose clock; default UTC.")
    ] = None,
    idle: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With life: over after so long without use; 1h."),
    ] = None,
    measure: Annotated[
        str, typer.Option(help="amount, quantity, requests, open_holds or margin.")
    ] = "amount",
    asset: Annotated[
        str | None, typer.Option(help="What the cap is an amount of; default USD.")
    ] = None,
    quantity: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --measure quantity.")
    ] = None,
    meter: Annotated[
        list[str] | None, typer.Option(help="Counts only this meter; repeat for more.")
    ] = None,
    at_cap: Annotated[str, typer.Option(help="deny, or alert only.")] = "deny",
    alert: Annotated[
        list[int] | None,
        typer.Option(metavar="PERCENT", help="Tell at it; default 50, 80 and 100; 0 for none."),
    ] = None,
    times: Annotated[
        int | None,
        typer.Option(min=2, max=1000, help="Tell at so many times its usual use in a stretch."),
    ] = None,
    stretch: Annotated[str, typer.Option(help="With --times: hour, day or week.")] = "hour",
    within: Annotated[
        str | None, typer.Option(metavar="BUDGET", help="What counts here counts there too.")
    ] = None,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Set a budget, or change one: what is given replaces all that was.

    What was used in the window stays used.
    """
    _one_of("--measure", measure, MEASURES)
    _one_of("--at-cap", at_cap, AT_CAP)
    counted = given.pairs("NAME=VALUE", scope)
    terms: dict[str, Any] = {
        "scope": counted,
        "window": _window(every or ("total" if measure == OPEN_HOLDS else "month"), zone, idle),
        "measure": measure,
        "at_cap": at_cap,
        "meters": [given.name("--meter", text) for text in meter or ()],
    }
    if measure == MARGIN:
        terms["floor"] = cap
    else:
        terms["cap"] = given.amount("CAP", cap)
    if times is not None:
        _one_of("--stretch", stretch, STRETCHES)
        terms["velocity"] = {"times": times, "every": stretch}
    if measure == "amount" or asset is not None:
        terms["asset"] = given.name("--asset", asset or "USD")
    if quantity is not None:
        terms["quantity"] = given.name("--quantity", quantity)
    if alert is not None:
        terms["alerts"] = [percent for percent in alert if percent]
    if within is not None:
        terms["within"] = given.identifier("--within", within)
    answer = decided(
        "budget",
        customer,
        _door(budget_id),
        {"budget": terms},
        reason,
        command_id,
        gateway,
        put=True,
    )
    said = f"{budget_id} of {customer}: {terms_words(terms)}, of {scope_words(counted)}"
    _told(answer, "set", said, as_json)


@budget.command(
    epilog="""\b
Example:
  drawdown budget remove acme search --reason "the project is over" """
)
def remove(
    customer: Customer,
    budget_id: BudgetId,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Remove a budget, with what was counted in it."""
    door = f"{_door(budget_id)}/remove"
    answer = decided("remove", customer, door, {}, reason, command_id, gateway)
    _told(answer, "removed", f"{budget_id} of {customer}", as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown block acme key=k-17 --reason leaked
  drawdown block acme agent=crawler session=s-81 --reason runaway --until 2027-01-01T00:00:00Z
  drawdown block acme --all --reason "under review"      the whole customer"""
)
def block(
    customer: Customer,
    reason: Annotated[str, typer.Option(help="Why; is kept in the entry, and told who asks.")],
    scope: Scope = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole customer.")] = False,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="RFC 3339; default until unblocked.")
    ] = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Block a scope: a leaked key, a runaway agent, a session.

    Whatever is asked for it once this command has ended is denied. What is used all the same is
    booked.
    """
    blocked = _scope(scope, everything)
    content = {"scope": blocked, "until_at": given.time_text("--until", until)}
    answer = decided("block", customer, "blocks", content, reason, command_id, gateway)
    _told(answer, "blocked", f"{scope_words(blocked)} of {customer}", as_json)


@app.command(
    epilog="""\b
Examples:
  drawdown unblock acme key=k-17 --reason "rotated"
  drawdown unblock acme --all"""
)
def unblock(
    customer: Customer,
    scope: Scope = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole customer.")] = False,
    reason: Reason = None,
    command_id: Id = None,
    gateway: GatewayUrl = None,
    as_json: Json = False,
) -> None:
    """Let a scope run again that was blocked; exit code 3 where it is not blocked."""
    freed = _scope(scope, everything)
    answer = decided("unblock", customer, "unblocks", {"scope": freed}, reason, command_id, gateway)
    _told(answer, "unblocked", f"{scope_words(freed)} of {customer}", as_json)


def _scope(texts: list[str] | None, everything: bool) -> dict[str, str]:
    """The scope that is meant; the whole customer only where that is said."""
    scope = given.pairs("NAME=VALUE", texts)
    if bool(scope) == everything:
        raise CommandError(
            "NAME=VALUE: say which scope, such as key=k-17, or --all for the whole customer", USAGE
        )
    return scope


def _one_of(option: str, text: str, names: tuple[str, ...]) -> None:
    if text not in names:
        raise CommandError(f"{option}: {text!r} is none of {', '.join(names)}", USAGE)


def _door(budget_id: str) -> str:
    return f"budgets/{in_path(given.identifier('BUDGET', budget_id))}"


def _window(every: str, zone: str | None, idle: str | None) -> dict[str, Any]:
    """The window that is meant: one of the calendar, or so long."""
    window: dict[str, Any] = {"every": every}
    if every not in WINDOWS:
        length_s = _seconds(every)
        if length_s is None:
            raise CommandError(
                f"--every: {every!r} is none of {', '.join(WINDOWS)}, nor so long: 15m, 6h, 7d",
                USAGE,
            )
        window = {"every": "rolling", "length_s": length_s}
    if zone is not None:
        window["zone"] = zone
    if idle is not None:
        window["idle_s"] = _seconds(idle)
        if window["idle_s"] is None:
            raise CommandError(f"--idle: {idle!r} is not so long: 90s, 30m, 1h", USAGE)
    return window


def _seconds(text: str) -> int | None:
    found = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    return None if found is None else int(found[1]) * SECONDS[found[2]]


def _told(answer: bytes, done: str, what: str, as_json: bool) -> None:
    """Say what came of a command."""
    decision = decode_decision(answer)
    if as_json:
        show_raw(answer)
    elif not decision.allowed:
        show(f"refused  {decision.reason}: {decision.detail or ''}".rstrip(": "))
    else:
        before = " (before: this is that result)" if decision.duplicate else ""
        show(f"{done:<10}{what}{before}")
        show(f"entry     {decision.sequence}")
    if not decision.allowed:
        raise typer.Exit(DENIED)


def _values(door: Door, at: str, budget_id: str, count: int) -> list[Any]:
    """The values of a budget of which most is used."""
    path = f"{at}/budgets/{in_path(budget_id)}/values"
    return list(islice(pages(door, path, min(count, PART)), count))


def _tree(customer: str, found: list[Mapping[str, Any]], used: Mapping[str, Iterable[Any]]) -> Tree:
    """The budgets below each other; one whose parent is not among them stands at the top."""
    ids = {each["id"] for each in found}
    below: dict[str | None, list[Mapping[str, Any]]] = {}
    for each in found:
        parent = each.get("parent")
        below.setdefault(parent if parent in ids else None, []).append(each)
    tree = Tree(Text(customer, style="bold"))
    waiting = [(tree, None)]
    while waiting:
        branch, parent = waiting.pop()
        for each in below.get(parent, ()):
            under = branch.add(_line(each))
            for one in used.get(each["id"], ()):
                under.add(_stands(one["scope"], one))
            waiting.append((under, each["id"]))
    return tree


def _line(each: Mapping[str, Any]) -> Text:
    terms, state = each["terms"], each.get("state")
    head = f"{each['id']}  {scope_words(terms.get('scope'))}  {terms_words(terms)}"
    state = state or each.get("margin")
    return Text(head) if state is None else _stands(head, state)


def _stands(head: str, state: Mapping[str, Any]) -> Text:
    """A budget or one of its values, with how it stands."""
    if "used" not in state:
        style = "red" if state.get("margin", "0").startswith("-") else ""
        return Text.assemble(f"{head}  ", (margin_about(state), style))
    return Text.assemble(f"{head}  ", _bar(state), f" {left_about(state)}")


def _percent(state: Mapping[str, Any]) -> int:
    gone = amount_of(state["used"]) + amount_of(state.get("held", "0"))
    cap = amount_of(state["cap"])
    return gone * 100 // cap if cap else FULL


def _bar(state: Mapping[str, Any]) -> Text:
    """What is used and held of a cap; full where more was."""
    percent = _percent(state)
    style = "red" if percent >= FULL else "yellow" if percent >= LOW else "green"
    filled = min(-(-percent * BAR // FULL), BAR)
    return Text("█" * filled + "░" * (BAR - filled), style=style)
