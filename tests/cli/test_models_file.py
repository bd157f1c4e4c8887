"""Every model of price as people write it in a file."""

from __future__ import annotations

from pathlib import Path

from drawdown.book_file import read_book
from drawdown.cli.price_book import _valid
from drawdown.events.pricemodels import MODELS

EVERY_MODEL = """\
version: every-model
assets: [{code: USD, scale: 12}, {code: credit, scale: 2}]
meters:
  - {id: llm, event_types: [llm], fields: [input, cached_input, output]}
  - {id: work, event_types: [work], fields: [n, seconds, amount]}
  - {id: team, event_types: [team], fields: [seats], aggregate: {seats: max}}
  - {id: activity, event_types: [activity], unique: {wallets: wallet}}
  - {id: fin, event_types: [fin]}
rates:
  - {id: flat, meter: work, match: {of: flat}, asset: credit, price: {model: flat, price: 12}}
  - id: fee-of-the-month
    meter: work
    match: {of: fee}
    asset: USD
    price: {model: flat, price: 49, period: month}
  - id: unit
    meter: work
    match: {of: unit}
    asset: USD
    price: {model: per_unit, quantity: n, price: 0.08, per: 1000}
    rounding: {mode: up, places: 2}
  - id: package
    meter: work
    match: {of: package}
    asset: USD
    price: {model: package, quantity: n, price: 5, size: 100, period: month}
  - id: graduated
    meter: work
    match: {of: graduated}
    asset: USD
    price:
      model: graduated
      quantity: n
      period: month
      zone: Europe/Berlin
      counter: shared-by-rates
      tiers:
        - {up_to: 1000, price: 0.01, fee: 3}
        - {up_to: 10000, price: 0.008}
        - {price: 5, per: 1000}
  - id: volume
    meter: work
    match: {of: volume}
    asset: USD
    price:
      model: volume
      quantity: n
      at_bound: upper
      at_zero: fee
      tiers: [{up_to: 1000, price: 0.01, fee: 1}, {price: 0.008}]
  - id: allowance
    meter: activity
    asset: USD
    price: {model: allowance, quantity: wallets, included: 10, price: 1}
  - {id: seat, meter: team, asset: USD, price: {model: seat, quantity: seats, price: 39}}
  - id: percentage
    meter: work
    match: {of: payment}
    asset: USD
    price: {model: percentage, quantity: amount, percent: 2.9, fixed: 0.30, min: 0.5, max: 100}
  - id: cost-plus
    meter: work
    match: {of: cost}
    asset: credit
    price: {model: cost_plus, percent: 30, unit: 0.01}
  - id: matrix
    meter: work
    match: {of: egress}
    asset: USD
    price:
      model: matrix
      quantity: n
      cells: [{match: {zone: na}, price: 0.02}, {match: {zone: apac}, price: 0.04}]
      default: 0.12
  - id: tokens
    meter: llm
    match: {model: gemini-*}
    asset: USD
    price:
      model: token_map
      per: 1000000
      prices: {input: 1.25, cached_input: 0.125, output: 10}
      variants:
        - {match: {tier: batch}, factor: 0.5}
        - {match: {tier: priority}, prices: {output: 18}}
      above: [{over: 200000, of: [input, cached_input], prices: {input: 2.50, output: 15}}]
  - id: rate-card
    meter: llm
    asset: credit
    price:
      model: credits
      unit: 0.01
      per: 1000000
      prices: {input: 3, cached_input: 0.3, output: 15}
  - id: warehouse
    meter: work
    match: {of: warehouse}
    asset: credit
    price: {model: duration, quantity: seconds, price: 4, per: 3600, minimum: 60, increment: 1}
  - id: resolution
    meter: fin
    asset: USD
    price:
      model: outcome
      key: conversation
      price: 0.99
      included: 50
      undo: {dimension: state, value: reopened}
  - id: commitment
    meter: work
    match: {of: contract}
    asset: USD
    price:
      model: commitment
      amount: 1000
      factor: 1.5
      base: {model: per_unit, quantity: n, price: 1}
"""


def test_every_model_is_read_and_compiled(tmp_path: Path) -> None:
    file = tmp_path / "book.yaml"
    file.write_text(EVERY_MODEL, encoding="utf-8")
    book, _ = read_book(file)
    assert {rate.price.model for rate in book.rates} == set(MODELS)
    _, compiled = _valid(file)
    assert compiled.version == "every-model"
