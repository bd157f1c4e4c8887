"""An advisory answer: from a replica of balances beside the caller, and from nobody else.

It takes microseconds and holds nothing: it says that there was enough a moment ago, and others may
be told the same of the same money. It knows no prices and no scopes of grants. Blocks and budgets
deny where the replica keeps their rows (`Replica(keep=LIMITS)`); where the customer has some that
it does not keep, the decision says that they were not looked at. Whoever needs a promise asks for a
hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from drawdown.client.errors import UnavailableError
from drawdown.client.questions import Amount, Quantities, number
from drawdown.events.decisions import Decision
from drawdown.events.limits import LimitState
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.reasons import Reason
from drawdown.events.structs import struct_of

STATES = {"suspended": Reason.WALLET_SUSPENDED, "closed": Reason.WALLET_CLOSED}

_Decision = struct_of(Decision)


class Holding(Protocol):
    """What there is of one asset."""

    @property
    def asset(self) -> str: ...

    @property
    def available(self) -> str: ...


class Balance(Protocol):
    """What a customer has."""

    @property
    def sequence(self) -> int: ...

    @property
    def state(self) -> str: ...

    @property
    def holdings(self) -> Sequence[Holding]: ...


class Denying(Protocol):
    """What the limits say of a use that a replica knows."""

    @property
    def blocked(self) -> str | None: ...

    @property
    def exceeded(self) -> str | None: ...

    @property
    def states(self) -> Sequence[LimitState]: ...

    @property
    def unseen(self) -> Sequence[str]: ...


class Balances(Protocol):
    """What is asked: a `drawdown.query.Replica`."""

    def balance(self, customer: str) -> Balance | None:
        """None where no wallet is known. Raises TimeoutError where that is too old to say."""

    def stale_ms(self, customer: str | None = None) -> int | None:
        """How old it may be."""

    def denying(
        self,
        customer: str,
        meter: str,
        dimensions: Mapping[str, str],
        asset: str | None = None,
        amount: int | None = None,
    ) -> Denying:
        """Which blocks and budgets deny a use."""


def worth(estimate: Quantities | Amount | None) -> Amount | None:
    """What an advisory question asks for. Raises ValueError where a replica cannot know."""
    if estimate is None:
        return None
    if not isinstance(estimate, Amount):
        raise ValueError(  # noqa: TRY004 - it may be asked, but not here
            "estimate: a replica knows no prices: give an Amount, or nothing to ask whether"
            " anything is left"
        )
    if amount_of(str(number(estimate.amount))) <= 0:
        raise ValueError("estimate: give an amount above 0")
    return estimate


def advise(
    balances: Balances,
    customer: str,
    meter: str,
    dimensions: Mapping[str, str],
    asked: Amount | None,
    id: str,
) -> Decision:
    """May this run, as far as the replica knows? Raises UnavailableError where it is too old."""
    try:
        balance = balances.balance(customer)
    except TimeoutError as error:
        raise UnavailableError(f"the replica: {error}") from error
    stale_ms = balances.stale_ms(customer)
    if balance is None:
        return _decision(id, customer, Reason.UNKNOWN_CUSTOMER, stale_ms)
    available = {holding.asset: holding.available for holding in balance.holdings}
    facts: dict[str, Any] = {"sequence": balance.sequence, "available": available}
    if balance.state in STATES:
        return _decision(id, customer, STATES[balance.state], stale_ms, **facts)
    amount = None if asked is None else amount_of(str(number(asked.amount)))
    if asked is not None and amount is not None:
        facts |= {"asset": asked.asset, "amount": amount_text(amount)}
    limits = balances.denying(
        customer, meter, dimensions, None if asked is None else asked.asset, amount
    )
    said = {"detail": _detail(limits), "limits": list(limits.states)}
    if limits.blocked is not None or limits.exceeded is not None:
        reason = Reason.BUDGET_EXCEEDED if limits.blocked is None else Reason.BLOCKED
        return _decision(id, customer, reason, stale_ms, **facts, **said)
    if asked is None or amount is None:
        enough = any(amount_of(left) > 0 for left in available.values())
        reason = Reason.OK if enough else Reason.INSUFFICIENT_BALANCE
        return _decision(id, customer, reason, stale_ms, **facts, **said)
    short = amount - amount_of(available.get(asked.asset, "0"))
    if short <= 0:
        return _decision(id, customer, Reason.OK, stale_ms, **facts, **said)
    facts["shortfall"] = amount_text(short)
    return _decision(id, customer, Reason.INSUFFICIENT_BALANCE, stale_ms, **facts, **said)


PROMISE = "by a replica of the balances: nothing is held, and it is no promise"


def _detail(limits: Denying) -> str:
    denied = limits.blocked or limits.exceeded
    said = PROMISE if denied is None else f"{denied}; {PROMISE}"
    if limits.unseen:
        said += f"; the customer's {' and '.join(limits.unseen)} were not looked at"
    return said


def _decision(
    id: str, customer: str, reason: Reason, stale_ms: int | None, **facts: Any
) -> Decision:
    return _Decision(
        kind="authorization",
        id=id,
        customer=customer,
        command="authorize",
        at=datetime.now(UTC),
        allowed=reason is Reason.OK,
        reason=reason,
        advisory=True,
        stale_ms=stale_ms,
        **{"detail": PROMISE, **facts},
    )
