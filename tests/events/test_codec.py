"""Bytes to records: what is wrong is named, and nothing but RecordError ever comes out."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drawdown.events.codec import (
    RECORD_BYTES_MAX,
    RecordError,
    canonical,
    decode_any,
    decode_command,
    decode_decision,
    decode_entry,
    decode_usage,
    decode_vendor,
    decode_wallet,
    encode,
    encode_numbers,
    quoted,
)
from drawdown.events.reasons import Reason

ENVELOPE = '{"specversion":"1.0","id":"e1","source":"s","type":"t","subject":"ada","data":%s}'


def usage(data: str) -> bytes:
    return (ENVELOPE % data).encode()


def wrong(value: bytes, decode: Any = decode_usage) -> RecordError:
    with pytest.raises(RecordError) as found:
        decode(value)
    return found.value


READ = [
    # text of the number, what it is
    ("0", 0),
    ("-0", 0),
    ("-0.0", 0),
    ("7", 7),
    ("7.0", 7),
    ("1e5", 100_000),
    ("1E+5", 100_000),
    ("12.5e1", 125),
    ("0.1", Decimal("0.1")),
    ("1.50", Decimal("1.5")),
    ("2e-3", Decimal("0.002")),
    ("0.123456789012345", Decimal("0.123456789012345")),
    ("18446744073709551616", 2**64),
    ("1e37", 10**37),
    ("true", True),
    ('"0.30000000000000004"', "0.30000000000000004"),
]


@pytest.mark.parametrize(("text", "value"), READ)
def test_numbers_of_open_data_are_read_exactly(text: str, value: Any) -> None:
    found = decode_usage(usage(f'{{"n":{text}}}')).data["n"]
    assert (found, type(found)) == (value, type(value))


REFUSED_NUMBERS = [
    ("1e400", "data.n", "1e400 is out of bounds"),
    ("-1e400", "data.n", "out of bounds"),
    ("1e-400", "data.n", "out of bounds"),
    ("1e38", "data.n", "out of bounds"),
    ("1e99999999999999999999", "data.n", "is not a number"),
    ("0.30000000000000004", "data.n", "more than 15 significant digits"),
    ("1." + "1" * 70, "data.n", "at most 64"),
]


@pytest.mark.parametrize(("text", "field", "says"), REFUSED_NUMBERS)
def test_numbers_out_of_bounds_are_named(text: str, field: str, says: str) -> None:
    error = wrong(usage(f'{{"m":1,"n":{text}}}'))
    assert (error.reason, error.field) == (Reason.BAD_QUANTITY, field)
    assert says in error.detail


MALFORMED = [
    (b"", "truncated"),
    (b"\xef\xbb\xbf" + usage("{}"), "malformed"),
    (usage("{}").decode().encode("utf-16"), "malformed"),
    (usage('{"n":NaN}'), "malformed"),
    (usage('{"n":Infinity}'), "malformed"),
    (usage('{"n":01}'), "malformed"),
    (usage('{"n":.5}'), "malformed"),
    (usage('{"n":5.}'), "malformed"),
    (usage('{"n":+5}'), "malformed"),
    (usage('{"n":0x10}'), "malformed"),
    (usage('{"n":1,}'), "malformed"),
    (usage("{'n':1}"), "malformed"),
    (usage('{"n":"\x01"}'), "malformed"),
    (usage("{}") + b"x", "malformed"),
    (usage("{}") * 2, "malformed"),
    (usage("{}")[:-1], "truncated"),
    (usage('{"n":"\\ud800"}'), ""),
    (usage('{"n":"@"}').replace(b"@", b"\xff"), "not UTF-8"),
    (usage('{"n":"@"}').replace(b"@", b"\xed\xa0\x80"), "not UTF-8"),
    (usage('{"n":%s}' % ("[" * 5000 + "]" * 5000)), "nested too deeply"),
    (usage('{"a":' * 5000 + "1" + "}" * 5000), "nested too deeply"),
    (usage('{"n":%s}' % ("9" * 5000)), "out of range"),
]


@pytest.mark.parametrize(("value", "says"), MALFORMED, ids=lambda item: repr(item)[:40])
def test_bytes_that_are_no_record(value: bytes, says: str) -> None:
    error = wrong(value)
    assert error.reason == Reason.MALFORMED
    assert says in error.detail


FIELDS = [
    # field left out or replaced, with what, the field that is named
    ("id", None, "id"),
    ("id", "", "id"),
    ("id", "x" * 257, "id"),
    ("id", "a\x00b", "id"),
    ("id", 5, "id"),
    ("source", "a\x1fb", "source"),
    ("subject", ..., "subject"),
    ("subject", "x" * 129, "subject"),
    ("specversion", "0.3", "specversion"),
    ("time", "2027-01-15T08:00:00", "time"),
    ("time", 1_800_000_000, "time"),
    ("time", "yesterday", "time"),
    ("timesource", "producer", "timesource"),
    ("data", ..., "data"),
    ("data", [], "data"),
    ("data", "text", "data"),
]


@pytest.mark.parametrize(("name", "value", "named"), FIELDS)
def test_the_field_that_is_wrong_is_named(name: str, value: Any, named: str) -> None:
    event = json.loads(ENVELOPE % "{}")
    if value is ...:
        del event[name]
    else:
        event[name] = value
    error = wrong(json.dumps(event).encode())
    assert (error.reason, error.field) == (Reason.MALFORMED, named)


def test_of_a_name_that_stands_twice_the_last_counts() -> None:
    assert decode_usage(usage('{"n":1,"n":2}')).data == {"n": 2}


def test_a_key_that_is_wrong_names_its_dict() -> None:
    command = {"type": "grant", "id": "c", "customer": "ada", "time": "2027-01-15T08:00:00Z"}
    grant = {**command, "asset": "USD", "amount": "1"}
    for metadata, field in [
        ('{"no name":"x"}', "metadata"),
        ('{"a":"b","n":1e400}', "metadata.n"),
        ('{"a":%s}' % ("[" * 5000 + "]" * 5000), "metadata[...]"),
    ]:
        value = json.dumps({**grant, "metadata": "@"}).replace('"@"', metadata)
        error = wrong(value.encode(), decode_command)
        assert (error.reason in {Reason.MALFORMED, Reason.BAD_QUANTITY}, error.field) == (
            True,
            field,
        )


def test_an_unknown_field_of_an_event_is_ignored_and_of_a_command_refused() -> None:
    event = json.loads(ENVELOPE % "{}")
    assert decode_usage(json.dumps({**event, "traceparent": "00-1"}).encode()).id == "e1"
    command = {
        "type": "grant",
        "id": "c",
        "customer": "ada",
        "time": "2027-01-15T08:00:00Z",
        "asset": "USD",
        "amount": "1",
    }
    assert decode_command(json.dumps(command).encode()).id == "c"
    error = wrong(json.dumps({**command, "expiry": "soon"}).encode(), decode_command)
    assert error.field == "expiry"
    error = wrong(json.dumps({**command, "type": "mint"}).encode(), decode_command)
    assert (error.field, "mint" in error.detail) == ("type", True)
    del command["type"]
    assert wrong(json.dumps(command).encode(), decode_command).field == "type"


@pytest.mark.parametrize(
    "amount", ["-1", "1e3", "01", "1.0000000000001", "9" * 27, "", "NaN", "1\n"]
)
def test_amounts_of_commands_are_plain_decimal_text(amount: str) -> None:
    command = {"type": "grant", "id": "c", "customer": "ada", "time": "2027-01-15T08:00:00Z"}
    value = json.dumps({**command, "asset": "USD", "amount": amount}).encode()
    assert wrong(value, decode_command).field == "amount"


def test_a_record_may_have_one_mebibyte() -> None:
    room = RECORD_BYTES_MAX - len(usage('{"n":""}'))
    assert decode_usage(usage('{"n":"%s"}' % ("x" * room))).id == "e1"
    error = wrong(usage('{"n":"%s"}' % ("x" * (room + 1))))
    assert (error.reason, error.field) == (Reason.OVERSIZED, None)
    assert str(RECORD_BYTES_MAX + 1) in error.detail


DECODERS = [
    decode_usage,
    decode_command,
    decode_entry,
    decode_wallet,
    decode_decision,
    decode_any,
    decode_vendor,
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["1.0", "ada", "2027-01-15T08:00:00Z", "grant", "authorize"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "type", "data", "time", "customer", "subject", "amount", "x"])
            | st.text(max_size=3),
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"\x00")
@example(b'{"type":{}}')
@example(b'{"data":{"\\ud800":1e999}}')
def test_nothing_but_a_record_error_comes_out_of_a_decoder(value: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(value)
        except RecordError as error:
            assert error.reason in Reason
            assert error.detail


@given(st.data())
def test_an_event_cut_or_flipped_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    value = bytearray(usage('{"model":"gpt-5","input":1.5,"t":"\\u00e9"}'))
    place = data.draw(st.integers(0, len(value) - 1))
    value[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(value)))
    for spoiled in (bytes(value), bytes(value[:cut])):
        with contextlib.suppress(RecordError):
            decode_usage(spoiled)


def test_vendors_may_send_a_floats_noise() -> None:
    assert decode_vendor(b"0.30000000000000004") == Decimal("0.30000000000000004")
    assert wrong(b"1e400", decode_vendor).reason == Reason.BAD_QUANTITY


def test_numbers_are_written_without_a_float() -> None:
    value = {"n": Decimal("0.1"), "m": 10**30, "t": "é\n"}
    assert encode(value) == '{"n":"0.1","m":1000000000000000000000000000000,"t":"é\\n"}'.encode()
    assert encode_numbers({"n": Decimal("0.10")}) == b'{"n":0.10}'
    assert quoted('a"b') == '"a\\"b"'


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3)), st.randoms())
def test_the_canonical_form_does_not_depend_on_order(content: dict[str, Any], random: Any) -> None:
    names = list(content)
    random.shuffle(names)
    assert canonical({name: content[name] for name in names}) == canonical(content)
