"""Rows as RESP commands, one a row, joined by Arrow."""

import numpy as np
import pyarrow as pa

from rapport_feast.resp import encode_bulk, encode_command
from rapport_feast.row.binary_columns import _offsets, join_rows, lengths_of
from rapport_feast.row.encoding import EncodedRows
from rapport_feast.row.script import WRITE_SHA


def row_commands(rows: EncodedRows, flags: tuple[bytes, bytes]) -> pa.Array:
    """Return one RESP command per row."""
    count = 3 + 1 + 2 + 4 + 2 * len(rows.fields)
    constant = encode_command((b"EVALSHA", WRITE_SHA, b"1")).partition(b"\r\n")[2]
    pieces: list[pa.Array | bytes] = [b"*%d\r\n" % count + constant, *bulk_column(rows.keys)]
    pieces += [b"".join(map(encode_bulk, (*flags, rows.mark[0]))), *bulk_column(*rows.mark[1])]
    pieces += [encode_bulk(rows.stamp[0]), *bulk_column(rows.stamp[1])]
    for name, values in zip(rows.fields, rows.values, strict=True):
        pieces += [encode_bulk(name), *bulk_column(values)]
    return join_rows(pieces, len(rows.keys))


def bulk_column(*parts: pa.Array) -> list[pa.Array | bytes]:
    """Return the pieces of an argument whose bytes are joined of some parts."""
    lengths = np.sum([lengths_of(part) for part in parts], axis=0)
    if len(lengths) and (lengths == lengths[0]).all():
        return [b"$%d\r\n" % lengths[0], *parts, b"\r\n"]
    sizes, which = np.unique(lengths, return_inverse=True)
    heads = pa.array([b"$%d\r\n" % size for size in sizes], pa.binary())
    return [heads.take(pa.array(which)), *parts, b"\r\n"]


def content_of(commands: pa.Array) -> memoryview:
    """Return the bytes of some commands, one behind the other."""
    first, last = (_offsets(commands)[place] for place in (0, -1))
    return memoryview(commands.buffers()[2])[first:last]
