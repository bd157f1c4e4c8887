"""What others call it, and how it is written here: for who comes from another product.

Rows of a table in `schemas/README.md`; the products' files in `tests/scenarios/products` show it.
"""

# ruff: noqa: E501 - a row to a line
from __future__ import annotations

from typing import Final, NamedTuple


class Term(NamedTuple):
    """A term of a product's documentation."""

    product: str
    term: str
    here: str
    """In Markdown."""


TERMS: Final = (
    Term("Credyt", "wallet, accounts per asset", "a customer's wallet; `assets` of the book"),
    Term("Credyt", "top-up into a custom asset", "`grant` in money, then `convert` by the book's `conversions`"),
    Term("Credyt", "price per active wallet", "meter with `unique`, model `allowance`"),
    Term("Stigg", "credit grant: priority, category, cost basis, expiry", "`grant` with the same fields; `drawdown: stigg`"),
    Term("Stigg", "overdraft grant, settled by the next grant", "`overdrawn`, paid first by the next `grant`"),
    Term("Stigg", "revoked grant", "`void`"),
    Term("Orb", "credit block, per-unit cost basis", "`grant` with `cost_basis`; `drawdown: orb`"),
    Term("Orb", "tiered, bulk, package, matrix price", "models `graduated`, `volume`, `package`, `matrix`"),
    Term("Orb", "amended or deprecated event", "`reverse` of its entry, then another event"),
    Term("Metronome", "prepaid commit; postpaid commit", "paid `grant`; model `commitment`, with its true-up"),
    Term("Metronome", "credit (free)", "`grant`, `category: promotional`; `drawdown: metronome`"),
    Term("Metronome", "overage", "use on a credit limit (`set_terms`), paid by the next `grant`"),
    Term("Metronome", "rate card, dimensional pricing", "a price book's `rates` with `match`, model `matrix`"),
    Term("Lago", "wallet: paid and granted credits, rate_amount", "`grant` paid with `cost_basis`, or promotional; model `credits` with `unit`; `drawdown: lago`"),
    Term("Lago", "wallet scoped to billable metrics", "`scope: {meters: [...]}` of the grant"),
    Term("Lago", "billable metric: sum, count, max, latest, unique count", "a meter's `fields`, the quantity `events`, `aggregate`, `unique`"),
    Term("Lago", "standard, graduated, volume, package, percentage charge", "models `per_unit`, `graduated`, `volume`, `package`, `percentage`"),
    Term("Stripe Billing", "credit grant, priority 0 to 100, applicability", "`grant` with `priority` and `scope`; `drawdown: stripe`"),
    Term("Stripe Billing", "meter, meter event", "a meter and its `event_types`; a usage event"),
    Term("Stripe Billing", "tiered price, `graduated` or `volume`, flat_amount", "models `graduated`, `volume`; a tier's `fee`; `at_zero: fee` for the first tier's at no use"),
    Term("Stripe Billing", "flat recurring fee", "model `flat` with a `period`"),
    Term("Flexprice", "wallet conversion rate", "model `credits`, its `unit` being what a credit is worth"),
    Term("Flexprice", "order: priority, expiry, larger first", "`drawdown: flexprice`"),
    Term("OpenMeter", "metered entitlement with a grant, issueAfterReset", "`grant`, `category: included`, `recurrence` with `mode: reset`"),
    Term("OpenMeter", "rollover minimum and maximum", "`recurrence.rollover` with `min`, `max`, `cycles`"),
    Term("OpenMeter", "grant priority, expiration", "the same fields; `drawdown: openmeter`"),
    Term("Google Gemini prepay", "prepaid balance, settled minutes later", "`authorize` with `require: hold` before the work: nothing overshoots what was held"),
    Term("Cursor", "included usage at API rates, on-demand usage", "an included `grant`; a credit limit, which is 0 while on-demand is off"),
    Term("Replit", "effort-based price", "`authorize` with a hold, `capture` of what it came to"),
    Term("Intercom Fin", "outcome (resolution), re-opened", "model `outcome` with `key`, `included` and `undo`"),
    Term("OpenAI API", "cached input inside the prompt tokens", "quantities are disjoint: `input` without what is `cached_input`"),
    Term("OpenAI API", "batch, priority; long context", "`variants` and `above` of a `token_map`"),
    Term("Anthropic API", "cache write for 5 minutes or 1 hour, cache read", "quantities `cache_write`, `cache_write_1h`, `cached_input`"),
    Term("GitHub Copilot", "AI credit of 0.01 USD", "model `cost_plus` with `unit: 0.01`"),
    Term("GitHub Copilot", "credits pooled over seats", "a `grant` per seat in the organisation's wallet; the member is a dimension"),
    Term("ElevenLabs", "price per 1,000 characters", "model `per_unit` with `per: 1000`"),
    Term("Lovable", "monthly credits that roll over, daily ones that lapse", "two `grant`s with `recurrence`, one with `rollover`, the daily one of lower `priority` number"),
    Term("Midjourney", "fast hours, bought hours", "an included `grant` with `recurrence`, a paid one without an end; asset `gpu-hour`"),
    Term("Fly.io", "price per region, free first GB, reservation", "models `matrix`, `allowance`; a recurring `grant` with a `scope` of dimensions"),
    Term("Anyscale", "one balance for several kinds of compute", "a wallet with several `assets`, or one asset and a `matrix`"),
    Term("Snowflake", "per second, 60 s minimum", "model `duration` with `minimum` and `increment`"),
    Term("Snowflake", "capacity commitment", "a paid `grant`, or model `commitment`"),
    Term("Uber's engineers", "1,500 dollars a month per employee and coding tool", 'budget over `{engineer: "*", tool: "*"}`, window `month`'),
    Term("Uber's engineers", "a leaked key", "`drawdown block`"),
)  # fmt: skip
