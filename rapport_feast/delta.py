"""Delta tables as sources: their files, and their columns where they have no rows."""

from pathlib import Path

import duckdb
from feast.data_source import DataSource

from infra.lake.lake import Lake
from rapport_feast.sources import path_of
from rapport_feast.sql import name

ROW = "file_row_number"


def delta_table(path: Path, lake: Path | None) -> tuple[Lake, str]:
    if lake and path.is_relative_to(lake):
        return Lake(lake), str(path.relative_to(lake))
    return Lake(path.parent), path.name


def empty_relation(con: duckdb.DuckDBPyConnection, source: DataSource, lake: Path | None) -> str:
    home, table = delta_table(path_of(source, None), lake)
    con.register("empty", home.schema(table).empty_table())
    types = con.sql("DESCRIBE empty").fetchall()
    columns = [f"NULL::{kind} AS {name(column)}" for column, kind, *_ in types]
    return f"(SELECT {', '.join(columns)}, 0 AS file_index, 0 AS {ROW} WHERE false)"
