"""DuckDB in this process, with the limits of the lake."""

import ibis
import pyarrow as pa
from ibis.expr.types import IntegerColumn, Table, TimestampColumn, Value

from infra.engine.engine import as_utc, builtin_function
from infra.workspace import Workspace


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _partitions(files: list[str], base: str) -> list[str]:
    """Return the partition columns that stand in the paths below a table's folder."""
    below = files[0].removeprefix(base).split("/")[:-1]
    return [part.partition("=")[0] for part in below if "=" in part]


class DuckDBEngine:
    """DuckDB in this process, with the limits of the lake."""

    name = "duckdb"

    def __init__(self, ws: Workspace) -> None:
        self._raw = ws.lake.connect()
        self._ibis = ibis.duckdb.from_connection(self._raw)
        self._micros = duckdb_micros
        self._moment = builtin_function("make_timestamptz", "int64", "timestamp('UTC')")

    def table(self, name: str, files: list[str], schema: pa.Schema, base: str) -> Table:
        if not files:
            return self.memtable(name, schema.empty_table())
        paths = ", ".join(_quoted(file) for file in files)
        types = ", ".join(f"{_quoted(column)}: DATE" for column in _partitions(files, base))
        source = f"read_parquet([{paths}], hive_partitioning = true, hive_types = {{{types}}}, union_by_name = true)"
        # The empty first half gives a column to files that were written before the table had it.
        self._raw.register(f"{name}__schema", schema.empty_table())
        both = f'SELECT * FROM "{name}__schema" UNION ALL BY NAME SELECT * FROM {source}'
        self._raw.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {both}')
        return self._ibis.table(name)

    def memtable(self, name: str, rows: pa.Table) -> Table:
        """Name a small Arrow table, without a copy."""
        self._raw.register(f"{name}__arrow", rows)
        self._raw.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM "{name}__arrow"')
        return self._ibis.table(name)

    def materialise(self, name: str, expr: Table) -> Table:
        """Compute an expression into a temporary table."""
        self._raw.execute(f'CREATE OR REPLACE TEMP TABLE "{name}" AS {self._ibis.compile(expr)}')
        return self._ibis.table(name)

    def to_arrow(self, expr: Table) -> pa.Table:
        return as_utc(self._raw.sql(self._ibis.compile(expr)).to_arrow_table(), expr)

    def micros(self, time: Value) -> IntegerColumn:
        return self._micros(time)

    def moment(self, micros: Value) -> TimestampColumn:
        return self._moment(micros)

    def close(self) -> None:
        self._raw.close()


def duckdb_micros(time: Value) -> IntegerColumn:
    """Return a time as int64 microseconds since 1970, on a DuckDB connection that no engine opened."""
    return builtin_function("epoch_us", "timestamp('UTC')", "int64")(time)
