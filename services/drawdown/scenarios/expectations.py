"""What a scenario can expect of a step: one line of `Then` and one of `FOUND` for each.

What is expected and what is found have the same form, so that a difference can be told side by
side. Amounts are compared as numbers: 0.10 is 0.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from drawdown.events.base import Count, CustomerId, Identifier, Name, StrictRecord
from drawdown.events.entries import kind_of_type
from drawdown.events.numbers import rational_text
from drawdown.events.reasons import Reason
from drawdown.scenarios.exact import Number
from drawdown.scenarios.statement import StatementThen, found_statement
from drawdown.scenarios.world import Outcome

PerAsset = dict[Name, Number]
Moved = dict[Name, Number | None]


def _known(code: str) -> str:
    if code not in set(Reason):
        raise ValueError(f"{code!r} is no reason code: schemas/README.md lists them")
    return code


ReasonCode = Annotated[str, AfterValidator(_known), WithJsonSchema({"enum": [*Reason]})]


class Grouped(StrictRecord):
    """The customer's debits so far, summed by what dimensions say: the groups there are, and no
    others."""

    by: Annotated[list[Name], Field(min_length=1, max_length=8)]
    groups: list[Group]


class Group(StrictRecord):
    """One group; what is not said is not looked at."""

    of: dict[Name, str]
    amount: Number | None = None
    revenue: Number | None = None
    cost: Number | None = None
    margin: Number | None = None
    margin_percent: Number | None = Field(default=None, description="Of the revenue")


class Then(StrictRecord):
    """What is expected after a step; what is not said is not looked at."""

    customer: CustomerId | None = Field(
        default=None, description="Whose; default: whoever the step's last happening is about"
    )
    # of what was decided
    allowed: bool | None = Field(default=None, description="Allowed, or done")
    reason: ReasonCode | None = Field(default=None, description="The decision's reason code")
    shortfall: Number | None = Field(default=None, description="What would have been needed more")
    read: PerAsset | None = Field(default=None, description="Available as the decision read it")
    allowed_count: Count | None = Field(default=None, description="Of the step's repetitions")
    denied_count: Count | None = Field(default=None, description="Of the step's repetitions")
    limits: dict[Identifier, Number] | None = Field(
        default=None,
        description="What is left of each budget, by its id: as the decision says, else after the"
        " last entry that counts in it",
    )
    margins: dict[Identifier, Number] | None = Field(
        default=None,
        description="What each margin that a budget watches is, by its id: as the decision says,"
        " else after the last entry that changes it",
    )
    denied_by: list[Identifier] | None = Field(default=None, description="Budgets, by their ids")
    told: dict[Identifier, list[int | Literal["sign", "floor", "velocity"]]] | None = Field(
        default=None,
        description="What the step tells of budgets: percents that it reached, a margin whose sign"
        " changed or that fell under its floor, a scope that uses many times its usual",
    )
    refused: ReasonCode | None = Field(
        default=None, description="Reason code of a record that was set aside as a dead letter"
    )
    # of the entries of the step
    entries: list[Moved] | None = Field(
        default=None, description="All of them, in order: kind and amount, null where it has none"
    )
    amount: Number | None = Field(
        default=None, description="Of the last entry; without one the price that was decided on"
    )
    asset: Name | None = Field(default=None, description="Of that amount")
    total: Number | None = Field(default=None, description="All that the step debited")
    allocations: PerAsset | None = Field(
        default=None,
        description="Grant -> what was taken of it, in the order it was taken; of one that comes"
        " again, by the id it was first given",
    )
    on_credit: Number | None = Field(default=None, description="Taken on credit by the step")
    overdrawn_by: Number | None = Field(default=None, description="What nothing was left for")
    revenue: Number | None = Field(default=None, description="Recognized by the step")
    cost: Number | None = None
    margin: Number | None = Field(default=None, description="Revenue less cost")
    margin_percent: Number | None = Field(default=None, description="Of the revenue")
    breakage: Number | None = Field(default=None, description="Paid for what lapsed")
    rate: Name | None = Field(default=None, description="That the last entry was priced by")
    match: str | None = Field(default=None, description="How it was found")
    book: Name | None = Field(default=None, description="The version it is of")
    rounding: str | None = Field(default=None, description="`exact`, or mode and places")
    running: Number | None = Field(default=None, description="Quantity of the period, after it")
    unpriced: str | None = Field(default=None, description="What has no price")
    # of the wallet
    balance: PerAsset | None = Field(
        default=None, description="Unspent grants less credit used and overdrawn"
    )
    available: PerAsset | None = Field(default=None, description="With unused credit")
    held: PerAsset | None = None
    credit_used: PerAsset | None = None
    overdrawn: PerAsset | None = None
    grants: PerAsset | None = Field(
        default=None,
        description="What is left of a grant, 0 where it is gone; of one that comes again, by the"
        " id it was first given",
    )
    totals: PerAsset | None = Field(
        default=None, description="Of the wallet: revenue, cost, margin, breakage, holds"
    )
    state: Literal["active", "suspended", "closed"] | None = None
    grouped: Grouped | None = None
    statement: StatementThen | None = Field(
        default=None, description="Of a month, as the journal has it by now"
    )


@dataclass(frozen=True)
class After:
    """What a step left behind, of one customer."""

    outcomes: Sequence[Outcome]
    entries: Sequence[Mapping[str, Any]]
    """Of the step."""
    journal: Sequence[Mapping[str, Any]]
    """All there are."""
    wallet: Mapping[str, Any] | None
    customer: str
    values: Sequence[bytes]
    """The journal as it stands on its topic."""
    reporting: str

    @property
    def data(self) -> Mapping[str, Any]:
        """Of the step's last entry with an amount, or the last one."""
        bodies: list[Mapping[str, Any]] = [entry["data"] for entry in self.entries]
        return next(
            (body for body in reversed(bodies) if body.get("amount") is not None),
            bodies[-1] if bodies else {},
        )

    @property
    def answer(self) -> Mapping[str, Any]:
        return (self.outcomes[-1].answer or {}) if self.outcomes else {}

    def sum(self, name: str) -> Fraction:
        """Of an amount over the step's entries."""
        return sum((_number(entry["data"].get(name)) for entry in self.entries), Fraction(0))

    def priced(self, name: str) -> Any:
        """A field of the last entry's price."""
        found = [e["data"]["price"] for e in self.entries if e["data"].get("price")]
        return found[-1].get(name) if found else None


@dataclass(frozen=True)
class Check:
    """One thing that was expected, and what was found."""

    name: str
    """Such as `balance.USD`."""
    path: tuple[str, ...]
    """Below `then`."""
    expected: Any
    found: Any
    ok: bool = field(default=False)


def check(then: Then, after: After) -> list[Check]:
    """Everything a step expects, beside what is there."""
    checks: list[Check] = []
    for name in Then.model_fields:
        expected = getattr(then, name)
        if name not in FOUND or name not in then.model_fields_set:
            continue
        if isinstance(expected, StrictRecord):
            expected = expected.model_dump(exclude_unset=True)
        found = FOUND[name](after, expected)
        if isinstance(expected, dict) and isinstance(found, dict) and name not in WHOLE:
            for key, value in expected.items():
                there = found.get(key)
                checks.append(
                    Check(f"{name}.{key}", (name, key), value, there, _same(value, there))
                )
        else:
            checks.append(Check(name, (name,), expected, found, _same(expected, found)))
    return checks


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, dict) and isinstance(found, dict):
        return list(expected) == list(found) and all(
            _same(value, found[key]) for key, value in expected.items()
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_same, expected, found))
    if isinstance(expected, str) and isinstance(found, str):
        return expected == found or _equal(expected, found)
    return bool(expected == found)


def _equal(expected: str, found: str) -> bool:
    try:
        return Fraction(expected) == Fraction(found)
    except (ValueError, ZeroDivisionError):
        return False


def _number(text: Any) -> Fraction:
    return Fraction(text or "0")


def _exact(value: Fraction) -> str:
    return rational_text(value)


def _percent(part: Fraction, whole: Fraction) -> str | None:
    """None where there is no whole."""
    return _exact(part * 100 / whole) if whole else None


# What is found


def _entries(after: After, _: Any) -> list[dict[str, str | None]]:
    return [{kind_of_type(e["type"]): e["data"].get("amount")} for e in after.entries]


def _total(after: After, _: Any) -> str:
    debits = [e["data"] for e in after.entries if kind_of_type(e["type"]) in DEBITS]
    return _exact(sum((_number(data["amount"]) for data in debits), Fraction(0)))


def _allocations(after: After, expected: Mapping[str, Any]) -> dict[str, str]:
    taken: dict[str, Fraction] = {}
    for entry in after.entries:
        for part in entry["data"].get("allocations", ()):
            first = part["grant"].partition("@")[0]
            grant = first if first in expected else part["grant"]
            taken[grant] = taken.get(grant, Fraction(0)) + _number(part["amount"])
    return {grant: _exact(amount) for grant, amount in taken.items()}


def _account(name: str) -> Callable[[After, Any], dict[str, str]]:
    def found(after: After, expected: Mapping[str, Any]) -> dict[str, str]:
        accounts = {a["asset"]: a for a in (after.wallet or {}).get("accounts", ())}
        return {asset: accounts.get(asset, {}).get(name) or "0" for asset in expected}

    return found


def _grants(after: After, expected: Mapping[str, Any]) -> dict[str, str]:
    left = dict.fromkeys(expected, Fraction(0))
    for grant in (after.wallet or {}).get("grants", ()):
        for name in {grant["id"], grant["id"].partition("@")[0]} & left.keys():
            left[name] += _number(grant["remaining"])
    return {name: _exact(amount) for name, amount in left.items()}


def _totals(after: After, expected: Mapping[str, Any]) -> dict[str, str]:
    wallet = after.wallet or {}
    margin = _number(wallet.get("revenue")) - _number(wallet.get("cost"))
    return {
        name: _exact(margin) if name == "margin" else str(wallet.get(name) or "0")
        for name in expected
    }


def _grouped(after: After, expected: Mapping[str, Any]) -> dict[str, Any]:
    """In the order the file has them, those it does not have last."""
    sums: dict[tuple[str, ...], dict[str, Fraction]] = {}
    for entry in after.journal:
        data = entry["data"]
        if kind_of_type(entry["type"]) not in DEBITS or not data.get("usage"):
            continue
        key = tuple(data["usage"]["dimensions"].get(name, "") for name in expected["by"])
        group = sums.setdefault(
            key, {"amount": Fraction(0), "revenue": Fraction(0), "cost": Fraction(0)}
        )
        for name in group:
            group[name] += _number(data.get(name))
    order = [
        tuple(group["of"].get(name, "") for name in expected["by"]) for group in expected["groups"]
    ]
    said = dict(zip(order, expected["groups"], strict=True))
    groups = []
    for key in [*(k for k in order if k in sums), *(k for k in sums if k not in said)]:
        found = sums[key]
        margin = found["revenue"] - found["cost"]
        texts = {name: _exact(value) for name, value in found.items()}
        texts |= {"margin": _exact(margin)}
        texts |= {"margin_percent": _percent(margin, found["revenue"]) or "-"}
        wanted = said.get(key, {"amount": None})
        of = dict(zip(expected["by"], key, strict=True))
        groups.append({n: of if n == "of" else texts[n] for n in {"of": of, **wanted}})
    return {"by": expected["by"], "groups": groups}


def _margin(after: After, _: Any) -> str:
    return _exact(after.sum("revenue") - after.sum("cost"))


def _margin_percent(after: After, _: Any) -> str | None:
    revenue = after.sum("revenue")
    return _percent(revenue - after.sum("cost"), revenue)


def _amount(after: After, _: Any) -> str | None:
    return after.data.get("amount") or after.answer.get("amount")


def _asset(after: After, _: Any) -> str | None:
    return after.data.get("asset") or after.answer.get("asset")


def _running(after: After, _: Any) -> str | None:
    found = [e["data"]["running"] for e in after.entries if e["data"].get("running")]
    return str(found[-1].get("after", "0")) if found else None


def _answered(*, allowed: bool) -> Callable[[After, Any], int]:
    def found(after: After, _: Any) -> int:
        answers = [outcome.answer for outcome in after.outcomes if outcome.answer is not None]
        return sum(bool(answer["allowed"]) == allowed for answer in answers)

    return found


def _read(after: After, expected: Mapping[str, Any]) -> dict[str, str]:
    available = after.answer.get("available", {})
    return {asset: available.get(asset, "0") for asset in expected}


def _limits(after: After, _: Any) -> dict[str, str]:
    left: dict[str, str] = {}
    for entry in after.entries:
        for limit in entry["data"].get("limits", ()):
            spent = _number(limit.get("after")) + _number(limit.get("held"))
            left[limit["budget"]] = _exact(max(_number(limit["cap"]) - spent, Fraction(0)))
    for limit in after.answer.get("limits", ()):
        left[limit["budget"]] = limit.get("left", "0")
    return left


def _margins(after: After, _: Any) -> dict[str, str]:
    changed = [margin for entry in after.entries for margin in entry["data"].get("margins", ())]
    return {
        margin["budget"]: _exact(_number(margin.get("revenue")) - _number(margin.get("cost")))
        for margin in (*changed, *after.answer.get("margins", ()))
    }


def _denied_by(after: After, _: Any) -> list[str]:
    limits, margins = after.answer.get("limits", ()), after.answer.get("margins", ())
    return [
        *(limit["budget"] for limit in limits if limit.get("wanted") is not None),
        *(margin["budget"] for margin in margins if margin.get("denies")),
    ]


def _told(after: After, _: Any) -> dict[str, list[int | str]]:
    told: dict[str, list[int | str]] = {}
    for entry in after.entries:
        data = entry["data"]
        for each in (*data.get("limits", ()), *data.get("margins", ())):
            if each.get("tells"):
                told.setdefault(each["budget"], []).extend(each["tells"])
        for pace in data.get("paces", ()):
            if pace.get("tells"):
                told.setdefault(pace["budget"], []).append("velocity")
    return told


DEBITS: Final = frozenset({"debit", "capture"})
WHOLE: Final = frozenset({"allocations", "grouped", "statement", "told"})
"""What is expected as a whole: nothing else may be there, and in this order."""
FOUND: Final[Mapping[str, Callable[[After, Any], Any]]] = {
    "allowed": lambda after, _: after.answer.get("allowed"),
    "reason": lambda after, _: after.answer.get("reason"),
    "shortfall": lambda after, _: after.answer.get("shortfall"),
    "read": _read,
    "allowed_count": _answered(allowed=True),
    "denied_count": _answered(allowed=False),
    "limits": _limits,
    "margins": _margins,
    "denied_by": _denied_by,
    "told": _told,
    "refused": lambda after, _: after.outcomes[-1].refused if after.outcomes else None,
    "entries": _entries,
    "amount": _amount,
    "asset": _asset,
    "total": _total,
    "allocations": _allocations,
    "on_credit": lambda after, _: _exact(after.sum("credit")),
    "overdrawn_by": lambda after, _: _exact(after.sum("overdrawn")),
    "revenue": lambda after, _: _exact(after.sum("revenue")),
    "cost": lambda after, _: _exact(after.sum("cost")),
    "margin": _margin,
    "margin_percent": _margin_percent,
    "breakage": lambda after, _: _exact(after.sum("breakage")),
    "rate": lambda after, _: after.priced("rate"),
    "match": lambda after, _: after.priced("match"),
    "book": lambda after, _: after.priced("book"),
    "rounding": lambda after, _: after.priced("rounding"),
    "running": _running,
    "unpriced": lambda after, _: after.priced("unpriced"),
    "balance": _account("balance"),
    "available": _account("available"),
    "held": _account("held"),
    "credit_used": _account("credit_used"),
    "overdrawn": _account("overdrawn"),
    "grants": _grants,
    "totals": _totals,
    "state": lambda after, _: (after.wallet or {}).get("state") or "active",
    "grouped": _grouped,
    "statement": lambda after, expected: found_statement(
        after.customer, after.values, after.reporting, expected
    ),
}
"""What is there, in the form it is expected in."""
