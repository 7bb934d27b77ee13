"""The database of the local store: one DuckDB in this process, against which Ibis compiles and cursors run."""

import warnings
from threading import Lock

import ibis
import pyarrow as pa
from duckdb import DuckDBPyConnection
from ibis.expr.types import Table

from infra.lake.lake import Lake


class Database:
    """An in-memory DuckDB database beside the lake.

    Parameters
    ----------
    lake
        Where the tables of the last published night lie.
    """

    def __init__(self, lake: Lake) -> None:
        self.connection = lake.connect()
        self._ibis = ibis.duckdb.from_connection(self.connection)
        self._warnings = Lock()

    def close(self) -> None:
        """Give back what DuckDB holds; cursors are closed before."""
        self.connection.close()

    def cursor(self) -> DuckDBPyConnection:
        """Return another connection to the same database, for one thread; session settings are its own."""
        cursor = self.connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor

    def table(self, name: str) -> Table:
        """Return a table as an Ibis expression."""
        return self._ibis.table(name)

    def compile(self, query: Table) -> str:
        """Return the SQL of an Ibis expression."""
        return str(self._ibis.compile(query))

    def arrow(self, statement: str, cursor: DuckDBPyConnection) -> pa.Table:
        """Run a statement on a cursor and return its rows."""
        # ``sql`` runs a prepared statement in twice the time; the copy that DuckDB warns of is a few rows. Filters of
        # warnings belong to the process, so one thread at a time sets them.
        result = cursor.execute(statement)
        with self._warnings, warnings.catch_warnings(action="ignore", category=UserWarning):
            return result.to_arrow_table()

    def has_rows(self, table: str, cursor: DuckDBPyConnection | None = None) -> bool:
        """Return whether a table has any row."""
        return bool((cursor or self.connection).execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall())
