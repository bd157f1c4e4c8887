"""Conservation: whether a customer's rows hold all that ever moved, and nothing else.

`Account.imbalance` is the one formula (domain.md); here it is asked of a wallet with its holds, and
so is what the totals of an account are sums of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from drawdown.events.numbers import amount_text
from drawdown.ledger.values import Hold, Wallet


def imbalance(wallet: Wallet) -> str | None:
    """What was made or lost in a wallet's accounts, in words; None where nothing was."""
    for account in wallet.accounts.values():
        if account.imbalance:
            return f"{amount_text(account.imbalance)} {account.asset} granted are not accounted for"
    return None


def unconserved(wallet: Wallet, holds: Iterable[Hold]) -> str | None:
    """What does not add up in a wallet and the open holds of its customer, in words; or None."""
    wrong = imbalance(wallet)
    if wrong is not None:
        return wrong
    unspent: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for grant in wallet.grants:
        unspent[grant.terms.asset] += grant.remaining
        held[grant.terms.asset] += grant.held
    by_holds: Counter[str] = Counter()
    count = 0
    for hold in holds:
        count += 1
        by_holds[hold.asset] += hold.held
    if count != wallet.holds:
        return f"{count} holds are open, the wallet says {wallet.holds}"
    for asset, account in wallet.accounts.items():
        for name, is_, sum_ in (
            ("unspent", account.unspent, unspent[asset]),
            ("held, by its grants", account.held, held[asset] + account.credit_held),
            ("held, by its holds", account.held, by_holds[asset]),
            ("balance", account.balance, unspent[asset] - account.credit_used - account.overdrawn),
        ):
            if is_ != sum_:
                return (
                    f"{asset} {name}: the account says {amount_text(is_)}, its parts are"
                    f" {amount_text(sum_)}"
                )
    return None
