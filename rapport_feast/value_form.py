"""Feast's value form in plain Python, because importing Feast's own takes seconds."""

import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

from rapport_feast.times import EPOCH

Kind = Literal["bytes", "string", "int32", "int64", "double", "float", "bool", "unix_timestamp", "null"]
Value = bytes | str | int | float | bool | None
TAGS: dict[Kind, int] = {
    "bytes": 1 << 3 | 2,
    "string": 2 << 3 | 2,
    "int32": 3 << 3,
    "int64": 4 << 3,
    "double": 5 << 3 | 1,
    "float": 6 << 3 | 5,
    "bool": 7 << 3,
    "unix_timestamp": 8 << 3,
    "null": 19 << 3,
}
KINDS = {tag: kind for kind, tag in TAGS.items()}
SIXTY_FOUR = 1 << 64
DOUBLE = struct.Struct("<d")


def encode_value(kind: Kind, value: Value) -> bytes:
    """Return Feast's protobuf ``Value`` that holds ``value`` in the field of ``kind``."""
    head = varint(TAGS[kind])
    if kind == "null":
        return head + b"\0"
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return head + varint(len(value)) + value
    if kind in ("double", "float"):
        return head + struct.pack("<d" if kind == "double" else "<f", value)
    return head + varint(int(value or 0) % SIXTY_FOUR)


def decode_value(encoded: bytes) -> Value:
    """Return what a protobuf ``Value`` holds; an empty one and the null value are ``None``.

    Raises
    ------
    ValueError
        The bytes are no ``Value``, or one of a kind that no feature has (a list, a map, ...).
    """
    if len(encoded) == 9 and encoded[0] == TAGS["double"]:  # most features, and several times as fast as the loop
        number: float = DOUBLE.unpack_from(encoded, 1)[0]
        return number
    result: Value = None
    for tag, raw in _fields(encoded):
        kind = KINDS.get(tag)
        if kind is None:
            raise ValueError(f"a value of field {tag >> 3}, which no feature has")
        result = _plain(kind, raw)
    return result


def encode_time(moment: datetime) -> bytes:
    """Return the protobuf ``Timestamp`` of an aware moment, to the microsecond."""
    seconds, rest = divmod(moment - EPOCH, timedelta(seconds=1))
    return b"".join(
        varint(field << 3) + varint(number % SIXTY_FOUR)
        for field, number in ((1, seconds), (2, rest.microseconds * 1000))
        if number
    )


def decode_time(encoded: bytes) -> datetime:
    """Return the aware moment of a protobuf ``Timestamp``, to the microsecond.

    Raises
    ------
    ValueError
        The bytes are no ``Timestamp``.
    """
    parts = {tag >> 3: _signed(raw) for tag, raw in _fields(encoded) if isinstance(raw, int)}
    try:
        return EPOCH + timedelta(seconds=parts.get(1, 0), microseconds=parts.get(2, 0) // 1000)
    except OverflowError:
        raise ValueError("a time outside the calendar") from None


def _plain(kind: Kind, raw: int | bytes) -> Value:
    if isinstance(raw, int):
        return None if kind == "null" else bool(raw) if kind == "bool" else _signed(raw)
    if kind == "string":
        return raw.decode()
    if kind == "bytes":
        return raw
    number: float = struct.unpack("<d" if kind == "double" else "<f", raw)[0]
    return number


def _fields(encoded: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (tag, varint or bytes) of each field of a protobuf message."""
    at = 0
    while at < len(encoded):
        tag, at = _read_varint(encoded, at)
        wire = tag & 7
        if wire == 0:
            number, at = _read_varint(encoded, at)
            yield tag, number
            continue
        if wire == 2:
            length, at = _read_varint(encoded, at)
        else:
            length = {1: 8, 5: 4}.get(wire, len(encoded) + 1)
        if at + length > len(encoded):
            raise ValueError("a truncated or unknown protobuf field")
        yield tag, encoded[at : at + length]
        at += length


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while at < len(encoded) and shift < 70:
        byte = encoded[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number % SIXTY_FOUR, at
    raise ValueError("a truncated protobuf number")


def varint(number: int) -> bytes:
    """Return a number that is not negative in protobuf's form."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _signed(number: int) -> int:
    return number - SIXTY_FOUR if number >= SIXTY_FOUR // 2 else number
