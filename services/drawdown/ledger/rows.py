"""Rows to bytes and back: the form they have on `balances` and in every store.

One encoding for both, so that a rebuilt store, a live one and the topic can be compared byte for
byte. Decimal text costs more than integers would; it is what makes the topic readable to all.

Every debit writes a wallet, so its JSON is put together from text here: a quarter of the time of
the generic encoder, which must give the same bytes (`wallet_record`; a test holds it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from drawdown.events import rows as wire
from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import decode_row, decode_wallet, encode, kind_of, quoted
from drawdown.events.commands import Category
from drawdown.events.commands import Scope as ScopeRecord
from drawdown.events.entries import (
    GrantFacts,
    HeldPart,
    RecurrenceFacts,
    SubscriptionFacts,
)
from drawdown.events.numbers import amount_of, amount_text, rational_of, rational_text
from drawdown.events.statements import IssuedFacts
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.budgets import Budget, Scoped, Spent, number_of, number_text
from drawdown.ledger.drawdown import spendable
from drawdown.ledger.limit_rows import LIMIT_RECORDS, LIMIT_ROWS
from drawdown.ledger.margin_floor import MarginSum
from drawdown.ledger.topup_values import (
    Topup,
    TopupRequest,
    request_of,
    request_record,
    topup_of,
    topup_record,
)
from drawdown.ledger.values import (
    NEVER,
    NO_FLOWS,
    NO_POLICY,
    Account,
    ChargedPart,
    FeePaid,
    Flows,
    Grant,
    GrantTerms,
    HeldLimit,
    Hold,
    Issued,
    Part,
    Policy,
    Reversed,
    Running,
    Scope,
    Seen,
    SeenKey,
    Subscription,
    SubscriptionDue,
    Wallet,
    live_grant,
    next_due,
)
from drawdown.ledger.velocity import Pace

Row = (
    Wallet
    | Hold
    | Running
    | Seen
    | Reversed
    | Subscription
    | Budget
    | Scoped
    | Spent
    | Topup
    | TopupRequest
    | MarginSum
    | Pace
)
"""Every kind of row there is."""

steady_text = lru_cache(maxsize=4096)(amount_text)
"""Text of amounts that seldom change: many wallets have the same."""
steadily_quoted = lru_cache(maxsize=1024)(quoted)

_WalletRow = struct_of(wire.WalletRow)
_AccountRow = struct_of(wire.AccountRow)
_GrantRow = struct_of(wire.GrantRow)
_HoldRow = struct_of(wire.HoldRow)
_RunningRow = struct_of(wire.RunningRow)
_SeenRow = struct_of(wire.SeenRow)
_SeenKey: Callable[..., wire.SeenKey] = struct_of(wire.SeenKey)
_ChargedPart: Callable[..., wire.ChargedPart] = struct_of(wire.ChargedPart)
_ReversedRow = struct_of(wire.ReversedRow)
_SubscriptionFacts = struct_of(SubscriptionFacts)
_SubscriptionDue: Callable[..., wire.SubscriptionDue] = struct_of(wire.SubscriptionDue)
_SubscriptionRow = struct_of(wire.SubscriptionRow)
_ChargedFee = struct_of(wire.ChargedFee)
_HeldPart: Callable[[str, str], HeldPart] = struct_of(HeldPart)
_HeldLimit: Callable[..., wire.HeldLimit] = struct_of(wire.HeldLimit)
_Scope = struct_of(ScopeRecord)
_IssuedFacts = struct_of(IssuedFacts)


def row_bytes(row: Row) -> bytes:
    """The row's value on `balances` and in a store."""
    if not isinstance(row, Wallet):
        return encode(RECORDS[type(row)](row))
    accounts = []
    for account in row.accounts.values():
        accounts.append(_account_json(row, account))  # noqa: PERF401 - faster, for one or two
    grants = []
    for grant in row.grants:
        grants.append(grant.json)  # noqa: PERF401
    rest = f',"thresholds":{encode(_thresholds(row)).decode()}' if row.thresholds else ""
    if row.revenue:
        rest += f',"revenue":"{amount_text(row.revenue)}"'
    if row.cost:
        rest += f',"cost":"{amount_text(row.cost)}"'
    if row.holds:
        rest += f',"holds":{row.holds}'
    if row.policy is not None:
        rest += _policy_json(row.policy)
    if row.breakage:
        rest += f',"breakage":"{amount_text(row.breakage)}"'
    if row.issued is not None:
        rest += f',"issued":{encode(_issued_record(row.issued)).decode()}'
    if row.subscriptions:
        rest += f',"subscriptions":{encode(_due_records(row)).decode()}'
    if row.scopes:
        rest += f',"scopes":{encode(row.scopes).decode()}'
    if row.topups:
        rest += f',"topups":{encode(row.topups).decode()}'
    return (
        f'{{"row":"wallet","customer":{quoted(row.customer)},"sequence":{row.sequence}'
        f',"digest":"{row.digest}","at":"{at_text(row.at_ms)}"'
        f',"accounts":[{",".join(accounts)}],"grants":[{",".join(grants)}]{rest}}}'
    ).encode()


def _account_json(wallet: Wallet, account: Account) -> str:
    balance = account.balance_text
    available = spendable(wallet, account, wallet.at_ms)
    text = balance if available == account.balance else amount_text(available)
    json = f'{{"asset":{steadily_quoted(account.asset)},"available":"{text}","balance":"{balance}"'
    if unspent := account.unspent:
        text = balance if unspent == account.balance else amount_text(unspent)
        json += f',"unspent":"{text}"'
    if account.held:
        json += f',"held":"{amount_text(account.held)}"'
    if account.credit_limit:
        json += f',"credit_limit":"{steady_text(account.credit_limit)}"'
    if account.credit_used:
        json += f',"credit_used":"{amount_text(account.credit_used)}"'
    if account.overdrawn:
        json += f',"overdrawn":"{amount_text(account.overdrawn)}"'
    if account.granted:
        json += f',"granted":"{steady_text(account.granted)}"'
    if account.debited:
        json += f',"debited":"{amount_text(account.debited)}"'
    if account.lapsed:
        json += f',"lapsed":"{amount_text(account.lapsed)}"'
    if account.credit_held:
        json += f',"credit_held":"{amount_text(account.credit_held)}"'
    if account.flows is not NO_FLOWS:
        for name, text in _flows(account).items():
            if text != "0":
                json += f',"{name}":"{text}"'
    return json + "}"


def _due_records(wallet: Wallet) -> list[wire.SubscriptionDue]:
    return [
        _SubscriptionDue(each.id, each.plan, moment(each.next_ms), list(each.meters))
        for each in wallet.subscriptions
    ]


def _flows(account: Account) -> dict[str, str]:
    flows = account.flows
    return {name: amount_text(getattr(flows, name)) for name in FLOWS}


FLOWS: Final = Flows.__struct_fields__


def _policy_json(policy: Policy) -> str:
    json = ""
    if policy.capture is not None:
        json += f',"capture_policy":"{policy.capture}"'
    if policy.outage is not None:
        json += f',"outage":{encode(policy.outage).decode()}'
    if policy.holds_max is not None:
        json += f',"holds_max":{policy.holds_max}'
    if policy.drawdown is not None:
        json += f',"drawdown":"{policy.drawdown}"'
    if policy.state != "active":
        json += f',"state":"{policy.state}"'
    if policy.plan is not None:
        json += f',"plan":{steadily_quoted(policy.plan)}'
    return json


def wallet_record(wallet: Wallet) -> wire.WalletRow:
    """The wallet as the record it is on `balances`."""
    policy = wallet.policy or NO_POLICY
    return _WalletRow(
        customer=wallet.customer,
        sequence=wallet.sequence,
        digest=wallet.digest,
        at=moment(wallet.at_ms),
        accounts=[_account_record(wallet, account) for account in wallet.accounts.values()],
        grants=[
            replaced(
                _terms_record(grant.terms),
                held=amount_text(grant.held),
                remaining=amount_text(grant.remaining),
            )
            for grant in wallet.grants
        ],
        thresholds=_thresholds(wallet),
        revenue=amount_text(wallet.revenue),
        cost=amount_text(wallet.cost),
        holds=wallet.holds,
        capture_policy=policy.capture,
        outage=policy.outage,
        holds_max=policy.holds_max,
        drawdown=policy.drawdown,
        state=policy.state,
        plan=policy.plan,
        breakage=amount_text(wallet.breakage),
        issued=None if wallet.issued is None else _issued_record(wallet.issued),
        subscriptions=_due_records(wallet),
        scopes=dict(wallet.scopes),
        topups=list(wallet.topups),
    )


def _issued_record(issued: Issued) -> IssuedFacts:
    return _IssuedFacts(
        number=issued.number,
        ends_at=moment(issued.ends_ms),
        last_sequence=issued.last_sequence,
        digest=issued.digest,
    )


def hold_record(hold: Hold) -> wire.HoldRow:
    """The hold as the record it is on `balances`."""
    return _HoldRow(
        customer=hold.customer,
        id=hold.id,
        authorization=hold.authorization,
        asset=hold.asset,
        amount=amount_text(hold.amount),
        held=amount_text(hold.held),
        captured=amount_text(hold.captured),
        allocations=held_parts(hold.parts),
        credit=amount_text(hold.credit),
        meter=hold.meter,
        dimensions=dict(hold.dimensions),
        created_at=moment(hold.created_ms),
        expires_at=moment(hold.expires_ms),
        sequence=hold.sequence,
        limits=[
            _HeldLimit(budget=each.budget, scope=each.scope, held=number_text(each.held))
            for each in hold.limits
        ],
    )


def _running_record(row: Running) -> wire.RunningRow:
    life = row.ends_ms == NEVER
    return _RunningRow(
        customer=row.customer,
        counter=row.counter,
        meter=row.meter,
        asset=row.asset,
        quantity=rational_text(row.quantity),
        charged=amount_text(row.charged),
        starts_at=None if life else moment(row.starts_ms),
        ends_at=None if life else moment(row.ends_ms),
        closes_at=None if life else moment(row.closes_ms),
        latest_at=moment(row.latest_ms) if row.latest_ms else None,
        commitment=None if row.commitment is None else amount_text(row.commitment),
        parts=_charged_parts(row.parts),
        keyed=row.keyed,
        level=None if row.level is None else rational_text(row.level),
        rate=row.rate,
        sequence=row.sequence,
    )


def _seen_record(row: Seen) -> wire.SeenRow:
    return _SeenRow(
        customer=row.customer,
        counter=row.counter,
        starts_at=None if row.starts_ms is None else moment(row.starts_ms),
        shard=row.shard,
        keys={
            key: _SeenKey(amount_text(seen.amount), _charged_parts(seen.parts))
            for key, seen in row.keys.items()
        },
        sequence=row.sequence,
    )


def _reversed_record(row: Reversed) -> wire.ReversedRow:
    return _ReversedRow(customer=row.customer, sequence=row.sequence, by=row.by)


def subscription_record(row: Subscription) -> wire.SubscriptionRow:
    """The subscription as the record it is on `balances`."""
    return _SubscriptionRow(
        **{name: getattr(row.facts, name) for name in STATED},
        customer=row.customer,
        fees=[
            _ChargedFee(
                fee=paid.fee,
                asset=paid.asset,
                pay=paid.pay,
                amount=amount_text(paid.amount),
                since_at=moment(paid.since_ms),
                parts=_charged_parts(paid.parts),
            )
            for paid in row.fees
        ],
        used={name: rational_text(quantity) for name, quantity in row.used.items()},
        sequence=row.sequence,
    )


STATED: Final = tuple(SubscriptionFacts.model_fields)
"""What entries and rows state of a subscription alike."""


def _charged_parts(parts: Iterable[ChargedPart]) -> list[wire.ChargedPart]:
    return [
        _ChargedPart(part.grant, amount_text(part.amount), amount_text(part.revenue))
        for part in parts
    ]


RECORDS: Final[Mapping[type, Callable[..., object]]] = {
    Hold: hold_record,
    Running: _running_record,
    Seen: _seen_record,
    Reversed: _reversed_record,
    Subscription: subscription_record,
    **LIMIT_RECORDS,
    Topup: topup_record,
    TopupRequest: request_record,
}
"""The record of each kind of row but the wallet."""


def held_parts(parts: Iterable[Part]) -> list[HeldPart]:
    """The parts of a hold as records state them."""
    return [_HeldPart(part.grant, amount_text(part.amount)) for part in parts]


def _thresholds(wallet: Wallet) -> dict[str, list[str]]:
    return {
        asset: [amount_text(amount) for amount in amounts]
        for asset, amounts in wallet.thresholds.items()
    }


def _account_record(wallet: Wallet, account: Account) -> wire.AccountRow:
    return _AccountRow(
        asset=account.asset,
        available=amount_text(spendable(wallet, account, wallet.at_ms)),
        balance=amount_text(account.balance),
        unspent=amount_text(account.unspent),
        held=amount_text(account.held),
        credit_limit=amount_text(account.credit_limit),
        credit_used=amount_text(account.credit_used),
        overdrawn=amount_text(account.overdrawn),
        granted=amount_text(account.granted),
        debited=amount_text(account.debited),
        lapsed=amount_text(account.lapsed),
        credit_held=amount_text(account.credit_held),
        **_flows(account),
    )


def _terms_record(terms: GrantTerms) -> wire.GrantRow:
    return _GrantRow(
        id=terms.id,
        asset=terms.asset,
        category=terms.category,
        priority=terms.priority,
        amount=amount_text(terms.amount),
        effective_at=moment(terms.effective_ms),
        at_once=not terms.start_ms,
        expires_at=None if terms.expires_ms == NEVER else moment(terms.expires_ms),
        scope=scope_record(terms.scope),
        paid=amount_text(terms.paid),
        sequence=terms.sequence,
        metadata=dict(terms.metadata),
        recurrence=terms.recurrence,
        next_at=None if terms.next_ms == NEVER else moment(terms.next_ms),
        succeeded=terms.succeeded,
        rolled=terms.rolled,
        subscription=terms.subscription,
        remaining="0",
    )


def row_of(value: bytes) -> Row:
    """The row whose bytes these are. Raises RecordError where they are no row."""
    row = decode_row(value)
    made: Row = ROWS[kind_of(row)](row)
    return made


def due_of(value: bytes) -> int | None:
    """When the row whose bytes these are is due. Most rows have nothing that ends, and are told by
    that alone: a quote within a text is escaped."""
    for name in ENDS:
        if name in value:
            return row_of(value).due_ms
    return None


ENDS: Final = (
    b'"expires_at"',
    b'"next_at"',
    b'"closes_at"',
    b'"waits_until"',
    b'"deadline_at"',
)
"""What a row says where it has a timer: a grant or a hold that ends, a grant that comes again, a
period that closes, a wait of an auto top-up, a request that nobody answers."""


def decoded_wallet(value: bytes) -> Wallet:
    """The wallet whose bytes these are. Raises RecordError where they are no wallet."""
    return _wallet(decode_wallet(value))


def _hold(row: wire.HoldRow) -> Hold:
    return Hold(
        customer=row.customer,
        id=row.id,
        authorization=row.authorization,
        asset=row.asset,
        amount=amount_of(row.amount),
        held=amount_of(row.held),
        captured=amount_of(row.captured),
        parts=tuple([Part(part.grant, amount_of(part.amount)) for part in row.allocations]),
        credit=amount_of(row.credit),
        meter=row.meter,
        dimensions=row.dimensions,
        created_ms=milliseconds(row.created_at),
        expires_ms=milliseconds(row.expires_at),
        sequence=row.sequence,
        limits=tuple(
            [HeldLimit(each.budget, each.scope, number_of(each.held)) for each in row.limits]
        ),
    )


def _running(row: wire.RunningRow) -> Running:
    return Running(
        customer=row.customer,
        counter=row.counter,
        meter=row.meter,
        asset=row.asset,
        quantity=rational_of(row.quantity),
        charged=amount_of(row.charged),
        starts_ms=0 if row.starts_at is None else milliseconds(row.starts_at),
        ends_ms=NEVER if row.ends_at is None else milliseconds(row.ends_at),
        closes_ms=NEVER if row.closes_at is None else milliseconds(row.closes_at),
        latest_ms=0 if row.latest_at is None else milliseconds(row.latest_at),
        commitment=None if row.commitment is None else amount_of(row.commitment),
        parts=_parts(row.parts),
        keyed=row.keyed,
        sequence=row.sequence,
        level=None if row.level is None else rational_of(row.level),
        rate=row.rate,
    )


def _seen(row: wire.SeenRow) -> Seen:
    return Seen(
        customer=row.customer,
        counter=row.counter,
        starts_ms=None if row.starts_at is None else milliseconds(row.starts_at),
        shard=row.shard,
        keys={
            key: SeenKey(amount_of(seen.amount), _parts(seen.parts))
            for key, seen in row.keys.items()
        },
        sequence=row.sequence,
    )


def _parts(parts: Iterable[wire.ChargedPart]) -> tuple[ChargedPart, ...]:
    return tuple(
        [ChargedPart(part.grant, amount_of(part.amount), amount_of(part.revenue)) for part in parts]
    )


def _reversed(row: wire.ReversedRow) -> Reversed:
    return Reversed(row.customer, row.sequence, row.by)


def _subscription(row: wire.SubscriptionRow) -> Subscription:
    return Subscription(
        customer=row.customer,
        facts=_SubscriptionFacts(**{name: getattr(row, name) for name in STATED}),
        fees=tuple(
            [
                FeePaid(
                    paid.fee,
                    paid.asset,
                    paid.pay,
                    amount_of(paid.amount),
                    milliseconds(paid.since_at),
                    _parts(paid.parts),
                )
                for paid in row.fees
            ]
        ),
        used={name: rational_of(text) for name, text in row.used.items()},
        sequence=row.sequence,
    )


def _wallet(row: wire.WalletRow) -> Wallet:
    policy = Policy(
        row.capture_policy, row.outage, row.holds_max, row.drawdown, row.state, row.plan
    )
    grants = tuple([_grant(grant) for grant in row.grants])
    subscriptions = tuple(
        [
            SubscriptionDue(each.id, each.plan, milliseconds(each.next_at), tuple(each.meters))
            for each in row.subscriptions
        ]
    )
    return Wallet(
        customer=row.customer,
        sequence=row.sequence,
        at_ms=milliseconds(row.at),
        accounts={account.asset: _account(account) for account in row.accounts},
        grants=grants,
        thresholds={
            asset: tuple([amount_of(text) for text in texts])
            for asset, texts in row.thresholds.items()
        },
        revenue=amount_of(row.revenue),
        cost=amount_of(row.cost),
        digest=row.digest,
        due_ms=next_due(grants, subscriptions),
        holds=row.holds,
        policy=None if policy == NO_POLICY else policy,
        breakage=amount_of(row.breakage),
        issued=None if row.issued is None else _issued(row.issued),
        subscriptions=subscriptions,
        scopes=row.scopes,
        topups=tuple(row.topups),
    )


def _issued(facts: IssuedFacts) -> Issued:
    return Issued(facts.number, milliseconds(facts.ends_at), facts.last_sequence, facts.digest)


ROWS: Final[Mapping[str, Callable[..., Row]]] = {
    "wallet": _wallet,
    "hold": _hold,
    "running": _running,
    "seen": _seen,
    "reversed": _reversed,
    "subscription": _subscription,
    **LIMIT_ROWS,
    "topup": topup_of,
    "topup_request": request_of,
}
"""What makes the row of each kind of record."""


def _account(row: wire.AccountRow) -> Account:
    flows = Flows(*[amount_of(getattr(row, name)) for name in FLOWS])
    return Account(
        asset=row.asset,
        balance=amount_of(row.balance),
        balance_text=row.balance,
        unspent=amount_of(row.unspent),
        held=amount_of(row.held),
        credit_limit=amount_of(row.credit_limit),
        credit_used=amount_of(row.credit_used),
        overdrawn=amount_of(row.overdrawn),
        granted=amount_of(row.granted),
        debited=amount_of(row.debited),
        lapsed=amount_of(row.lapsed),
        credit_held=amount_of(row.credit_held),
        flows=NO_FLOWS if flows == NO_FLOWS else flows,
    )


def _grant(row: wire.GrantRow) -> Grant:
    terms = grant_terms(
        id=row.id,
        asset=row.asset,
        category=row.category,
        priority=row.priority,
        amount=amount_of(row.amount),
        effective_ms=milliseconds(row.effective_at),
        at_once=row.at_once,
        expires_ms=NEVER if row.expires_at is None else milliseconds(row.expires_at),
        scope=scope_of(row.scope),
        paid=amount_of(row.paid),
        sequence=row.sequence,
        metadata=tuple(row.metadata.items()),
        recurrence=row.recurrence,
        next_ms=NEVER if row.next_at is None else milliseconds(row.next_at),
        succeeded=row.succeeded,
        rolled=row.rolled,
        subscription=row.subscription,
    )
    return live_grant(terms, amount_of(row.remaining), amount_of(row.held))


def grant_terms(
    *,
    id: str,
    asset: str,
    category: Category,
    priority: int,
    amount: int,
    effective_ms: int,
    at_once: bool,
    expires_ms: int,
    scope: Scope | None,
    paid: int,
    sequence: int,
    metadata: tuple[tuple[str, str], ...],
    recurrence: RecurrenceFacts | None = None,
    next_ms: int = NEVER,
    succeeded: bool = False,
    rolled: str | None = None,
    subscription: str | None = None,
) -> GrantTerms:
    """A grant's terms with the JSON they are written with."""
    terms = GrantTerms(
        id,
        asset,
        category,
        priority,
        amount,
        effective_ms,
        0 if at_once else effective_ms,
        expires_ms,
        scope,
        paid,
        sequence,
        metadata,
        recurrence=recurrence,
        next_ms=next_ms,
        succeeded=succeeded,
        rolled=rolled,
        subscription=subscription,
    )
    return written(terms)


def written(terms: GrantTerms, **changes: Any) -> GrantTerms:
    """The terms with some of them changed, and the JSON they are written with."""
    changed = replaced(terms, **changes) if changes else terms
    json = encode(_terms_record(changed)).removesuffix(b',"remaining":"0"}').decode()
    return replaced(changed, json=json)


def terms_of(facts: GrantFacts, asset: str, amount: int, paid: int, sequence: int) -> GrantTerms:
    """The terms of a grant of this amount, as an entry states them."""
    return grant_terms(
        id=facts.id,
        asset=asset,
        category=facts.category,
        priority=facts.priority,
        amount=amount,
        effective_ms=milliseconds(facts.effective_at),
        at_once=facts.at_once,
        expires_ms=NEVER if facts.expires_at is None else milliseconds(facts.expires_at),
        scope=scope_of(facts.scope),
        paid=paid,
        sequence=sequence,
        metadata=tuple(facts.metadata.items()),
        recurrence=facts.recurrence,
        next_ms=NEVER if facts.next_at is None else milliseconds(facts.next_at),
        rolled=facts.rolled,
        subscription=facts.subscription,
    )


def scope_record(scope: Scope | None) -> ScopeRecord | None:
    """A scope as records state it."""
    if scope is None:
        return None
    return _Scope(
        meters=list(scope.meters),
        dimensions={name: list(values) for name, values in scope.dimensions},
    )


def scope_of(record: ScopeRecord | None) -> Scope | None:
    """A record's scope; None where it covers everything."""
    if record is None or not (record.meters or record.dimensions):
        return None
    return Scope(
        tuple(record.meters),
        tuple((name, tuple(values)) for name, values in sorted(record.dimensions.items())),
    )
