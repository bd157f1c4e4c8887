"""Which partition a key belongs to: the rule of Kafka's Java client, `murmur2`.

Every producer of a customer's records must agree on it, or one customer would have two writers.
librdkafka knows it as `partitioner=murmur2_random`. A key that hashes elsewhere than where its
record lies came from a client with another rule (librdkafka's own default is CRC32).
"""

from __future__ import annotations

from struct import Struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_WORD = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF

# The hash of a key costs 3 us, a look-up 0.1: customers come back. Bounded, and dropped whole when
# full, because keys are whatever producers send.
_KEYS_MAX = 1 << 16
_hashes: dict[bytes, int] = {}

# A key of n whole words is unpacked in one call; longer ones are rare and built on demand.
_words = [Struct(f"<{count}I").unpack_from for count in range(64)]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions` (at least 1): `toPositive(murmur2(key)) % n`."""
    positive = _hashes.get(key)
    if positive is None:
        if len(_hashes) >= _KEYS_MAX:
            _hashes.clear()
        positive = _hashes[key] = murmur2(key) & _POSITIVE
    return positive % partitions


def murmur2(key: bytes) -> int:
    """The 32-bit hash of `key`, unsigned (Java's is the same bits, signed)."""
    size = len(key)
    count = size >> 2
    unpack = _words[count] if count < 64 else Struct(f"<{count}I").unpack_from
    h = _SEED ^ size
    for k in unpack(key):
        k = (k * _M) & _WORD
        h = ((h * _M) ^ ((k ^ (k >> 24)) * _M)) & _WORD
    rest = size & 3
    if rest:
        h = ((h ^ int.from_bytes(key[-rest:], "little")) * _M) & _WORD
    h = ((h ^ (h >> 13)) * _M) & _WORD
    return h ^ (h >> 15)
