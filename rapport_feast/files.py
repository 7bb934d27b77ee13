"""Feast's file sources as DuckDB reads and writes them: Parquet files, globs and folders, and Delta tables.

Under ``offline.py``. A row is known by file and number, so that a join may carry that instead of every column.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import DataSource

from rapport_feast.delta import ROW, delta_files, empty_relation
from rapport_feast.errors import Rejected
from rapport_feast.locks import exclusive_lock
from rapport_feast.sources import is_delta, path_of
from rapport_feast.sql import literal


@dataclass(frozen=True)
class SourceRows:
    """A source as SQL: what stands after ``FROM``, and the two columns that know a row of it, oldest first."""

    relation: str
    row: tuple[str, str]


def rows_of(
    con: duckdb.DuckDBPyConnection, source: DataSource, columns: Iterable[str], repo: Path | None
) -> SourceRows:
    """Return a source as SQL.

    Parameters
    ----------
    columns
        Those that will be asked for.
    repo
        Where relative paths begin.

    Raises
    ------
    Rejected
        It is no local file source, there is no such file, or a column is missing.
    """
    files = files_of(source, repo)
    listed = ", ".join(literal(file) for file in files)
    plain = f"read_parquet([{listed}], hive_partitioning = false, union_by_name = {str(len(files) > 1).lower()})"
    # Where partition columns are read, DuckDB leaves files out and numbers the rest anew, so the name counts there.
    keyed = plain.replace("hive_partitioning = false", "hive_partitioning = true"), ("filename", ROW)
    wanted = set(columns)
    for relation, row in ((plain, ("file_index", ROW)), keyed):
        found = con.sql(f"SELECT * FROM {relation} LIMIT 0").columns if files else []
        if wanted <= set(found):
            return SourceRows(relation, row)
    if not files:
        return SourceRows(empty_relation(con, source.name, path_of(source, repo)), ("file_index", ROW))
    raise Rejected(f"source {source.name}", f"the columns {', '.join(sorted(wanted))}", f"only {', '.join(found)}")


def files_of(source: DataSource, repo: Path | None) -> list[str]:
    """Return the files of a source; none for a Delta table without rows."""
    path = path_of(source, repo)
    if is_delta(source):
        return delta_files(source.name, path)
    if path.is_dir():
        files = sorted(map(str, path.rglob("*.parquet")))
    elif path.exists():
        files = [str(path)]
    else:
        files = sorted(glob(str(path), recursive=True))
    if not files:
        raise Rejected(f"source {source.name}", "a Parquet file, glob or folder", f"none at {path}")
    return files


def append(source: DataSource, rows: pa.Table, repo: Path | None) -> None:
    """Add rows to a Parquet file, or as one more file to a folder.

    Raises
    ------
    Rejected
        It is a glob or a Delta table, whose nights have their own writer.
    """
    path = path_of(source, repo)
    if is_delta(source) or "*" in path.name:
        raise Rejected(f"source {source.name}", "a Parquet file or folder to write to", str(path))
    if path.is_dir():
        write(rows, path / f"{uuid4().hex}.parquet")
        return
    with exclusive_lock(path.with_name(f".{path.name}.lock")):
        before = pq.read_table(path, partitioning=None)
        # Behind the old rows: of two that are alike in all times, the later counts.
        write(pa.concat_tables([before, rows.select(before.schema.names).cast(before.schema)]), path)


def write(rows: pa.Table, path: Path) -> None:
    """Write a Parquet file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(rows, fresh)
    fresh.replace(path)
