"""Files read as raw rows, and the moment at which each became available (rule T1)."""

from collections.abc import Iterable
from datetime import timedelta

import pyarrow as pa

from infra.company.source import Source
from rapport_feast.errors import Rejected
from validation.contracts.parse import parsed_sql
from validation.sources.arrivals import Arrival
from validation.sources.catalogue import adapter
from validation.sources.protocol import missing_columns


def availability(source: Source) -> str:
    """Return SQL of the moment at which a raw row became available: rule T1, null where its text cannot be read."""
    lag = source.lag // timedelta(microseconds=1)
    return (
        f"{parsed_sql('time', adapter(source).available(source), source.shift_weeks)} + INTERVAL '{lag} microseconds'"
    )


def read_files(source: Source, files: Iterable[Arrival]) -> pa.Table:
    """Return the rows of files as text, with ``_file``, ``_position`` and ``_night`` (null for a whole history).

    Raises
    ------
    Rejected
        A file cannot be read, lacks a column, or holds fewer rows than the source must.
    """
    reader = adapter(source)
    columns = reader.columns(source)
    if unstated := {"event_id", "event_time"} - set(columns):
        raise Rejected(
            f"source {source.name}, columns", "a column of the file for event_id and event_time", f"no {min(unstated)}"
        )
    tables = []
    for file in files:
        rows = reader.read(file.path)
        if source.nightly and rows.num_rows < source.min_rows:
            raise Rejected(f"file {file.name}", f"at least {source.min_rows} row(s)", str(rows.num_rows))
        missing = [name for name in reader.needs(source) if name not in rows.column_names]
        if missing and (rows.num_rows or rows.num_columns > 1):
            raise missing_columns(file.path, missing, rows.column_names)
        rows = rows.append_column("_file", pa.repeat(pa.scalar(file.name), rows.num_rows))
        rows = rows.append_column("_position", pa.array(range(rows.num_rows), pa.int64()))
        tables.append(rows.append_column("_night", pa.repeat(pa.scalar(file.night, pa.date32()), rows.num_rows)))
    # A night of empty files, or whose records leave a key out, still has the columns that the company file names.
    named = {*source.columns.values(), *([source.available] if source.available else [])}
    tables.append(pa.schema([(name, pa.string()) for name in sorted(named)]).empty_table())
    return reader.derive(pa.concat_tables(tables, promote_options="default"))
