"""Rows on their way into a table: in its types, night by night, and the digest of a night."""

from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import Schema

from rapport_feast.errors import Terminal


def as_delta(table: str, rows: pa.Table, known: pa.Schema) -> pa.Table:
    """Return rows in the types of the table, and in types that Delta has where a column is new."""

    def plain(field: pa.Field) -> pa.DataType:
        if field.name in known.names:
            return known.field(field.name).type
        if pa.types.is_timestamp(field.type):
            return pa.timestamp("us", "UTC" if field.type.tz else None)
        # A column without any value has no type of its own; it is a text that is always missing.
        if pa.types.is_null(field.type):
            return pa.string()
        return pa.schema(Schema.from_arrow(pa.schema([field])).to_arrow()).field(0).type

    try:
        return rows.cast(pa.schema([(field.name, plain(field)) for field in rows.schema]))
    except pa.ArrowInvalid as error:
        raise Terminal(f"Table {table}: the rows do not fit its columns ({error}).") from error


def parts_by_night(rows: pa.Table, partition: str) -> list[tuple[str, pa.Table]]:
    """Return the rows of each night, in the order in which they came."""
    runs = pc.run_end_encode(rows[partition].combine_chunks())
    if len(runs.values) > len(pc.unique(runs.values)):
        return parts_by_night(rows.take(pc.sort_indices(rows[partition])), partition)
    bounds = pairwise([0, *runs.run_ends.to_pylist()])
    held = rows.drop_columns(partition)
    return [
        (str(night), held.slice(first, last - first))
        for night, (first, last) in zip(runs.values.to_pylist(), bounds, strict=True)
    ]


def digest_query(view: str, names: list[str], partition: str) -> str:
    columns = sorted(set(names) - {partition})
    row = ", ".join(f"coalesce('{column}=' || \"{column}\"::VARCHAR, '')" for column in columns)
    return f"""SELECT {partition}, sha256(string_agg(row, '' ORDER BY row)) FROM (
                   SELECT {partition}, md5(concat_ws(chr(31), {row})) AS row FROM "{view}") GROUP BY 1 ORDER BY 1"""
