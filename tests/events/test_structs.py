"""The pydantic model and the msgspec struct made from it accept and refuse the same."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError
from tests.events.samples import SAMPLES, spoiled

from drawdown.events.base import Amount, CustomerId, Identifier, Name, Price, QuantityText, Record
from drawdown.events.codec import decode_usage, encode
from drawdown.events.commands import Rerate, Reverse
from drawdown.events.pricebook import PriceBook
from drawdown.events.structs import UnsupportedFieldError, struct_of, to_struct
from drawdown.events.usage import UsageEvent

EACH = pytest.mark.parametrize(
    ("model", "sample"),
    [
        pytest.param(model, sample, id=f"{model.__name__}-{number}")
        for number, (model, sample) in enumerate(SAMPLES)
    ],
)


def by_model(model: type[BaseModel], value: bytes) -> bool:
    try:
        model.model_validate_json(value)
    except ValidationError:
        return False
    return True


def by_struct(model: type[BaseModel], value: bytes) -> bool:
    try:
        msgspec.json.decode(value, type=struct_of(model, checked=True))
    except msgspec.DecodeError:
        return False
    return True


@EACH
def test_a_full_record_is_accepted_by_both(model: type[BaseModel], sample: dict[str, Any]) -> None:
    value = json.dumps(sample).encode()
    model.model_validate_json(value)
    msgspec.json.decode(value, type=struct_of(model, checked=True))


OPEN = {UsageEvent: "data.", Reverse: "entry.", Rerate: "entry."}


@EACH
def test_a_spoiled_record_is_refused_by_both_or_by_neither(
    model: type[BaseModel], sample: dict[str, Any]
) -> None:
    verdicts = set()
    for what, value in spoiled(sample):
        if what.startswith(OPEN.get(model, "-")) and what.endswith(("nan", "inf")):
            continue  # open data: no JSON for msgspec; the model alone would take it
        verdict = by_model(model, value)
        assert verdict == by_struct(model, value), what
        verdicts.add(verdict)
    assert verdicts == {True, False}


@EACH
def test_both_read_the_same_and_write_the_same(
    model: type[BaseModel], sample: dict[str, Any]
) -> None:
    value = json.dumps(sample).encode()
    record = model.model_validate_json(value)
    struct = msgspec.json.decode(value, type=struct_of(model))
    assert to_struct(record) == struct
    written = encode(struct)  # without what is the default
    assert model.model_validate_json(written) == record
    assert msgspec.json.decode(written, type=struct_of(model)) == struct


TEXTS = st.text(max_size=140) | st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,32})?", fullmatch=True)


class Texts(Record):
    customer: CustomerId = "x"
    identifier: Identifier = "x"
    name: Name = "x"
    amount: Amount = "0"
    quantity: QuantityText = "0"
    price: Price = "0"


@given(st.sampled_from(sorted(Texts.model_fields)), TEXTS)
def test_every_pattern_means_the_same_to_both(field: str, text: str) -> None:
    value = json.dumps({field: text}).encode()
    assert by_model(Texts, value) == by_struct(Texts, value)


@given(
    st.fixed_dictionaries(
        {"id": st.text(max_size=5), "source": st.text(max_size=5), "subject": st.text(max_size=5)},
        optional={"data": st.dictionaries(st.text(max_size=3), st.integers())},
    ),
    st.booleans(),
)
def test_the_quick_decoder_of_usage_is_no_laxer(fields: dict[str, Any], escaped: bool) -> None:
    event = {"specversion": "1.0", "type": "t", "data": {}, **fields}
    value = json.dumps(event, ensure_ascii=escaped).encode()
    try:
        found = decode_usage(value)
    except ValueError:
        assert not by_struct(UsageEvent, value)
    else:
        thorough = msgspec.json.decode(value, type=struct_of(UsageEvent, checked=True))
        assert encode(found) == encode(thorough)
        assert by_model(UsageEvent, value)


def test_a_field_without_an_equivalent_is_refused_when_the_struct_is_made() -> None:
    class Multiples(Record):
        count: Annotated[int, Field(multiple_of=3)]

    class Bytes(Record):
        value: bytes

    with pytest.raises(UnsupportedFieldError, match=r"Multiples\.count"):
        struct_of(Multiples)
    with pytest.raises(UnsupportedFieldError, match=r"Bytes\.value"):
        struct_of(Bytes)


def test_a_struct_is_made_once_and_frozen() -> None:
    struct = struct_of(PriceBook)
    assert struct_of(PriceBook) is struct
    sample = dict(SAMPLES)[PriceBook]
    book = msgspec.json.decode(json.dumps(sample).encode(), type=struct)
    with pytest.raises(AttributeError):
        book.version = "v2"
