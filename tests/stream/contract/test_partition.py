"""Which partition a key belongs to, against Kafka's own test vectors and librdkafka's function."""

from __future__ import annotations

import pytest
from confluent_kafka.cimpl import murmur2 as librdkafka_partition
from hypothesis import given
from hypothesis import strategies as st

from drawdown.stream import partition
from drawdown.stream.partition import murmur2, partition_of

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
VECTORS = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "expected"), VECTORS)
def test_a_hash_has_the_bits_of_javas(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.binary(max_size=300), st.integers(1, 1_000))
def test_a_partition_is_the_one_that_librdkafka_computes(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == librdkafka_partition(key, partitions)


def test_remembered_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "_KEYS_MAX", 10)
    monkeypatch.setattr(partition, "_hashes", {})
    for number in range(1_000):
        key = b"%d" % number
        assert partition_of(key, 7) == librdkafka_partition(key, 7)
        assert len(partition._hashes) <= 10
