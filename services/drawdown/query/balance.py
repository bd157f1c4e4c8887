"""What a customer has left, as a replica answers it; and the few bytes that are kept for it.

A wallet's row is half a kilobyte and more; of it a balance needs some forty bytes, so that a
million customers fit into memory. They are decoded when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class Holding(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a customer has of one asset, as decimal text."""

    asset: str
    available: str
    """Unspent grants and unused credit limit, without what is held."""
    balance: str
    """Unspent grants less credit used and overdrawn."""
    held: str


class Balance(msgspec.Struct, frozen=True, gc=False):
    """A customer's balance as it stood after entry `sequence`."""

    customer: str
    sequence: int
    state: str
    """active, suspended or closed."""
    holdings: tuple[Holding, ...]
    """By asset, in the order of the wallet."""
    stale_ms: int
    """How old this may be: whatever was committed longer ago is in it."""
    recorded_at_ms: int | None
    """When the last change of any customer of this partition was appended, Unix time."""

    def of(self, asset: str) -> Holding:
        """What there is of an asset; zeros where there never was any."""
        for holding in self.holdings:
            if holding.asset == asset:
                return holding
        return Holding(asset, "0", "0", "0")

    def available(self, asset: str) -> str:
        """What may be spent: decimal text."""
        return self.of(asset).available

    def held(self, asset: str) -> str:
        """What is set aside by open holds: decimal text."""
        return self.of(asset).held


class Facts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a wallet's row says of the balance."""

    sequence: int
    state: str
    holdings: tuple[Holding, ...]
    shapes: tuple[str, ...] = ()
    """Which combinations of dimensions have budgets or blocks."""


class _Account(msgspec.Struct, gc=False):
    asset: str
    available: str
    balance: str
    held: str = "0"


class _Row(msgspec.Struct, gc=False):
    sequence: int
    accounts: list[_Account]
    state: str = "active"
    scopes: dict[str, int] = {}


_decode_row = msgspec.json.Decoder(_Row).decode


def facts_in(row: bytes) -> Facts:
    """What a wallet's row as it stands on the topic says. Raises ValueError."""
    found = _decode_row(row)
    return Facts(
        found.sequence,
        found.state,
        tuple([Holding(a.asset, a.available, a.balance, a.held) for a in found.accounts]),
        tuple(found.scopes),
    )


pack: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
"""The bytes that are kept of the facts."""
unpack: Callable[[bytes], Facts] = msgspec.msgpack.Decoder(Facts).decode
