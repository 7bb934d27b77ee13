"""The lake: Delta tables partitioned by night, replaced whole partitions at a time and never touched otherwise.

Every table has one partition column of type ``date``. A commit carries the run, the nights it owns and the digest of
its inputs, so lineage and the no-op check need no second store (rules T2, T5, law 8).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from infra.clock import Nights
from infra.errors import Rejected, Transient

NIGHT = "night"


@dataclass(frozen=True)
class Commit:
    """What a commit of a table says about itself.

    Attributes
    ----------
    nights
        The partitions that it replaced, also those that came out empty.
    inputs
        Digest of everything the rows were computed from, code version included.
    run
        The run that wrote it.
    notes
        Anything else worth keeping, as JSON-able values.
    """

    nights: Nights
    inputs: str = ""
    run: str = ""
    notes: Mapping[str, Any] | None = None

    def metadata(self) -> dict[str, str]:
        """Return the commit as Delta's commit metadata: text by text."""
        return {
            "rapport.nights": f"{self.nights.first}/{self.nights.last}",
            "rapport.inputs": self.inputs,
            "rapport.run": self.run,
            "rapport.notes": json.dumps(self.notes or {}, sort_keys=True, default=str),
        }

    @classmethod
    def from_metadata(cls, entry: Mapping[str, Any]) -> "Commit | None":
        """Read a commit from an entry of the table's history; None if it is not one of ours."""
        if "rapport.nights" not in entry:
            return None
        first, last = (date.fromisoformat(text) for text in entry["rapport.nights"].split("/"))
        return cls(
            Nights(first, last), entry["rapport.inputs"], entry["rapport.run"], json.loads(entry["rapport.notes"])
        )


@dataclass(frozen=True)
class Lake:
    """A folder of Delta tables.

    Parameters
    ----------
    root
        Folder of the tables; a table named ``silver/orders`` lies in the folder of that name.
    threads, memory
        Limits of DuckDB when it reads; it spills to disk beyond the memory.
    """

    root: Path
    threads: int = 2
    memory: str = "2GB"

    def path(self, table: str) -> str:
        """Return where a table lies."""
        return str(self.root / table)

    def exists(self, table: str) -> bool:
        """Return whether a table was ever written."""
        return bool(DeltaTable.is_deltatable(self.path(table)))

    def tables(self) -> list[str]:
        """Return the names of all tables, sorted."""
        return sorted(str(log.parent.relative_to(self.root)) for log in self.root.glob("**/_delta_log"))

    def replace(self, table: str, rows: pa.Table, commit: Commit, *, partition: str = NIGHT) -> None:
        """Replace the commit's nights of a table, all of them at once or not at all.

        Parameters
        ----------
        table
            Name of the table, made if it is not there.
        rows
            The new rows of those nights, with the partition column of type ``date32``. May be empty.
        commit
            The nights that the rows own, and where they came from.
        partition
            Name of the partition column.

        Raises
        ------
        Transient
            Another writer committed first, or the disk is full.
        """
        properties = CommitProperties(custom_metadata=commit.metadata())
        nights = commit.nights
        try:
            if self.exists(table):
                write_deltalake(
                    self.path(table),
                    rows,
                    mode="overwrite",
                    schema_mode="merge",
                    commit_properties=properties,
                    predicate=f"{partition} >= '{nights.first}' AND {partition} <= '{nights.last}'",
                )
            else:
                write_deltalake(self.path(table), rows, partition_by=[partition], commit_properties=properties)
        except CommitFailedError as error:
            raise Transient(f"{table}: another run wrote nights {nights} first ({error}).") from error
        except OSError as error:
            raise Transient(f"{table}: nights {nights} could not be written, the old ones stand ({error}).") from error

    def files(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> list[str]:
        """Return the Parquet files that hold a table, or some nights of it; empty if there are none.

        Read them with hive partitioning: the partition column stands in the path only.
        """
        if not self.exists(table):
            return []
        predicate = None
        if nights is not None:
            predicate = f"{partition} >= '{nights.first}' AND {partition} <= '{nights.last}'"
        return sorted(DeltaTable(self.path(table)).file_uris(file_pruning_predicate=predicate))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB connection in UTC with the lake's limits."""
        connection = duckdb.connect(
            config={
                "threads": self.threads,
                "memory_limit": self.memory,
                "temp_directory": str(self.root / ".spill"),
            }
        )
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def view(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: str,
        nights: Nights | None = None,
        *,
        name: str = "",
        partition: str = NIGHT,
    ) -> str:
        """Make a table, or some nights of it, a view of a DuckDB connection.

        Returns
        -------
        str
            The name of the view: ``name``, or the table's with underscores for slashes.

        Raises
        ------
        Rejected
            The table does not exist.
        """
        if not self.exists(table):
            raise Rejected(
                f"table {table}", "a table that an earlier step wrote", "none", "Run the nightly ring first."
            )
        name = name or table.replace("/", "_")
        files = self.files(table, nights, partition=partition)
        if files:
            source = f"read_parquet({files!r}, hive_partitioning = true, union_by_name = true)"
            where = f" WHERE {partition} BETWEEN DATE '{nights.first}' AND DATE '{nights.last}'" if nights else ""
            connection.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM {source}{where}')
        else:
            connection.register(f"{name}__empty", self.schema(table).empty_table())
            connection.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM "{name}__empty"')
        return name

    def read(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> pa.Table:
        """Return a table, or some nights of it, as Arrow.

        Raises
        ------
        Rejected
            The table does not exist.
        """
        with self.connect() as connection:
            name = self.view(connection, table, nights, partition=partition)
            return connection.sql(f'SELECT * FROM "{name}"').to_arrow_table()

    def schema(self, table: str) -> pa.Schema:
        """Return the Arrow schema of a table."""
        return pa.schema(DeltaTable(self.path(table)).schema().to_arrow())

    def digests(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> dict[date, str]:
        """Return a digest per night, over the sorted rows, whatever files hold them.

        A night without a row has no entry. Columns take part by name, so their order does not count.
        """
        if not self.exists(table):
            return {}
        with self.connect() as connection:
            name = self.view(connection, table, nights, partition=partition)
            return dict(connection.execute(_digest_query(name, self.schema(table).names, partition)).fetchall())

    def digest_rows(self, rows: pa.Table, *, partition: str = NIGHT) -> dict[date, str]:
        """Return the digests that some rows would have as a table, night by night."""
        with self.connect() as connection:
            connection.register("fresh", rows)
            return dict(connection.execute(_digest_query("fresh", rows.schema.names, partition)).fetchall())

    def commits(self, table: str) -> list[Commit]:
        """Return our commits of a table, newest first."""
        if not self.exists(table):
            return []
        entries = (Commit.from_metadata(entry) for entry in DeltaTable(self.path(table)).history())
        return [commit for commit in entries if commit is not None]

    def owner(self, table: str, night: date) -> Commit | None:
        """Return the newest commit that owns a night of a table; None if no run wrote it yet."""
        return next((c for c in self.commits(table) if c.nights.first <= night <= c.nights.last), None)

    def newest(self, table: str) -> date | None:
        """Return the newest night that any run wrote of a table, also where it came out empty."""
        return max((commit.nights.last for commit in self.commits(table)), default=None)

    def oldest(self, table: str) -> date | None:
        """Return the oldest night that any run wrote of a table."""
        return min((commit.nights.first for commit in self.commits(table)), default=None)


def _digest_query(view: str, names: list[str], partition: str) -> str:
    columns = sorted(set(names) - {partition})
    row = ", ".join(f"coalesce('{column}=' || \"{column}\"::VARCHAR, '')" for column in columns)
    return f"""SELECT {partition}, sha256(string_agg(row, '' ORDER BY row)) FROM (
                   SELECT {partition}, md5(concat_ws(chr(31), {row})) AS row FROM "{view}") GROUP BY 1 ORDER BY 1"""
