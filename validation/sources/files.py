"""Adapters for a user's own CSV, JSONL and Parquet files: values as text as they came, columns as the company says."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from infra.company import Source
from infra.errors import Rejected
from validation.contracts import CONTRACTS
from validation.sources.base import BROKEN, quoted, stated

csv.field_size_limit(1 << 24)
MAX_DEPTH = 32


class Mapped:
    """What the three have in common: the company file alone says which column is which."""

    publisher = ""

    def derive(self, rows: pa.Table) -> pa.Table:
        """Return the rows as they are."""
        return rows

    def columns(self, source: Source) -> Mapping[str, str]:
        """Return the columns that the company file states."""
        return stated(source, {})

    def available(self, source: Source) -> str:
        """Return the availability column, or the event time's where the company file names none."""
        return quoted(source.available) if source.available else self.columns(source)["event_time"]

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns that the company file names: every file states them."""
        return sorted({*source.columns.values(), *([source.available] if source.available else [])})


class Csv(Mapped):
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
        return texts({**columns, BROKEN: broken})


class Jsonl(Mapped):
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
        return texts({name: [row.get(name) for row in rows] for name in names})

    def needs(self, source: Source) -> Sequence[str]:
        """Return the raw columns of required columns and of the availability; other keys may be left out."""
        must = {column.name for column in CONTRACTS[source.fact].all_columns if column.required}
        named = {raw for column, raw in source.columns.items() if column in must}
        return sorted(named | ({source.available} if source.available else set()))


class Parquet(Mapped):
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


def records(lines: Sequence[str]) -> Iterator[dict[str, str | None]]:
    """Yield the objects of JSON lines with every value as text; a line that is none stands under ``_broken``."""
    for line in lines:
        row = record(line.encode())
        yield {BROKEN: line} if isinstance(row, str) else {name: text(value) for name, value in row.items()}


def record(line: bytes) -> dict[str, Any] | str:
    """Return the object that a JSON text is, numbers as their digits; else in a word why it is none.

    Examples
    --------
    >>> record(b'{"id": 1.50}'), record(b"[]"), record(b"{")
    ({'id': '1.50'}, 'not_object', 'not_json')
    """
    try:
        row = json.loads(line.decode("utf-8"), parse_int=str, parse_float=str, parse_constant=str)
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()  # half of a pair is no text
    except RecursionError:
        return "too_deep"
    except json.JSONDecodeError:
        return "not_json"
    except UnicodeError:
        return "not_text"
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH and depth(row) > MAX_DEPTH:
        return "too_deep"
    return row if isinstance(row, dict) else "not_object"


def depth(value: Any) -> int:
    """Return how deep a JSON value is nested.

    Examples
    --------
    >>> depth({"a": [1, {}]}), depth(1)
    (3, 0)
    """
    level, layer = 0, [value]
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        layer = [inner for one in layer for inner in (one.values() if isinstance(one, dict) else one)]
        level += 1
    return level


def text(value: Any) -> str | None:
    """Return a JSON value as text: ``true`` and ``false`` in words, nested values as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def texts(columns: Mapping[str, Sequence[str | None]]) -> pa.Table:
    """Return columns of text as an Arrow table."""
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
