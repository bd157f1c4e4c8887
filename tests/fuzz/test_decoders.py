"""Every decoder: bytes are a record, or a RecordError says why not; what was read is written and
read again as the same. And the rules: what can be read is decided, or refused with a reason."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st
from tests.events.samples import SAMPLES, paths
from tests.fuzz.bounds import fuzzed, has_float, judged
from tests.fuzz.decoders import DECODERS
from tests.support.till import Till, llm_book, tokens

from drawdown.access import Settings
from drawdown.deadletters.letters import letter_in, redriven_in
from drawdown.events.codec import (
    RecordError,
    decode_any,
    decode_usage,
    encode_numbers,
    kind_of,
)
from drawdown.events.numbers import (
    DIGITS_MAX,
    NumberError,
    amount_of,
    amount_of_decimal,
    amount_text,
    plain_text,
    quantity,
    text_number,
    untyped_number,
    vendor_number,
)
from drawdown.gateway.outage import Allowances
from drawdown.ledger.book import CompiledMeter
from drawdown.ledger.journal import DIGEST_MARK, unseal
from drawdown.ledger.rows import row_bytes, row_of
from drawdown.settlement.books import BookReader

TOKENS = [
    *(b"1e400", b"-1", b"NaN", b"Infinity", b"9" * 40, b"1e-19", b"0.30000000000000004", b"01"),
    *(b"null", b"true", b'""', b"[]", b"{}", b"[" * 30, b"{", b"}", b"]", b",", b":", b'"'),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\xed\xa0\x80", b"\xff", b"\x00", b"\x1f", b"\\", b"\n"),
    *(b'"9999-12-31T23:59:59-14:00"', b'"0001-01-01T00:00:00+14:00"', b'"1e3"', b'"-0"', b'"1\\n"'),
]
SAMPLE_BYTES = [json.dumps(sample).encode() for _, sample in SAMPLES]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["0", "-1", "1e3", "1.5", "NaN", "9" * 30, "2027-01-15T08:00:00Z", "USD"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record of some topic with some of its bytes gone, replaced or doubled."""
    value = draw(st.sampled_from(SAMPLE_BYTES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(value)))
        end = min(start + draw(st.integers(0, 12)), len(value))
        new = draw(st.sampled_from(TOKENS) | st.binary(max_size=4) | st.just(value[start:end] * 2))
        value = value[:start] + new + value[end:]
    return value


@st.composite
def altered(draw: st.DrawFn) -> bytes:
    """A record of some topic with other JSON at some of its places."""
    sample = json.loads(draw(st.sampled_from(SAMPLE_BYTES)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(paths(sample))
        if not places:
            break
        place = draw(st.sampled_from(places))
        part = sample
        for name in place[:-1]:
            part = part[name]
        if draw(st.integers(0, 5)):
            part[place[-1]] = draw(JSON)
        else:
            del part[place[-1]]
    return json.dumps(sample).encode()


BYTES = damaged() | altered() | st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode)


@pytest.mark.parametrize("name", DECODERS)
@fuzzed(60)
@given(BYTES)
def test_bytes_are_a_record_or_refused_with_a_reason(name: str, value: bytes) -> None:
    found = judged(DECODERS[name], value)
    if found is not None:
        written = encode_numbers(found)
        assert encode_numbers(judged(DECODERS[name], written)) == written


@fuzzed(80)
@given(BYTES)
def test_a_row_is_read_and_written_as_the_same_or_refused(value: bytes) -> None:
    try:
        row = row_of(value)
    except ValueError:  # RecordError is one
        return
    assert not has_float(row)
    assert row_of(row_bytes(row)) == row


@fuzzed(100)
@given(BYTES)
def test_an_entry_is_whole_or_refused(value: bytes) -> None:
    try:
        unseal(value)
    except ValueError:
        return
    assert DIGEST_MARK in value


@fuzzed(60)
@given(st.lists(BYTES | st.none(), max_size=4))
def test_a_reader_of_prices_is_stopped_by_nothing(values: list[bytes | None]) -> None:
    reader = BookReader()
    for offset, value in enumerate(values):
        reader.read(offset, value or b"")
    assert len(reader.books) == 0
    assert len(reader.problems) <= len(values)


@fuzzed(80)
@given(st.binary(max_size=20) | st.just(b"api_key\x1fk"), BYTES | st.none())
def test_settings_are_taken_or_passed_over(key: bytes, value: bytes | None) -> None:
    settings = Settings.__new__(Settings)
    settings._keys, settings._tokens = {}, {}
    settings._take(key, value)
    assert all(kind_of(each) == "api_key" for each in settings._keys.values())


@fuzzed(80)
@given(st.binary(max_size=20) | st.none(), BYTES | st.none())
def test_terms_for_an_outage_are_taken_or_passed_over(
    key: bytes | None, value: bytes | None
) -> None:
    Allowances().take(key, value)


NAMES = ["reason", "topic", "partition", "offset", "redriven", "redriven-from", "accept-late"]
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([f"drawdown-{name}" for name in NAMES]) | st.text(max_size=9),
        st.none() | st.binary(max_size=12) | st.sampled_from([b"1:2", b"1@2", b"malformed"]),
    ),
    max_size=8,
)


@fuzzed(100)
@given(HEADERS, st.binary(max_size=9) | st.none(), BYTES | st.none())
def test_whatever_lies_among_the_dead_letters_can_be_listed(
    headers: list[tuple[str, bytes | None]], key: bytes | None, value: bytes | None
) -> None:
    message = Message(
        topic="t", partition=0, offset=7, key=key, value=value, headers=headers, timestamp=(2, 1)
    )
    letter, redriven = letter_in(message), redriven_in(message)
    assert letter is None or redriven is None
    assert (letter is not None) == any(name == "drawdown-reason" for name, _ in headers)
    if letter is not None:
        assert (letter.position.offset, letter.key) == (7, key)


# --- numbers -------------------------------------------------------------------------------------

NUMERALS = (
    st.from_regex(r"-?[0-9]{1,45}(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,6})?", fullmatch=True)
    | st.sampled_from(["NaN", "sNaN", "Infinity", "1e400", "1e999999999999999999", "", " 1", "١"])
    | st.text(max_size=12)
)


@fuzzed(200)
@given(NUMERALS)
def test_a_number_is_what_its_text_says_to_the_last_digit_or_is_refused(text: str) -> None:
    for read in (untyped_number, vendor_number, text_number, quantity):
        try:
            number = read(text)
        except NumberError as error:
            assert len(str(error)) < 300
            continue
        assert type(number) in (int, Decimal)
        assert Fraction(number) == Fraction(Decimal(text))
        assert len(plain_text(number)) <= 2 * DIGITS_MAX + 2
        try:
            amount = amount_of_decimal(Decimal(number))
        except NumberError:
            continue
        assert amount_of(amount_text(amount)) == amount
        assert Fraction(amount, 10**12) == Fraction(Decimal(text))


@fuzzed(300)
@given(
    st.lists(st.decimals("0", "99999999999999999999", places=18).map(str), min_size=1, max_size=3)
)
def test_fields_of_one_quantity_add_up_to_the_last_digit(texts: list[str]) -> None:
    meter = CompiledMeter.__new__(CompiledMeter)
    meter.id, meter.fields = "m", {f"f{place}": "q" for place in range(len(texts))}
    found, _, _ = meter.measure({f"f{place}": text for place, text in enumerate(texts)})
    assert Fraction(found["q"]) == sum(Fraction(text) for text in texts)


# --- what can be read is decided -----------------------------------------------------------------

LEDGER_BOOK = llm_book(tokens("gpt-5", {"input": "1.25", "output": "10"}, model="gpt-5"))
DATA = st.dictionaries(
    st.sampled_from(["model", "input", "output", "cached_input", "costs", "hold", "final", "team"])
    | st.text(max_size=6),
    JSON | st.sampled_from(["gpt-5", 1, 10**19, "0.000000000000000001", "1e18"]),
    max_size=6,
)


@fuzzed(100)
@given(st.lists(DATA, min_size=1, max_size=3), st.sampled_from(["llm", "fax"]))
def test_usage_that_can_be_read_is_an_entry_or_refused_before_anything_changed(
    datas: list[dict[str, Any]], kind: str
) -> None:
    till = Till(LEDGER_BOOK)
    till.grant("ada", "1", "g1")
    for number, data in enumerate(datas):
        event = {"specversion": "1.0", "id": f"e{number}", "source": "s", "type": kind}
        value = json.dumps({**event, "subject": "ada", "data": data}).encode()
        before = len(till.journal)
        try:
            decided = till.take_event(value)
        except RecordError as error:
            assert error.detail
            assert len(till.journal) == before
        else:
            assert len(till.journal) == before + 1
            assert not has_float(decided.entries)
            for sealed in decided.entries:
                assert unseal(sealed.value).entry == sealed.entry
    assert till.wrongs() == []


@fuzzed(80)
@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_the_data_of_an_event_passes_through_as_it_was(data: dict[str, Any]) -> None:
    value = json.dumps({**json.loads(SAMPLE_BYTES[0]), "data": data}).encode()
    event = judged(decode_usage, value)
    if event is not None:
        assert encode_numbers(event.data) == encode_numbers(decode_any(value)["data"])
