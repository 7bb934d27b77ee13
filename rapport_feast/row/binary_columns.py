"""Binary Arrow columns: keys, packed rows and values of many rows, encoded without a Python step per row."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rapport_feast.row.keys import KEY_TYPES
from rapport_feast.row.layout import FOREVER_US, Packing
from rapport_feast.times import EPOCH, MICROSECOND
from rapport_feast.value_form import TAGS, encode_time, varint

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
ARROW = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def entity_keys(project: str, columns: Mapping[str, pa.Array]) -> pa.Array:
    """Return the hash keys of some entities from their join keys: columns of text or int64, without nulls."""
    names = sorted(columns)
    pieces: list[pa.Array | bytes] = [struct.pack("<I", len(names))]
    pieces += [struct.pack("<II", KEY_TYPES["string"], len(name.encode())) + name.encode() for name in names]
    for name in names:
        if pa.types.is_integer(columns[name].type):
            numbers = _fixed(_octets(_numbers(columns[name].cast(pa.int64()))))
            pieces += [struct.pack("<II", KEY_TYPES["int64"], 8), numbers]
        else:
            texts = columns[name].cast(pa.binary())
            sizes = _fixed(lengths_of(texts).astype("<u4").view(np.uint8).reshape(-1, 4))
            pieces += [struct.pack("<I", KEY_TYPES["string"]), sizes, texts]
    return join_rows([*pieces, project.encode()], len(columns[names[0]]))


def packed(
    packing: Packing, columns: Sequence[pa.Array], event_us: Int64, known_us: Int64, valid_until_us: Int64
) -> list[pa.Array]:
    """Return the packed rows in parts to be joined: everything of fixed length, then each text."""
    rows, form = len(event_us), packing.form
    fixed = np.zeros((rows, form.size), np.uint8)
    fixed[:, :4] = np.frombuffer(packing.definition, np.uint8)
    for at, times in ((4, event_us), (12, known_us), (20, valid_until_us)):
        fixed[:, at : at + 8] = _octets(times.astype("<i8"))
    texts: list[pa.Array] = []
    numbers = 28 + packing.nulls
    missing = np.zeros((rows, len(columns)), bool)
    for place, column in enumerate(columns):
        if column.null_count:
            missing[:, place] = np.asarray(column.is_null())
        if pa.types.is_string(column.type):
            texts.append(column.fill_null("").cast(pa.binary()))
            number = lengths_of(texts[-1]).astype("<i8")
        else:
            number = _numbers(column)
        fixed[:, numbers + 8 * place : numbers + 8 * (place + 1)] = _octets(number)
    fixed[:, 28:numbers] = np.packbits(missing, axis=1, bitorder="little")
    return [_fixed(fixed), *texts]


def marks(event_us: Int64, known_us: Int64) -> pa.Array:
    """Return the marks of rows that are not packed: the beginning of a packed row, valid until the next one comes."""
    fixed = np.zeros((len(event_us), 28), np.uint8)
    for at, times in ((4, event_us), (12, known_us), (20, np.full(len(event_us), FOREVER_US))):
        fixed[:, at : at + 8] = _octets(times.astype("<i8"))
    return _fixed(fixed)


def binary(content: Sequence[bytes]) -> pa.Array:
    """Return some bytes as a column."""
    return pa.array(content, pa.binary())


def stamps(event_us: Int64) -> pa.Array:
    """Return event times as Feast stores them."""
    times, which = np.unique(event_us, return_inverse=True)
    encoded = pa.array([encode_time(EPOCH + int(one) * MICROSECOND) for one in times], pa.binary())
    return encoded.take(pa.array(which)) if len(times) else encoded


def protobuf(column: pa.Array) -> pa.Array:
    """Return values of int64, float64 or text in Feast's form; no value is no bytes."""
    absent = np.asarray(column.is_null()) if column.null_count else np.zeros(len(column), bool)
    if pa.types.is_string(column.type):
        texts = column.fill_null("").cast(pa.binary())
        sizes, which = np.unique(np.where(absent, -1, lengths_of(texts)), return_inverse=True)
        heads = pa.array([b"" if size < 0 else bytes([TAGS["string"]]) + varint(size) for size in sizes], pa.binary())
        return join_rows([heads.take(pa.array(which)), texts], len(texts))
    if pa.types.is_floating(column.type):
        found = np.empty((len(column), 9), np.uint8)
        found[:, 0] = TAGS["double"]
        found[:, 1:] = _octets(_numbers(column))
        return _binary(found[~absent], np.where(absent, 0, 9))
    return _varints(TAGS["int64"], _numbers(column), absent)


def join_rows(pieces: Sequence[pa.Array | bytes], rows: int) -> pa.Array:
    """Join pieces row by row; those that are bytes are the same in every row."""
    if not rows:
        return pa.array([], pa.binary())
    merged: list[pa.Array | bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += piece
        else:
            merged.append(piece)
    given = [pa.scalar(piece, pa.binary()) if isinstance(piece, bytes) else piece for piece in merged]
    return pc.binary_join_element_wise(*given, pa.scalar(b"", pa.binary()))


def column(rows: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """Return a column of a table in one piece, of a type; NaN is no value."""
    found = whole(rows[name].cast(kind))
    if not pa.types.is_floating(kind) or not pc.any(pc.is_nan(found)).as_py():
        return found
    return pc.if_else(pc.is_nan(found), pa.scalar(None, kind), found)


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column in one piece."""
    return (
        pa.concat_arrays(column.chunks)
        if isinstance(column, pa.ChunkedArray) and column.num_chunks
        else (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    )


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    """Return the numbers of a column, zero where there is none."""
    return np.asarray(column.fill_null(0) if column.null_count else column)


def _octets(numbers: npt.NDArray[Any]) -> Bytes:
    """Return each number as its eight bytes, little endian."""
    laid = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
    return laid.view(np.uint8).reshape(len(numbers), 8)


def _varints(tag: int, numbers: Int64, absent: npt.NDArray[np.bool_]) -> pa.Array:
    """Return numbers as protobuf fields; nothing where absent."""
    values = numbers.view(np.uint64)
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    found = np.empty((len(values), width + 1), np.uint8)
    found[:, 0] = tag
    lengths = np.full(len(values), 2)
    for place in range(width):
        rest = values >> np.uint64(7 * (place + 1)) if place < 9 else np.zeros(len(values), np.uint64)
        more = rest > 0
        found[:, place + 1] = (values >> np.uint64(7 * place)).astype(np.uint8) & 0x7F | more.astype(np.uint8) << 7
        lengths += more
    lengths[absent] = 0
    return _binary(found[np.arange(width + 1) < lengths[:, None]], lengths)


def _binary(data: Bytes, lengths: npt.NDArray[Any]) -> pa.Array:
    """Return a binary column of bytes that stand one behind the other."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    content = np.ascontiguousarray(data).reshape(-1)
    return pa.Array.from_buffers(pa.binary(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def _fixed(data: Bytes) -> pa.Array:
    """Return a binary column of rows of the same length."""
    return _binary(data, np.full(len(data), data.shape[1]))


def _offsets(column: pa.Array) -> npt.NDArray[np.int32]:
    whole = np.frombuffer(column.buffers()[1], np.int32) if column.buffers()[1] else np.zeros(1, np.int32)
    return whole[column.offset : column.offset + len(column) + 1]


def lengths_of(column: pa.Array) -> npt.NDArray[np.int32]:
    return np.diff(_offsets(column))
