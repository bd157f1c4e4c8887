"""A broker's clock, shifted: the class that Kafka asks for the time, with something added.

Everything in a broker that dates records, lets transactions time out or lets segments go asks
`org.apache.kafka.common.utils.SystemTime.milliseconds()`. A copy of that class which adds a
constant comes before Kafka's own on the class path, so that this is the only thing that differs:
what counts how much time has passed (`nanoseconds`) and every wait of the JVM go on as they did.
A library preloaded under the JVM (libfaketime) would shift the ends of waits as well, and has to be
installed; this has not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

CLASS = "org/apache/kafka/common/utils/SystemTime.class"
METHOD, RETURNS = b"milliseconds", b"()J"
UTF8 = 1
LONG, DOUBLE = 5, 6
BYTES = {
    **dict.fromkeys((7, 8, 16, 19, 20), 2),
    15: 3,
    **dict.fromkeys((3, 4, 9, 10, 11, 12, 17, 18), 4),
    **dict.fromkeys((LONG, DOUBLE), 8),
}
"""Of a constant of each kind, behind its tag (Java Virtual Machine Specification, 4.4)."""
LDC2_W, LADD, LRETURN, INVOKESTATIC = 0x14, 0x61, 0xAD, 0xB8


def shifted_classes(class_path: Sequence[Path], folder: Path, shift_ms: int) -> Path:
    """Write the class into a folder, which is to come first on the class path. Raises ValueError
    where Kafka's own is not what this knows."""
    (jar,) = [path for path in class_path if path.name.startswith("kafka-clients-")]
    with ZipFile(jar) as packed:
        made = shifted(packed.read(CLASS), shift_ms)
    path = folder / CLASS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made)
    return folder


def shifted(content: bytes, shift_ms: int) -> bytes:
    """The class with `milliseconds` returning so much more."""
    (count,) = struct.unpack_from(">H", content, 8)
    texts, at, number = {}, 10, 1
    while number < count:
        tag = content[at]
        if tag == UTF8:
            (size,) = struct.unpack_from(">H", content, at + 1)
            texts[number] = content[at + 3 : at + 3 + size]
            at += 3 + size
        else:
            at += 1 + BYTES[tag]
        number += 2 if tag in (LONG, DOUBLE) else 1
    constant = struct.pack(">Bq", LONG, shift_ms)
    head = content[:8] + struct.pack(">H", count + 2) + content[10:at] + constant
    return head + _methods_shifted(content[at:], texts, count)


def _methods_shifted(rest: bytes, texts: dict[int, bytes], constant: int) -> bytes:
    """What follows the constants, with the one method changed."""
    (interfaces,) = struct.unpack_from(">H", rest, 6)
    at = 8 + 2 * interfaces
    for what in ("field", "method"):
        (members,) = struct.unpack_from(">H", rest, at)
        at += 2
        for _ in range(members):
            _, name, descriptor, attributes = struct.unpack_from(">4H", rest, at)
            at += 8
            for _ in range(attributes):
                attribute, size = struct.unpack_from(">HI", rest, at)
                mine = (texts[name], texts[descriptor]) == (METHOD, RETURNS)
                if what == "method" and mine and texts[attribute] == b"Code":
                    code = _added(rest[at + 6 : at + 6 + size], constant)
                    changed = struct.pack(">HI", attribute, len(code)) + code
                    return rest[:at] + changed + rest[at + 6 + size :]
                at += 6 + size
    raise ValueError("the class has no milliseconds()")


def _added(code: bytes, constant: int) -> bytes:
    """A Code attribute: `return time()` becomes `return time() + constant`."""
    locals_, size = struct.unpack_from(">HI", code, 2)
    body = code[8 : 8 + size]
    if len(body) != 4 or body[0] != INVOKESTATIC or body[3] != LRETURN:
        raise ValueError(f"milliseconds() is {body.hex()}: not the time as it is")
    body = body[:3] + struct.pack(">BHBB", LDC2_W, constant, LADD, LRETURN)
    # Two longs on the stack, no handlers, no debugging information.
    return struct.pack(">HHI", 4, locals_, len(body)) + body + struct.pack(">HH", 0, 0)
