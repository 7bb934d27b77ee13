"""One live group in the local store: its single facts, its tiles, and the values that follow from them.

Comes after ``fact_tables.py``, which says what is known, and before ``local_store.py``. The tables of a group are

========  ============================================================================================================
facts_    rows that count: of the longest exact window, or of a thawed cell
tiles_    states of older hops, the newest version of each from the lake
cold_     the facts behind those tiles, which count only when their cell thaws
heads_    times of what was known at the start, for entities of which only tiles are left
due_      when a value will change by itself
========  ============================================================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from ibis import _
from ibis.expr.types import Table

from features.compute import bands, group_facts
from features.compute.as_known import versions
from features.compute.bands import POSITION
from features.compute.group_facts import ENTITY, TILE
from features.compute.tables import tiles_table
from features.compute.windowing import hop_micros, hops, micros_of
from features.declare.group import Group
from features.stream.departures import EVENT_US, KNOWN_US, VALID_US, entity_heads
from features.stream.fact_tables import FactTables
from features.stream.live_values import elapsed_states, evaluated_columns, live_values
from infra.clock import Nights
from infra.engine.duckdb_engine import duckdb_micros
from infra.engine.engine import Engine
from rapport_feast.row.layout import FOREVER_US
from rapport_feast.times import DAY, EPOCH_DAY, day_number

FACT_COLUMNS = ("event_id", ENTITY, TILE, "event_us", "known_from", "known_until", "order_key")
# Entities whose values one query computes: after a hand-over all of them are computed, and memory has a bound.
BATCH_ENTITIES = 20_000


@dataclass(frozen=True)
class LiveValues:
    """Live values of some entities of one group, with their times.

    Attributes
    ----------
    group
        The group.
    ids
        The entities, string.
    values
        One column per feature; what elapses is kept as the moment of its fact and finished at read (rule V5).
    shown
        The same, finished at the event time.
    event_us, known_us, valid_until_us
        The t of the windows, the log time of the last change, and the first moment at which a value changes by itself;
        microseconds.
    """

    group: Group
    ids: pa.Array
    values: pa.Table
    shown: pa.Table
    event_us: npt.NDArray[np.int64]
    known_us: npt.NDArray[np.int64]
    valid_until_us: npt.NDArray[np.int64]


class GroupTables:
    """The tables and prepared statements of one group.

    Parameters
    ----------
    facts
        What is known.
    group
        A live group.
    start_us
        Cutoff of the last published night, microseconds.
    engine
        What computes the values, where it is not the database itself.
    """

    def __init__(self, facts: FactTables, group: Group, start_us: int, engine: Engine | None = None) -> None:
        self.facts, self.group, self.engine = facts, group, engine
        self.start_us = self.applied_us = start_us
        # A connection of its own, so that the groups of a step run at once.
        self._database, self._cursor = facts.database, facts.database.cursor()
        self._create()
        # Each statement is compiled once and run at every step.
        self._cursor.execute(f"PREPARE values_of_{group.name} AS {self._values_query()}")
        changed = self._changed_facts_query()
        self._cursor.execute(f"PREPARE refresh_{group.name} AS INSERT INTO fresh_{group.name} {changed}")

    def close(self) -> None:
        """Give back the group's connection."""
        self._cursor.close()

    def advance(self, log_us: int) -> list[LiveValues]:
        """Move to a log time; return the values of every entity that a fact, a link or a departure changed by then."""
        name, self.applied_us = self.group.name, log_us
        self._apply_changed()
        self._cursor.execute(f"INSERT INTO touched_{name} SELECT entity FROM due_{name} WHERE due_us <= {log_us}")
        found = list(self._values(f"SELECT DISTINCT entity FROM touched_{name}"))
        self._cursor.execute(f"DELETE FROM touched_{name}")
        return found

    def all_values(self) -> Iterator[LiveValues]:
        """Yield the values of all entities as they stand."""
        yield from self._values(f"SELECT entity FROM heads_{self.group.name} UNION FROM facts_of_{self.group.name}")

    def next_due_us(self) -> int | None:
        """Return when the first value changes by itself; none if none will."""
        (due,) = self._database.connection.execute(f"SELECT min(due_us) FROM due_{self.group.name}").fetchall()[0]
        return None if due is None else int(due)

    def _create(self) -> None:
        """Divide the known facts into single facts and tiles."""
        name, run, compiled = self.group.name, self._database.connection.execute, self._database.compile
        since = self.start_us - micros_of(self.group.longest) - micros_of(DAY)
        rows = self._counted(self._database.table(f"known_{self.group.fact}"))
        run(f"CREATE TABLE cold_{name} AS {compiled(rows.filter(_.event_us > since))}")
        cold, border = self._database.table(f"cold_{name}"), self._create_tiles()
        run(f"CREATE TABLE facts_{name} AS {compiled(cold.filter(cold.tile >= border))}")
        run(f"CREATE TABLE heads_{name} AS {compiled(entity_heads(self.group, cold, self.start_us))}")
        run(f"DELETE FROM cold_{name} WHERE tile >= {border}")
        run(f"CREATE VIEW facts_of_{name} AS SELECT DISTINCT entity FROM facts_{name}")
        run(f"CREATE TABLE fresh_{name} AS FROM facts_{name} LIMIT 0")
        run(f"CREATE TABLE thaw_{name} (entity VARCHAR, tile BIGINT)")
        run(f"CREATE TABLE touched_{name} (entity VARCHAR)")
        run(f"CREATE TABLE due_{name} (entity VARCHAR, due_us BIGINT)")
        run(f"CREATE TABLE spine_{name} (position BIGINT, entity VARCHAR, t_us BIGINT, {KNOWN_US} BIGINT)")

    def _create_tiles(self) -> int:
        """Copy the newest version of last night's tiles; return the first hop whose facts stand one by one."""
        group, night, lake = self.group, self.facts.night, self.facts.ws.lake
        table, nights = tiles_table(group), Nights(EPOCH_DAY, night)
        hop, exact = hop_micros(group), bands.lengths_of(group, exact=True)
        horizon = (day_number(night) - group.longest.days - 1) * micros_of(DAY) // hop
        border = (self.start_us - micros_of(max(exact, default=timedelta(0))) - 1) // hop
        files = lake.files(table, nights) if hops(group.longest) else []
        if not files:
            border = horizon
            self._database.connection.register("no_tiles", lake.schema(table).empty_table())
        tiles = f'"{lake.view(self._database.connection, table, nights)}"' if files else "no_tiles"
        self._database.connection.execute(
            f"""CREATE TABLE tiles_{group.name} AS SELECT * EXCLUDE (night, rows) FROM {tiles}
                WHERE tile >= {horizon} AND tile < {border}
                QUALIFY row_number() OVER (PARTITION BY entity, tile ORDER BY night DESC) = 1 AND rows > 0"""
        )
        return border

    def _changed_facts_query(self) -> str:
        """Return SQL of the group's rows of the events of which something new is known."""
        known = self._database.table(f"known_{self.group.fact}")
        rows = known.semi_join(self._database.table(f"changed_{self.group.fact}"), "event_id")
        # Silver says which of its events were revised; of what the log brings nobody knows it yet.
        return self._database.compile(self._counted(rows.mutate(revises=ibis.literal(True))))

    def _counted(self, rows: Table) -> Table:
        """Return the versions of rows that the group counts, with their entity, tile and order."""
        company, links = self.facts.ws.company, self.facts.links(self.group)
        facts = group_facts.prepare(self.group, company, versions(rows, duckdb_micros), links)
        return facts.select(*FACT_COLUMNS, **evaluated_columns(self.group, facts))

    def _apply_changed(self) -> None:
        """Count what is newly known of events, and note whom it touches: who had an event before, and who has it."""
        name, run = self.group.name, self._cursor.execute
        changed = f"(SELECT event_id FROM changed_{self.group.fact})"
        if not self._database.has_rows(f"changed_{self.group.fact}", self._cursor):
            return
        run(f"EXECUTE refresh_{name}")
        run(f"INSERT INTO thaw_{name} SELECT DISTINCT entity, tile FROM cold_{name} WHERE event_id IN {changed}")
        if self._database.has_rows(f"thaw_{name}", self._cursor):
            # One fact cannot be taken out of the state of its tile, so all of them take the tile's place.
            cells = f"(entity, tile) IN (SELECT (entity, tile) FROM thaw_{name})"
            run(f"INSERT INTO facts_{name} FROM cold_{name} WHERE {cells}")
            run(f"DELETE FROM cold_{name} WHERE {cells}")
            run(f"DELETE FROM tiles_{name} WHERE {cells}")
            run(f"DELETE FROM thaw_{name}")
        for table in (f"facts_{name}", f"fresh_{name}"):
            run(f"INSERT INTO touched_{name} SELECT entity FROM {table} WHERE event_id IN {changed}")
        run(f"DELETE FROM facts_{name} WHERE event_id IN {changed}")
        run(f"INSERT INTO facts_{name} FROM fresh_{name}")
        run(f"DELETE FROM fresh_{name}")

    def _values(self, entities: str) -> Iterator[LiveValues]:
        """Yield the values of the entities that a query names, batch by batch."""
        ids = self._database.arrow(f"SELECT entity FROM ({entities}) ORDER BY entity", self._cursor)[ENTITY]
        for first in range(0, len(ids), BATCH_ENTITIES):
            yield self._batch_values(ids.slice(first, BATCH_ENTITIES).combine_chunks())

    def _batch_values(self, ids: pa.Array) -> LiveValues:
        self._write_spine(ids)
        rows = self._computed().sort_by(POSITION)
        self._note_due(rows)
        shown = rows.select([feature.name for feature in self.group.outputs])
        values = shown
        for feature, state in elapsed_states(self.group).items():
            values = values.set_column(values.schema.get_field_index(feature), feature, rows[state])
        times = (rows[column].to_numpy() for column in (EVENT_US, KNOWN_US, VALID_US))
        return LiveValues(self.group, ids.take(rows[POSITION].combine_chunks()), values, shown, *times)

    def _write_spine(self, ids: pa.Array) -> None:
        """Ask for the values of some entities now."""
        name, now = self.group.name, pa.array([self.applied_us] * len(ids), pa.int64())
        spine = {POSITION: pa.array(range(len(ids)), pa.int64()), ENTITY: ids, "t_us": now, KNOWN_US: now}
        self._cursor.register("spine", pa.table(spine))
        self._cursor.execute(f"DELETE FROM spine_{name}")
        self._cursor.execute(f"INSERT INTO spine_{name} FROM spine")
        self._cursor.unregister("spine")

    def _note_due(self, rows: pa.Table) -> None:
        """Note when each of the values will change by itself."""
        name = self.group.name
        self._cursor.register("computed", rows.select([POSITION, VALID_US]))
        self._cursor.execute(f"DELETE FROM due_{name} WHERE entity IN (SELECT entity FROM spine_{name})")
        self._cursor.execute(
            f"""INSERT INTO due_{name} SELECT entity, {VALID_US} FROM computed JOIN spine_{name} USING (position)
                WHERE {VALID_US} < {FOREVER_US}"""
        )
        self._cursor.unregister("computed")

    def _computed(self) -> pa.Table:
        """Return the rows of ``live_values`` of the spine."""
        name = self.group.name
        if self.engine is None:
            return self._database.arrow(f"EXECUTE values_of_{name}", self._cursor)
        # Another engine is handed the few rows of the entities asked for, not the store.
        of_spine = f"WHERE entity IN (SELECT entity FROM spine_{name})"
        queries = {"spine": f"FROM spine_{name}"}
        queries |= {kind: f"FROM {kind}_{name} {of_spine}" for kind in ("facts", "tiles", "heads")}
        tables = {kind: self._database.arrow(sql, self._cursor) for kind, sql in queries.items()}
        spine, facts, tiles, heads = (self.engine.memtable(kind, rows) for kind, rows in tables.items())
        return self.engine.to_arrow(live_values(self.group, spine, facts, tiles, heads, self.start_us))

    def _values_query(self) -> str:
        """Return SQL of the group's values for the spine."""
        spine, facts, tiles, heads = (
            self._database.table(f"{kind}_{self.group.name}") for kind in ("spine", "facts", "tiles", "heads")
        )
        return self._database.compile(live_values(self.group, spine, facts, tiles, heads, self.start_us))
