"""The door of streamed events: the gate's verdicts, event by event, as they come (law 7).

It parses with the gate's own SQL and checks the contract's rules in SQL made from the same data as the Great
Expectations suite (``suites.py``), so that what the stream runner applies tonight's gate accepts, row by row. Like
there, nothing here tells the same event from a new one: that takes what is known already.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from infra.company.company import Company
from infra.company.source import Source
from infra.log.event_log import Entry
from validation.door.verdicts import verdicts_sql
from validation.sources.log import UNKNOWN_SOURCE, raw_rows


@dataclass(frozen=True)
class Admission:
    """What became of some entries.

    Attributes
    ----------
    rows
        Per fact the accepted ones in silver's columns, in the order of the log; ``revises`` is null, for the door does
        not know. ``ingested_at`` may lie ahead of the acceptance: until then an event is held.
    refused
        The others, each with its reason, which is the one that stands in quarantine.
    """

    rows: dict[str, pa.Table]
    refused: list[tuple[Entry, str]]


class Door:
    """The door of a company; its SQL is made once per source. May be used by several threads."""

    def __init__(self, company: Company) -> None:
        self.sources = {source.name: source for source in company.sources if source.streamed}
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute("SET TimeZone = 'UTC'")
        # Planning takes longer than judging a handful of events; what it would gain, large batches do without.
        self._connection.execute("PRAGMA disable_optimizer")
        for name, source in self.sources.items():
            self._connection.register("batch", numbered_rows(source, []))
            self._connection.execute(f"CREATE TABLE entries_{name} AS FROM batch")
            self._connection.execute(f"PREPARE judge_{name} AS {verdicts_sql(source, f'entries_{name}')}")
        self._alone = Lock()

    def admit(self, entries: Sequence[Entry]) -> Admission:
        """Judge entries of any sources."""
        by_source: dict[str, list[Entry]] = defaultdict(list)
        refused = []
        for entry in entries:
            if entry.source in self.sources:
                by_source[entry.source].append(entry)
            else:
                refused.append((entry, UNKNOWN_SOURCE))
        rows: dict[str, list[pa.Table]] = defaultdict(list)
        for name, found in by_source.items():
            accepted, faults = self._judge(self.sources[name], found)
            rows[self.sources[name].fact].append(accepted)
            refused += faults
        refused.sort(key=lambda one: one[0].position)
        return Admission({fact: log_order(tables) for fact, tables in rows.items()}, refused)

    def close(self) -> None:
        """Close the engine."""
        self._connection.close()

    def _judge(self, source: Source, entries: Sequence[Entry]) -> tuple[pa.Table, list[tuple[Entry, str]]]:
        name = source.name
        with self._alone:
            self._connection.register("batch", numbered_rows(source, entries))
            self._connection.execute(f"TRUNCATE entries_{name}; INSERT INTO entries_{name} FROM batch")
            judged = self._connection.sql(f"EXECUTE judge_{name}").to_arrow_table()
            self._connection.unregister("batch")
        reasons, good = judged["_reason"], pc.equal(judged["_reason"], "")
        bad = pc.indices_nonzero(pc.invert(good))
        faults = [
            (entries[at], reason) for at, reason in zip(bad.to_pylist(), reasons.take(bad).to_pylist(), strict=True)
        ]
        return judged.filter(good).drop_columns(["_reason"]), faults


def numbered_rows(source: Source, entries: Sequence[Entry]) -> pa.Table:
    """Return the raw rows of entries with their place among these."""
    rows = raw_rows(source, entries)
    return rows.append_column("_row", pa.array(range(rows.num_rows), pa.int64()))


def log_order(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several sources in the order of the log."""
    rows = tables[0] if len(tables) == 1 else pa.concat_tables(tables).sort_by("position")
    return rows.append_column("revises", pa.nulls(rows.num_rows, pa.bool_()))
