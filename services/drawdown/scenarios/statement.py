"""What a scenario can expect of a statement, which is folded from the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from drawdown.events.base import Name, StrictRecord
from drawdown.events.calendar import month_bounds, zone_named
from drawdown.events.statements import Movement, RevenueSums
from drawdown.ledger.statements import Period, movements_of, statement_of
from drawdown.scenarios.exact import Number


class AssetThen(StrictRecord):
    """One asset of a statement; what is not said is not looked at."""

    opening: Number | None = None
    closing: Number | None = None
    charged: Number | None = Field(
        default=None, description="Debited and captured, less what was reversed"
    )
    movements: dict[Movement, Number] | None = Field(
        default=None, description="The sums of its lines by their kind, all there are"
    )


class StatementThen(StrictRecord):
    """The statement of a month: for each asset, opening and lines sum to closing."""

    month: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}$")]
    zone: str = "UTC"
    assets: dict[Name, AssetThen] = Field(default_factory=dict)
    revenue: dict[Name, Number] | None = Field(
        default=None, description=f"Any of {', '.join(RevenueSums.model_fields)}"
    )


def found_statement(
    customer: str, journal: Sequence[bytes], reporting: str, expected: Mapping[str, Any]
) -> dict[str, Any]:
    """The statement that is there, as far as one is expected."""
    month, zone = expected["month"], expected.get("zone", "UTC")
    period = Period(*month_bounds(month, zone), zone, zone_named(zone))
    made = statement_of(customer, lambda: journal, period, reporting)
    found: dict[str, Any] = {"month": month}
    if "zone" in expected:
        found["zone"] = zone
    if "assets" in expected:
        there = {asset.asset: asset for asset in made.assets}
        found["assets"] = {
            name: {field: _of_asset(there[name], field) for field in wanted}
            for name, wanted in expected["assets"].items()
            if name in there
        }
    if "revenue" in expected:
        found["revenue"] = {name: getattr(made.revenue, name, None) for name in expected["revenue"]}
    return {name: found[name] for name in expected}


def _of_asset(asset: Any, field: str) -> Any:
    match field:
        case "charged":
            return asset.charged
        case "movements":
            return movements_of(asset)
        case _:
            return getattr(asset, field).balance
