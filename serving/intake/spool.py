"""Accepted events on disk while the log is away: one SQLite file, each event durable when it is acknowledged.

Every process of a company shares the file, so what a killed one left is there for the next; two that drain at once
append an event twice at most, and its id makes one of it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from rapport_feast.errors import one_line
from serving.errors import SpoolFull, SpoolUnusable

SPOOL_FILE = "spool.sqlite"
SPOOL_BYTES = 256_000_000
DRAIN_BYTES = 4_000_000
LOCK_SECONDS = 5.0
Record = tuple[str, bytes]

# A commit in WAL mode is durable only with FULL; drained events are personal data and leave no bytes behind.
SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS size (bytes INTEGER NOT NULL);
INSERT INTO size SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM size);
"""


class Spool:
    """First in, first out; may be used by several threads and processes.

    Parameters
    ----------
    home
        The folder of the file.
    limit
        Bytes of payload beyond which nothing more is taken.

    Raises
    ------
    SpoolUnusable
        The file cannot be opened.
    """

    def __init__(self, home: Path, limit: int = SPOOL_BYTES) -> None:
        self._limit = limit
        self._lock = Lock()
        home.mkdir(parents=True, exist_ok=True)
        with _disk_errors():
            self._db = sqlite3.connect(
                home / SPOOL_FILE, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._db.executescript(SCHEMA)

    def __len__(self) -> int:
        """Return how many bytes of payload wait."""
        with self._lock, _disk_errors():
            return self._bytes()

    def add(self, records: Sequence[Record]) -> None:
        """Put records last, on disk when this returns.

        Raises
        ------
        SpoolFull
            The limit is reached.
        SpoolUnusable
            The file cannot be written: the disk is full, say.
        """
        added = sum(len(payload) for _, payload in records)
        with self._transaction():
            if self._bytes() + added > self._limit:
                raise SpoolFull(f"The event log is away and the spool holds all of its {self._limit:,} bytes.")
            self._db.executemany("INSERT INTO event (source, payload) VALUES (?, ?)", records)
            self._db.execute("UPDATE size SET bytes = bytes + ?", (added,))

    def first(self) -> tuple[int, list[Record]] | None:
        """Return the oldest records with the id of the last of them; None if nothing waits."""
        rows: list[tuple[int, str, bytes]] = []
        size = 0
        with self._lock, _disk_errors():
            cursor = self._db.execute("SELECT id, source, payload FROM event ORDER BY id")
            for row in cursor:
                rows.append(row)
                size += len(row[2])
                if size >= DRAIN_BYTES:
                    break
            cursor.close()  # an open read would keep the WAL from being checkpointed
        return (rows[-1][0], [row[1:] for row in rows]) if rows else None

    def done(self, last: int) -> None:
        """Drop the records up to an id, which the log has."""
        with self._transaction():
            (dropped,) = self._db.execute(
                "SELECT coalesce(sum(length(payload)), 0) FROM event WHERE id <= ?", (last,)
            ).fetchone()
            self._db.execute("DELETE FROM event WHERE id <= ?", (last,))
            self._db.execute("UPDATE size SET bytes = bytes - ?", (dropped,))
            empty = not self._bytes()
        if empty:
            self._shrink()

    def close(self) -> None:
        """Close the file; records in it wait for the next process."""
        with self._lock:
            self._db.close()

    def _shrink(self) -> None:
        """Give the disk back what a drained spool took; what another process is busy with stays for the next time."""
        with self._lock, _disk_errors():
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _bytes(self) -> int:
        (held,) = self._db.execute("SELECT bytes FROM size").fetchone()
        return int(held)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE: a reader that becomes a writer could not wait for another process's commit.
        with self._lock, _disk_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SpoolUnusable(f"The event log is away and the spool cannot be written ({one_line(error)}).") from error
