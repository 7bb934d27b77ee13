"""The lake: Delta tables partitioned by night, replaced whole partitions at a time and never touched otherwise.

Every table has one partition column of type ``date``. A commit carries the run, the nights it owns and the digest of
its inputs, so lineage and the no-op check need no second store (rules T2, T5, law 8).

A data file carries the checksum of its bytes in its name, so the log that names the file also says what it held. It is
checked before the file is handed to anybody. A damaged one is set aside, and its night counts as never written until
somebody writes it again.
"""

import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from uuid import uuid4

import duckdb
import psutil
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake._internal import RemoveAction
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from infra.clock import Nights
from infra.lake import data_files
from infra.lake.commit import Commit
from infra.lake.rows import as_delta, digest_query, parts_by_night
from infra.telemetry import Log
from rapport_feast.errors import Rejected, Terminal, Transient, one_line
from rapport_feast.locks import exclusive_lock

LOG = Log(__name__)

NIGHT = "night"
LOCK, SPILL, DAMAGED = ".lock", ".spill", ".damaged"


# The log is the lineage and is read for it; Delta would drop entries after 30 days.
CONFIGURATION = {"delta.logRetentionDuration": "interval 36500 days"}
LOG_FILE = re.compile(r"\d{20}(\.checkpoint.*)?\.(json|parquet|crc)|_last_checkpoint")


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
        found = (str(log.parent.relative_to(self.root)) for log in self.root.glob("**/_delta_log"))
        return sorted(table for table in found if self.exists(table))

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
            Another writer committed first, or the disk is full; the old nights stand.
        """
        folder = self.root / table
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The lock file names the write that is under way: the next holder removes what a killed one left.
            with exclusive_lock(folder / LOCK) as lock:
                lock.seek(0)
                self._sweep(table, lock.read())
                lock.truncate(0)
                write = uuid4().hex
                print(write, end="", file=lock, flush=True)
                try:
                    self._write(table, write, rows, commit, partition)
                finally:
                    self._sweep(table, write)
        except (OSError, DeltaError) as error:
            why = one_line(error)
            raise Transient(
                f"{table}: nights {commit.nights} could not be written, the old ones stand ({why})."
            ) from error

    def _write(self, table: str, name: str, rows: pa.Table, commit: Commit, partition: str) -> None:
        """Write the files of some nights under the name of this write, and commit them."""
        folder = self.root / table
        delta = self._open(table) if self.exists(table) else None
        rows = as_delta(table, rows, self.schema(table) if delta else pa.schema([]))
        schema = Schema.from_arrow(rows.schema)

        # A night that is written again with equal rows keeps its file: nobody need notice.
        held = {_below(file): file for file in map(Path, _uris(delta, commit.nights, partition) if delta else ())}
        lost = {file for file, _ in data_files.faults([str(file) for file in held.values()], self.threads)}
        sound = {at: file for at, file in held.items() if str(file) not in lost}
        kept = {(_night_of(file), data_files.checksum_of(file)): at for at, file in sound.items()}

        def write(part: tuple[str, pa.Table]) -> AddAction | str:
            night, rows = part
            checksum, content = data_files.seal(rows)
            if at := kept.get((night, checksum)):
                return at
            path = data_files.write(folder / f"{partition}={night}", checksum, name, content)
            told = json.dumps({"numRecords": rows.num_rows})
            return AddAction(_below(path), content.size, {partition: night}, _now(), True, told)

        with ThreadPoolExecutor(self.threads) as pool:
            written = list(pool.map(write, parts_by_night(rows, partition)))
        added = [action for action in written if isinstance(action, AddAction)]
        properties = CommitProperties(custom_metadata=commit.metadata())
        if delta is None:
            create_table_with_add_actions(
                str(folder),
                schema,
                added,
                partition_by=[partition],
                configuration=CONFIGURATION,
                commit_properties=properties,
            )
            return
        known = {field.name for field in delta.schema().fields}
        if fresh := [field for field in schema.fields if field.name not in known]:
            delta.alter.add_columns(fresh)
        removed = [
            RemoveAction(at, True, _now(), None, {partition: _night_of(file)})
            for at, file in held.items()
            if at not in written
        ]
        delta.create_write_transaction(
            [*added, *removed], "append", delta.schema(), [partition], commit_properties=properties
        )

    def _sweep(self, table: str, name: str) -> None:
        """Remove what a write did not commit; only one process writes a table at a time, so it is nobody's."""
        folder = self.root / table
        if left := list(folder.glob(f"*/*-{name}.parquet")) if name else []:
            held = {Path(file).name for file in _uris(self._open(table))} if self.exists(table) else set()
            for file in left:
                if file.name not in held:
                    file.unlink()
        for file in (folder / "_delta_log").glob("*"):
            if not LOG_FILE.fullmatch(file.name):
                file.unlink()

    def _open(self, table: str) -> DeltaTable:
        try:
            return DeltaTable(self.path(table))
        except DeltaError as error:
            raise Terminal(
                f"Table {table}: its log cannot be read, restore it from a backup ({one_line(error)})."
            ) from error

    def files(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> list[str]:
        """Return the Parquet files that hold a table, or some nights of it; empty if there are none.

        Read them with hive partitioning: the partition column stands in the path only.

        Raises
        ------
        Terminal
            A file does not hold what was written. It is set aside, and its night is refused until it is written again.
        """
        if not self.exists(table):
            return []
        found = _uris(self._open(table), nights, partition)
        for file, fault in data_files.faults(found, self.threads):
            raise Terminal(self._set_aside(table, Path(file), fault))
        return found

    def checksums(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> dict[date, str]:
        """Return what each night of a table is known by: the checksums in the names of its files, which nobody reads.

        Equal rows, in the same order, have equal checksums; a night without a row has no entry.
        """
        found: dict[date, list[str]] = {}
        for file in map(Path, _uris(self._open(table), nights, partition) if self.exists(table) else ()):
            found.setdefault(date.fromisoformat(_night_of(file)), []).append(data_files.checksum_of(file))
        return {night: "-".join(sorted(sums)) for night, sums in sorted(found.items())}

    def rows(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> int:
        """Return how many rows a table has, or some nights of it, as its log says."""
        if not self.exists(table):
            return 0
        files = self._open(table).get_add_actions(flatten=True)
        days = [date.fromisoformat(str(day)) for day in files[f"partition.{partition}"].to_pylist()]
        counts = zip(days, files["num_records"].to_pylist(), strict=True)
        return sum(rows for day, rows in counts if nights is None or nights.first <= day <= nights.last)

    def damaged(self, table: str, night: date) -> bool:
        """Return whether a night of a table has to be written again, because what was written is not there any more."""
        if not self.exists(table):
            return False
        delta = self._open(table)
        (partition,) = delta.metadata().partition_columns
        faults = data_files.faults(_uris(delta, Nights(night, night), partition), self.threads)
        for file, fault in faults:
            self._set_aside(table, Path(file), fault)
        return bool(faults)

    def _set_aside(self, table: str, file: Path, fault: str) -> str:
        """Move a damaged file to where nothing reads it, with its reason; return the sentence to say."""
        place = self.root / DAMAGED / table / file.parent.name / file.name
        reason = place.with_suffix(".txt")
        if reason.exists():
            fault = reason.read_text(encoding="utf-8").strip()
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            reason.write_text(f"{fault}\n", encoding="utf-8")
        with suppress(FileNotFoundError):
            file.replace(place)
        night = _night_of(file)
        LOG.error("damaged file set aside", table=table, night=night)
        return (
            f"Table {table}, night {night}: {fault}; nothing reads the night until it is written again:"
            f" rapport nightly --night {night}."
        )

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Return a DuckDB connection in UTC with the lake's limits."""
        connection = duckdb.connect(
            config={"threads": self.threads, "memory_limit": self.memory, "temp_directory": str(self.spill())}
        )
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def spill(self) -> Path:
        """Return where a connection may spill to; DuckDB names its files alike in all, and a killed one leaves them."""
        home = self.root / SPILL
        home.mkdir(parents=True, exist_ok=True)
        for left in home.iterdir():
            pid = left.name.partition("-")[0]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(left, ignore_errors=True)
        return home / f"{os.getpid()}-{next(_connections)}"

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
            rows = f"SELECT * FROM {source}{where}"
            if self._is_older(connection, table, files):
                connection.register(f"{name}__empty", self.schema(table).empty_table())
                rows += f' UNION ALL BY NAME SELECT * FROM "{name}__empty"'
            connection.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {rows}')
        else:
            connection.register(f"{name}__empty", self.schema(table).empty_table())
            connection.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT * FROM "{name}__empty"')
        return name

    def _is_older(self, connection: duckdb.DuckDBPyConnection, table: str, files: list[str]) -> bool:
        """Return whether some files may lack columns that the table got since: it only ever gets more."""
        newest = f"read_parquet({[max(files)]!r}, hive_partitioning = true)"
        there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {newest}").fetchall()}
        return not there.issuperset(self.schema(table).names)

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
        return pa.schema(self._open(table).schema().to_arrow())

    def digests(self, table: str, nights: Nights | None = None, *, partition: str = NIGHT) -> dict[date, str]:
        """Return a digest per night, over the sorted rows, whatever files hold them.

        A night without a row has no entry. Columns take part by name, so their order does not count.
        """
        if not self.exists(table):
            return {}
        with self.connect() as connection:
            name = self.view(connection, table, nights, partition=partition)
            return dict(connection.execute(digest_query(name, self.schema(table).names, partition)).fetchall())

    def digest_rows(self, rows: pa.Table, *, partition: str = NIGHT) -> dict[date, str]:
        """Return the digests that some rows would have as a table, night by night."""
        with self.connect() as connection:
            connection.register("fresh", rows)
            return dict(connection.execute(digest_query("fresh", rows.schema.names, partition)).fetchall())

    def commits(self, table: str) -> list[Commit]:
        """Return our commits of a table, newest first."""
        if not self.exists(table):
            return []
        entries = (Commit.from_metadata(entry) for entry in self._open(table).history())
        return [commit for commit in entries if commit is not None]

    def owner(self, table: str, night: date) -> Commit | None:
        """Return the newest commit that owns a night of a table; None if no run wrote it yet, or it is damaged."""
        if self.damaged(table, night):
            return None
        return next((c for c in self.commits(table) if c.nights.first <= night <= c.nights.last), None)

    def newest(self, table: str) -> date | None:
        """Return the newest night that any run wrote of a table, also where it came out empty."""
        return max((commit.nights.last for commit in self.commits(table)), default=None)

    def oldest(self, table: str) -> date | None:
        """Return the oldest night that any run wrote of a table."""
        return min((commit.nights.first for commit in self.commits(table)), default=None)


_connections = count()


def _uris(delta: DeltaTable, nights: Nights | None = None, partition: str = NIGHT) -> list[str]:
    """Return the files of a table, or of some of its nights."""
    between = f"{partition} >= '{nights.first}' AND {partition} <= '{nights.last}'" if nights else None
    return sorted(delta.file_uris(file_pruning_predicate=between))


def _night_of(file: Path) -> str:
    return file.parent.name.partition("=")[2]


def _below(file: Path) -> str:
    """Return a file as its table's log names it."""
    return f"{file.parent.name}/{file.name}"


def _now() -> int:
    """Return milliseconds since 1970, as Delta's log has them."""
    return int(time.time() * 1000)
