"""Delta tables as sources: their files, and their columns where they have no rows."""

from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from rapport_feast.errors import Rejected, Terminal, one_line
from rapport_feast.sql import quoted

ROW = "file_row_number"


def delta_files(source: str, path: Path) -> list[str]:
    """Return the files of a table's newest version, sorted; none where it has no rows.

    Raises
    ------
    Rejected
        There is no Delta table.
    Terminal
        Its log cannot be read.
    """
    return sorted(_open(source, path).file_uris())


def empty_relation(con: duckdb.DuckDBPyConnection, source: str, path: Path) -> str:
    """Return a table without files as SQL: its columns and none of its rows."""
    con.register("empty", pa.schema(_open(source, path).schema().to_arrow()).empty_table())
    types = con.sql("DESCRIBE empty").fetchall()
    columns = [f"NULL::{kind} AS {quoted(column)}" for column, kind, *_ in types]
    return f"(SELECT {', '.join(columns)}, 0 AS file_index, 0 AS {ROW} WHERE false)"


def _open(source: str, path: Path) -> DeltaTable:
    if not DeltaTable.is_deltatable(str(path)):
        raise Rejected(f"source {source}", "a Delta table", f"none at {path}")
    try:
        return DeltaTable(str(path))
    except DeltaError as error:
        raise Terminal(
            f"Table {path}: its log cannot be read, restore it from a backup ({one_line(error)})."
        ) from error
