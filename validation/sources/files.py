"""Adapters for a user's own CSV, JSONL and Parquet files: values as text as they came, columns as the company says."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.company.source import Source
from rapport_feast.errors import Rejected
from rapport_feast.sql import quoted
from validation.contracts.own import contract_of
from validation.sources.json_text import records
from validation.sources.protocol import BROKEN, mapped_columns

csv.field_size_limit(1 << 24)


class MappedFile:
    """What the three have in common: the company file alone says which column is which."""

    publisher = ""

    def derive(self, rows: pa.Table) -> pa.Table:
        """Return the rows as they are."""
        return rows

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return the columns that the company file states."""
        return mapped_columns(source, {})

    def available(self, source: Source) -> str:
        """Return the availability column, or the event time's where the company file names none."""
        return quoted(source.available) if source.available else self.columns(source)["event_time"]

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns that the company file names: every file states them."""
        return sorted({*source.columns.values(), *([source.available] if source.available else [])})


class Csv(MappedFile):
    """Comma-separated UTF-8 text with a header; a line of the wrong length is kept whole and quarantined."""

    def read(self, path: Path) -> pa.Table:
        """Read one file; an empty field is a missing value.

        Raises
        ------
        Rejected
            The file has no header, names a column twice, or is no UTF-8 text.
        """
        with path.open(encoding="utf-8-sig", newline="") as lines:
            try:
                rows = list(csv.reader(lines))
            except (UnicodeDecodeError, csv.Error) as error:
                raise Rejected(f"file {path.name}", "comma-separated UTF-8 text", str(error)) from None
        if not rows or len(set(rows[0])) < len(rows[0]):
            found = "an empty file" if not rows else "a column named twice"
            raise Rejected(f"file {path.name}", "a header that names every column once", found)
        header, rows = rows[0], [row for row in rows[1:] if row]
        whole = [row if len(row) == len(header) else [""] * len(header) for row in rows]
        broken = [None if len(row) == len(header) else ",".join(row) for row in rows]
        columns = {name: [row[i] or None for row in whole] for i, name in enumerate(header)}
        return text_table({**columns, BROKEN: broken})


class Jsonl(MappedFile):
    """One JSON object a line; numbers keep their digits, a line that is no object is kept whole and quarantined."""

    def read(self, path: Path) -> pa.Table:
        """Read one file; a missing key is a missing value.

        Raises
        ------
        Rejected
            The file is no UTF-8 text.
        """
        try:
            lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        except UnicodeDecodeError as error:
            raise Rejected(f"file {path.name}", "JSON lines in UTF-8", str(error)) from None
        rows = list(records(lines))
        names = dict.fromkeys(name for row in rows for name in row)
        names.setdefault(BROKEN)
        return text_table({name: [row.get(name) for row in rows] for name in names})

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns of required columns and of the availability; other keys may be left out."""
        must = {column.name for column in contract_of(source).all_columns if column.required}
        named = {raw for column, raw in source.columns.items() if column in must}
        return sorted(named | ({source.available} if source.available else set()))


class Parquet(MappedFile):
    """Parquet; times become ISO text with their zone, everything else the text that Arrow gives it."""

    def read(self, path: Path) -> pa.Table:
        """Read one file.

        Raises
        ------
        Rejected
            The file is cut off, is no Parquet, or holds nested columns.
        """
        try:
            rows = pq.read_table(path, partitioning=None)
            return pa.table({name: rows[name].cast(pa.string()) for name in rows.column_names})
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            reason = str(error).splitlines()[0].removesuffix(".")
            raise Rejected(f"file {path.name}", "a whole Parquet file of plain columns", reason) from None


def text_table(columns: Mapping[str, Sequence[str | None]]) -> pa.Table:
    """Return columns of text as an Arrow table."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
