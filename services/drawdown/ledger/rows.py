"""Rows to bytes and back: the form they have on `balances` and in every store.

One encoding for both, so that a rebuilt store, a live one and the topic can be compared byte for
byte. Decimal text costs more than integers would; it is what makes the topic readable to all.
"""

from __future__ import annotations

from typing import Any

from drawdown.events import rows as wire
from drawdown.events.base import at_text, milliseconds, moment
from drawdown.events.codec import decode_wallet, encode, quoted
from drawdown.events.commands import Scope as ScopeRecord
from drawdown.events.numbers import amount_of, amount_text
from drawdown.events.structs import replaced, struct_of
from drawdown.ledger.drawdown import spendable
from drawdown.ledger.values import Account, Grant, Scope, Wallet

Row = Wallet
"""Every kind of row there is."""

_WalletRow = struct_of(wire.WalletRow)
_AccountRow = struct_of(wire.AccountRow)
_GrantRow = struct_of(wire.GrantRow)
_Scope = struct_of(ScopeRecord)


def row_bytes(row: Row) -> bytes:
    """The row's value on `balances` and in a store.

    Every debit writes a wallet, so its JSON is put together from text here, with the terms of each
    grant made once (`Grant.terms_json`): a quarter of the time of the generic encoder, which must
    give the same bytes (`wallet_record`; a test holds it).
    """
    accounts = ",".join([_account_json(row, account) for account in row.accounts.values()])
    grants = ",".join([_grant_json(grant) for grant in row.grants])
    rest = ""
    if row.thresholds:
        rest = f',"thresholds":{encode(_thresholds(row)).decode()}'
    if row.revenue:
        rest += f',"revenue":"{amount_text(row.revenue)}"'
    if row.cost:
        rest += f',"cost":"{amount_text(row.cost)}"'
    return (
        f'{{"row":"wallet","customer":{quoted(row.customer)},"sequence":{row.sequence}'
        f',"digest":"{row.digest}","at":"{at_text(row.at_ms)}"'
        f',"accounts":[{accounts}],"grants":[{grants}]{rest}}}'
    ).encode()


def _account_json(wallet: Wallet, account: Account) -> str:
    available = spendable(wallet, account.asset, wallet.at_ms)
    balance = account.balance
    text = amount_text(available)
    json = (
        f'{{"asset":{quoted(account.asset)},"available":"{text}"'
        f',"balance":"{text if balance == available else amount_text(balance)}"'
    )
    if unspent := account.unspent:
        json += f',"unspent":"{text if unspent == available else amount_text(unspent)}"'
    if account.held:
        json += f',"held":"{amount_text(account.held)}"'
    if account.credit_limit:
        json += f',"credit_limit":"{amount_text(account.credit_limit)}"'
    if account.credit_used:
        json += f',"credit_used":"{amount_text(account.credit_used)}"'
    if account.overdrawn:
        json += f',"overdrawn":"{amount_text(account.overdrawn)}"'
    if account.granted:
        json += f',"granted":"{amount_text(account.granted)}"'
    if account.debited:
        json += f',"debited":"{amount_text(account.debited)}"'
    if account.lapsed:
        json += f',"lapsed":"{amount_text(account.lapsed)}"'
    return json + "}"


def _grant_json(grant: Grant) -> str:
    held = f',"held":"{amount_text(grant.held)}"' if grant.held else ""
    return f'{grant.terms_json}{held},"remaining":"{amount_text(grant.remaining)}"}}'


def wallet_record(wallet: Wallet) -> wire.WalletRow:
    """The wallet as the record it is on `balances`."""
    return _WalletRow(
        customer=wallet.customer,
        sequence=wallet.sequence,
        digest=wallet.digest,
        at=moment(wallet.at_ms),
        accounts=[_account_row(wallet, account) for account in wallet.accounts.values()],
        grants=[_grant_row(grant) for grant in wallet.grants],
        thresholds=_thresholds(wallet),
        revenue=amount_text(wallet.revenue),
        cost=amount_text(wallet.cost),
    )


def _thresholds(wallet: Wallet) -> dict[str, list[str]]:
    return {
        asset: [amount_text(amount) for amount in amounts]
        for asset, amounts in wallet.thresholds.items()
    }


def row_of(value: bytes) -> Row:
    """The row whose bytes these are. Raises RecordError where they are no row."""
    row = decode_wallet(value)
    return Wallet(
        customer=row.customer,
        sequence=row.sequence,
        at_ms=milliseconds(row.at),
        accounts={account.asset: _account(account) for account in row.accounts},
        grants=tuple(_grant(grant) for grant in row.grants),
        thresholds={
            asset: tuple(amount_of(text) for text in texts)
            for asset, texts in row.thresholds.items()
        },
        revenue=amount_of(row.revenue),
        cost=amount_of(row.cost),
        digest=row.digest,
    )


def _account_row(wallet: Wallet, account: Account) -> wire.AccountRow:
    return _AccountRow(
        asset=account.asset,
        available=amount_text(spendable(wallet, account.asset, wallet.at_ms)),
        balance=amount_text(account.balance),
        unspent=amount_text(account.unspent),
        held=amount_text(account.held),
        credit_limit=amount_text(account.credit_limit),
        credit_used=amount_text(account.credit_used),
        overdrawn=amount_text(account.overdrawn),
        granted=amount_text(account.granted),
        debited=amount_text(account.debited),
        lapsed=amount_text(account.lapsed),
    )


def _account(row: wire.AccountRow) -> Account:
    return Account(
        asset=row.asset,
        unspent=amount_of(row.unspent),
        held=amount_of(row.held),
        credit_limit=amount_of(row.credit_limit),
        credit_used=amount_of(row.credit_used),
        overdrawn=amount_of(row.overdrawn),
        granted=amount_of(row.granted),
        debited=amount_of(row.debited),
        lapsed=amount_of(row.lapsed),
    )


def _grant_row(grant: Grant) -> wire.GrantRow:
    return _GrantRow(
        id=grant.id,
        asset=grant.asset,
        category=grant.category,
        priority=grant.priority,
        amount=amount_text(grant.amount),
        remaining=amount_text(grant.remaining),
        held=amount_text(grant.held),
        effective_at=moment(grant.effective_ms),
        expires_at=None if grant.expires_ms is None else moment(grant.expires_ms),
        scope=scope_record(grant.scope),
        paid=amount_text(grant.paid),
        sequence=grant.sequence,
        metadata=dict(grant.metadata),
    )


def _grant(row: wire.GrantRow) -> Grant:
    return grant_of(
        id=row.id,
        asset=row.asset,
        category=row.category,
        priority=row.priority,
        amount=amount_of(row.amount),
        remaining=amount_of(row.remaining),
        held=amount_of(row.held),
        effective_ms=milliseconds(row.effective_at),
        expires_ms=None if row.expires_at is None else milliseconds(row.expires_at),
        scope=scope_of(row.scope),
        paid=amount_of(row.paid),
        sequence=row.sequence,
        metadata=tuple(row.metadata.items()),
    )


def grant_of(**fields: Any) -> Grant:
    """A grant from its fields, with the JSON of its terms made."""
    grant = Grant(**fields)
    record = encode(_grant_row(replaced(grant, remaining=0, held=0)))
    return replaced(grant, terms_json=record.removesuffix(b',"remaining":"0"}').decode())


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
