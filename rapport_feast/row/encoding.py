"""Rows of a view as the script takes them: encoded column by column, in chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from rapport_feast.row.binary_columns import ARROW, Int64, column, entity_keys, packed, protobuf, stamps
from rapport_feast.row.keys import feature_field, row_field, time_field
from rapport_feast.row.layout import Packing

Times = int | Int64
VALUES_A_CHUNK = 100_000
ROWS_A_CHUNK = 10_000


@dataclass(frozen=True)
class ViewForm:
    """How the rows of a view of one text key stand online: the key's name, the view's and its packed row."""

    project: str
    key: str
    view: str
    packing: Packing

    @cached_property
    def fields(self) -> tuple[bytes, ...]:
        """The hash field of each feature."""
        return tuple(feature_field(self.view, name) for name in self.packing.names)

    def keys(self, ids: Sequence[str] | pa.Array) -> pa.Array:
        """Return the keys of some entities, as ``keys.entity_key`` gives them one by one."""
        return entity_keys(self.project, {self.key: pa.array(ids, pa.string())})


@dataclass(frozen=True)
class EncodedRows:
    """Encoded rows, one per entity key: what the script is given.

    Attributes
    ----------
    keys
        Hash keys, binary.
    mark
        The field of the mark, and its parts, which are joined; the first begins with the order of the row.
    stamp
        The field of the event time, and each row's.
    fields, values
        The hash field of each feature, and each row's encoded value, without nulls.
    replace
        Whether a row of the very same event time and known-at takes the place of another one.
    """

    keys: pa.Array
    mark: tuple[bytes, Sequence[pa.Array]]
    stamp: tuple[bytes, pa.Array]
    fields: Sequence[bytes]
    values: Sequence[pa.Array]
    replace: bool = False


def encode(
    form: ViewForm,
    ids: Sequence[str] | pa.Array,
    rows: pa.Table,
    event_us: Int64,
    known_us: Int64,
    valid_until_us: Int64,
    shown: pa.Table | None = None,
) -> EncodedRows:
    """Return rows of a view as the script takes them."""
    columns = [column(rows, name, ARROW[dtype]) for name, dtype in _dtypes(form.packing)]
    differs = set(shown.column_names if shown is not None else ())
    feasts = [
        column(shown, name, ARROW[dtype]) if name in differs else same
        for same, (name, dtype) in zip(columns, _dtypes(form.packing), strict=True)
    ]
    return EncodedRows(
        form.keys(ids),
        (row_field(form.view), packed(form.packing, columns, event_us, known_us, valid_until_us)),
        (time_field(form.view), stamps(event_us)),
        form.fields,
        [protobuf(one) for one in feasts],
    )


def chunk_rows(features: int) -> int:
    """Return how many rows of so many features make a chunk."""
    return max(1, min(ROWS_A_CHUNK, VALUES_A_CHUNK // max(features, 1)))


def _dtypes(packing: Packing) -> list[tuple[str, str]]:
    return list(zip(packing.names, packing.dtypes, strict=True))
