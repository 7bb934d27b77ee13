"""The local store of the stream: what it takes to say a live value now (rule V8).

Last night's tiles, merged with the facts since. Facts of the longest exact window lie here one by one, older ones only
as tiles, each a cell of one entity and one hop. Where something of such a cell is revised, withdrawn, or turns out to
be somebody else's, the cell *thaws*: its tile goes, its facts come in its place. So a late fact, a revision and a link
need no mechanism of their own, and every value is the same function of what is known: of the lake at the last
published night and the log since. Nothing here has to survive a crash.

Comes after the door and before ``stream.py``, which publishes what this store computes.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from threading import Lock

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from duckdb import DuckDBPyConnection
from ibis import _
from ibis.expr.types import Table

from features.compute import bands, group_facts
from features.compute.as_known import KNOWN_DAY, SILVER_COLUMNS, silver_view, versions
from features.compute.bands import POSITION
from features.compute.group_facts import ENTITY, TILE
from features.compute.identity import LINKS, prefixed, subject
from features.compute.silver import LINK_COLUMNS
from features.compute.tables import tiles_table
from features.compute.windowing import hop_micros, hops, micros_of
from features.declare.group import Group
from features.stream.departures import EVENT_US, KNOWN_US, VALID_US, entity_heads
from features.stream.live_values import elapsed_states, evaluated, live_values
from infra.clock import Nights
from infra.engine.duckdb_engine import duckdb_micros
from infra.engine.engine import Engine
from infra.workspace import Workspace
from rapport_feast.row.layout import FOREVER_US
from rapport_feast.times import DAY, EPOCH_DAY, day_number
from validation.contracts.silver import content_digest
from validation.contracts.standard import CONTRACTS

KEPT = ("event_id", ENTITY, TILE, "event_us", "known_from", "known_until", "order_key")


# Entities whose values are computed in one go.
BATCH_ENTITIES = 20_000


@dataclass(frozen=True)
class Values:
    """Live values of some entities of one group, with their times in microseconds.

    Attributes
    ----------
    values
        One column per feature; what elapses is kept as the moment of its fact and finished at read (rule V5).
    shown
        The same, finished at the event time.
    event_us, known_us, valid_until_us
        The t of the windows, the log time of the last change, and the first moment at which a value changes by itself.
    """

    group: Group
    ids: pa.Array
    values: pa.Table
    shown: pa.Table
    event_us: npt.NDArray[np.int64]
    known_us: npt.NDArray[np.int64]
    valid_until_us: npt.NDArray[np.int64]


class LocalStore:
    """The facts and tiles from which the live groups are computed, in a DuckDB database of this process.

    Parameters
    ----------
    ws
        The company's workspace.
    groups
        Live groups.
    night
        The last published night: facts known by its cutoff come from the lake, later ones are taken from the log.
    engine
        What computes the values, where it is not the database itself.
    """

    def __init__(self, ws: Workspace, groups: Sequence[Group], night: date, engine: Engine | None = None) -> None:
        self.ws, self.groups, self.night, self.engine = ws, tuple(groups), night, engine
        self.applied_us = micros(night)
        self.sql = ws.lake.connect()
        self.ibis = ibis.duckdb.from_connection(self.sql)
        # What only concerns one group runs on a connection of its own: the groups at once.
        self._own = {group.name: self._connection() for group in groups}
        self._hands, self._quiet = ThreadPoolExecutor(max(len(groups), 1), "group"), Lock()
        self.linked = ws.lake.exists(f"silver/{LINKS}") and any(group.entity.linked for group in groups)
        self.facts = {fact: [g for g in groups if g.fact == fact] for fact in dict.fromkeys(g.fact for g in groups)}
        self._seed_links()
        for fact, readers in self.facts.items():
            self._seed_fact(fact, readers)
        # Everything that is run at every step, as SQL: each group compiles once.
        for group in groups:
            own = self._own[group.name]
            own.execute(f"PREPARE values_of_{group.name} AS {self._compile(group)}")
            own.execute(f"PREPARE refresh_{group.name} AS INSERT INTO fresh_{group.name} {self._fresh(group)}")
        if self.linked:
            self._whom = self._select(self._relinked())
            self._theirs = {fact: self._select(self._told_of(fact)) for fact in self.facts}

    def close(self) -> None:
        """Give back what the store holds."""
        self._hands.shutdown()
        for connection in (*self._own.values(), self.sql):
            connection.close()

    def take(self, rows: Mapping[str, pa.Table]) -> int:
        """Take accepted facts; return how many were new: neither known nor repeated among themselves (rule T3).

        Parameters
        ----------
        rows
            Fact = rows in the columns of silver; facts that no live group reads are left alone.
        """
        return sum(self._take(fact, table) for fact, table in rows.items() if fact in self.facts or self._is_link(fact))

    def step(self, log_us: int) -> Iterator[Values]:
        """Move to a log time; yield the values of everybody whom a fact, a link or a departure changed by then."""
        self._relink()
        self.applied_us = log_us
        at_once = map if self.engine else self._hands.map
        for found in at_once(self._step, self.groups):
            yield from found
        for fact in self.facts:
            self.sql.execute(f"DELETE FROM changed_{fact}")

    def _step(self, group: Group) -> list[Values]:
        name, own = group.name, self._own[group.name]
        self._refresh(group)
        own.execute(f"INSERT INTO touched_{name} SELECT entity FROM due_{name} WHERE due_us <= {self.applied_us}")
        found = list(self._values(group, f"SELECT DISTINCT entity FROM touched_{name}"))
        own.execute(f"DELETE FROM touched_{name}")
        return found

    def everybody(self) -> Iterator[Values]:
        """Yield the values of all entities as they stand."""
        for group in self.groups:
            yield from self._values(group, f"SELECT entity FROM heads_{group.name} UNION FROM facts_of_{group.name}")

    def next_due_us(self) -> int | None:
        """Return when the first value changes by itself."""
        dues = [self.sql.execute(f"SELECT min(due_us) FROM due_{group.name}").fetchall()[0][0] for group in self.groups]
        return min((due for due in dues if due is not None), default=None)

    # What is known: rows of silver and of the log.

    def _is_link(self, fact: str) -> bool:
        return fact == LINKS and self.linked

    def _seed_links(self) -> None:
        if self.linked:
            self._known_rows(LINKS, {*SILVER_COLUMNS, *LINK_COLUMNS}, EPOCH_DAY)
            self._standing = self._select(versions(self._table(f"known_{LINKS}"), duckdb_micros))
            self.sql.execute(f"CREATE TABLE standing_links AS {self._standing}")
            self.sql.execute("CREATE TABLE relinked (entity VARCHAR)")

    def _seed_fact(self, fact: str, readers: Sequence[Group]) -> None:
        """Load the facts of the longest window, and divide them for each group into tiles and single facts."""
        columns = {*SILVER_COLUMNS, "source_id"}
        for group in readers:
            columns |= {group.entity.columns[fact], *group.columns}
        longest = max(group.longest for group in readers)
        self._known_rows(fact, columns, self.night - longest - DAY)
        for group in readers:
            self._seed_group(group)

    def _known_rows(self, fact: str, columns: set[str], horizon: date) -> None:
        """Make ``known_<fact>``: rows known since a day, with all that is said of the same events; and what is new."""
        contract, names = CONTRACTS[fact], ", ".join(f'"{name}"' for name in sorted(columns))
        told = f"{names}, coalesce(revision, -1) AS number, {content_digest(contract, 'silver')} AS said"
        silver = silver_view(self.ws.lake, self.sql, fact, self.night)
        near = f"known_day >= DATE '{max(horizon, EPOCH_DAY)}'"
        revised = f'SELECT event_id FROM "{silver}" WHERE revises AND {near}'
        source = f'(SELECT * FROM "{silver}" WHERE {near} OR event_id IN ({revised})) silver'
        self.sql.execute(f"CREATE TABLE known_{fact} AS SELECT {told} FROM {source}")
        self.sql.execute(f"CREATE TABLE changed_{fact} (event_id VARCHAR)")
        self.sql.execute(f"CREATE TABLE fresh_{fact} AS FROM known_{fact} LIMIT 0")

    def _take(self, fact: str, rows: pa.Table) -> int:
        contract = CONTRACTS[fact]
        columns = [name for name, *_rest in self.sql.execute(f"DESCRIBE known_{fact}").fetchall()]
        names = ", ".join(f'"{name}"' for name in columns[:-2])
        self.sql.register("arrived", rows.drop_columns([n for n in ("revises", KNOWN_DAY) if n in rows.column_names]))
        self.sql.execute(
            f"""INSERT INTO fresh_{fact} SELECT * EXCLUDE nth FROM (
                    SELECT {names}, coalesce(revision, -1) AS number, {content_digest(contract, "a")} AS said,
                        row_number() OVER (PARTITION BY event_id, number, said
                            ORDER BY ingested_at, file, position) AS nth
                    FROM (SELECT *, true AS revises, ingested_at::DATE AS known_day FROM arrived) a) a
                WHERE nth = 1 AND NOT EXISTS (FROM known_{fact} k
                    WHERE k.event_id = a.event_id AND k.number = a.number AND k.said = a.said)"""
        )
        self.sql.unregister("arrived")
        self.sql.execute(f"INSERT INTO known_{fact} FROM fresh_{fact}")
        self.sql.execute(f"INSERT INTO changed_{fact} SELECT DISTINCT event_id FROM fresh_{fact}")
        (new,) = self.sql.execute(f"SELECT count(*) FROM fresh_{fact}").fetchall()[0]
        self.sql.execute(f"DELETE FROM fresh_{fact}")
        return int(new)

    def _relink(self) -> None:
        """Let new identity links speak: the facts of those whom they name, and of those linked to these, change."""
        if not self.linked or not self._any(f"changed_{LINKS}"):
            return
        self.sql.execute("DELETE FROM standing_links")
        self.sql.execute(f"INSERT INTO standing_links {self._standing}")
        self.sql.execute(f"INSERT INTO relinked {self._whom}")
        for fact, readers in self.facts.items():
            if any(group.entity.linked for group in readers):
                self.sql.execute(f"INSERT INTO changed_{fact} {self._theirs[fact]}")
        self.sql.execute("DELETE FROM relinked")
        self.sql.execute(f"DELETE FROM changed_{LINKS}")

    def _relinked(self) -> Table:
        """Return whom new links name, and who is linked to these."""
        known, company = self._table(f"known_{LINKS}"), self.ws.company
        spoken = known.semi_join(self._table(f"changed_{LINKS}"), "event_id")
        named = spoken.select(entity=subject(company, spoken))
        behind = known.semi_join(named, [known.customer == named.entity])
        return named.union(behind.select(entity=subject(company, behind))).distinct()

    def _told_of(self, fact: str) -> Table:
        """Return the events of a fact that are told of those."""
        rows = self._table(f"known_{fact}")
        theirs = rows.mutate(entity=prefixed(self.ws.company, rows.id_space, rows.source_id))
        return theirs.semi_join(self._table("relinked"), ENTITY).select("event_id").distinct()

    # What stands: the facts and tiles of a group.

    def _seed_group(self, group: Group) -> None:
        name, at = group.name, self.applied_us
        since = at - micros_of(group.longest) - micros_of(DAY)
        rows = self._counted(group, self._table(f"known_{group.fact}"), revised=None)
        self.sql.execute(f"CREATE TABLE cold_{name} AS {self._select(rows.filter(_.event_us > since))}")
        cold, border = self._table(f"cold_{name}"), self._seed_tiles(group)
        self.sql.execute(f"CREATE TABLE facts_{name} AS {self._select(cold.filter(cold.tile >= border))}")
        self.sql.execute(f"CREATE TABLE heads_{name} AS {self._select(entity_heads(group, cold, at))}")
        self.sql.execute(f"DELETE FROM cold_{name} WHERE tile >= {border}")
        self.sql.execute(f"CREATE VIEW facts_of_{name} AS SELECT DISTINCT entity FROM facts_{name}")
        self.sql.execute(f"CREATE TABLE fresh_{name} AS FROM facts_{name} LIMIT 0")
        self.sql.execute(f"CREATE TABLE thaw_{name} (entity VARCHAR, tile BIGINT)")
        self.sql.execute(f"CREATE TABLE touched_{name} (entity VARCHAR)")
        self.sql.execute(f"CREATE TABLE due_{name} (entity VARCHAR, due_us BIGINT)")
        self.sql.execute(f"CREATE TABLE asked_{name} (position BIGINT, entity VARCHAR, t_us BIGINT, {KNOWN_US} BIGINT)")

    def _seed_tiles(self, group: Group) -> int:
        """Take last night's tiles, the newest version of each; return the first hop whose facts stand one by one."""
        table = tiles_table(group)
        hop, exact = hop_micros(group), bands.lengths_of(group, exact=True)
        horizon = (day_number(self.night) - group.longest.days - 1) * micros_of(DAY) // hop
        border = (self.applied_us - micros_of(max(exact, default=timedelta(0))) - 1) // hop
        files = self.ws.lake.files(table, Nights(EPOCH_DAY, self.night)) if hops(group.longest) else []
        if not files:
            border = horizon
            self.sql.register("none", self.ws.lake.schema(table).empty_table())
        tiles = f'"{self.ws.lake.view(self.sql, table, Nights(EPOCH_DAY, self.night))}"' if files else "none"
        self.sql.execute(
            f"""CREATE TABLE tiles_{group.name} AS SELECT * EXCLUDE (night, rows) FROM {tiles}
                WHERE tile >= {horizon} AND tile < {border}
                QUALIFY row_number() OVER (PARTITION BY entity, tile ORDER BY night DESC) = 1 AND rows > 0"""
        )
        return border

    def _fresh(self, group: Group) -> str:
        """Return SQL of the group's rows of the events of which something new is known."""
        rows = self._table(f"known_{group.fact}").semi_join(self._table(f"changed_{group.fact}"), "event_id")
        return self._select(self._counted(group, rows, revised=True))

    def _counted(self, group: Group, rows: Table, revised: bool | None) -> Table:
        """Return rows as the group counts them: versions with their entity, tile and order."""
        told = rows if revised is None else rows.mutate(revises=ibis.literal(revised))
        links = self._table("standing_links") if group.entity.linked and self.linked else None
        found = group_facts.prepare(group, self.ws.company, versions(told, duckdb_micros), links)
        return found.select(*KEPT, **evaluated(group, found))

    def _refresh(self, group: Group) -> None:
        """Let what is newly known of events count, and note whom it touches."""
        name, changed = group.name, f"(SELECT event_id FROM changed_{group.fact})"
        own = self._own[name]
        if not self._any(f"changed_{group.fact}", own):
            return
        own.execute(f"EXECUTE refresh_{name}")
        own.execute(
            f"INSERT INTO thaw_{name} SELECT DISTINCT entity, tile FROM cold_{name} WHERE event_id IN {changed}"
        )
        if self._any(f"thaw_{name}", own):
            cells = f"(entity, tile) IN (SELECT (entity, tile) FROM thaw_{name})"
            own.execute(f"INSERT INTO facts_{name} FROM cold_{name} WHERE {cells}")
            own.execute(f"DELETE FROM cold_{name} WHERE {cells}")
            own.execute(f"DELETE FROM tiles_{name} WHERE {cells}")
            own.execute(f"DELETE FROM thaw_{name}")
        for table in (f"facts_{name}", f"fresh_{name}"):
            own.execute(f"INSERT INTO touched_{name} SELECT entity FROM {table} WHERE event_id IN {changed}")
        own.execute(f"DELETE FROM facts_{name} WHERE event_id IN {changed}")
        own.execute(f"INSERT INTO facts_{name} FROM fresh_{name}")
        own.execute(f"DELETE FROM fresh_{name}")

    # What follows: values.

    def _values(self, group: Group, entities: str) -> Iterator[Values]:
        ids = self._arrow(f"SELECT entity FROM ({entities}) ORDER BY entity", self._own[group.name])[ENTITY]
        for first in range(0, len(ids), BATCH_ENTITIES):
            yield self._value(group, ids.slice(first, BATCH_ENTITIES).combine_chunks())

    def _value(self, group: Group, ids: pa.Array) -> Values:
        name, at, own = group.name, self.applied_us, self._own[group.name]
        asked = {POSITION: pa.array(range(len(ids)), pa.int64()), ENTITY: ids}
        moment = pa.array([at] * len(ids), pa.int64())
        own.register("asking", pa.table(asked | {"t_us": moment, KNOWN_US: moment}))
        own.execute(f"DELETE FROM asked_{name}")
        own.execute(f"INSERT INTO asked_{name} FROM asking")
        own.unregister("asking")
        found = self._computed(group).sort_by(POSITION)
        ids = ids.take(found[POSITION].combine_chunks())
        until = (
            f"SELECT entity, {VALID_US} FROM found JOIN asked_{name} USING (position) WHERE {VALID_US} < {FOREVER_US}"
        )
        own.register("found", found.select([POSITION, VALID_US]))
        own.execute(f"DELETE FROM due_{name} WHERE entity IN (SELECT entity FROM asked_{name})")
        own.execute(f"INSERT INTO due_{name} {until}")
        own.unregister("found")
        shown = found.select([feature.name for feature in group.outputs])
        values = shown
        for feature, state in elapsed_states(group).items():
            values = values.set_column(values.schema.get_field_index(feature), feature, found[state])
        times = (found[column].to_numpy() for column in (EVENT_US, KNOWN_US, VALID_US))
        return Values(group, ids, values, shown, *times)

    def _computed(self, group: Group) -> pa.Table:
        """Return the rows of ``live_values`` of whoever is asked about."""
        name, own = group.name, self._own[group.name]
        if self.engine is None:
            return self._arrow(f"EXECUTE values_of_{name}", own)
        theirs = f"WHERE entity IN (SELECT entity FROM asked_{name})"
        tables = {"asked": f"FROM asked_{name}"}
        tables |= {kind: f"FROM {kind}_{name} {theirs}" for kind in ("facts", "tiles", "heads")}
        asked, facts, tiles, heads = (self.engine.memtable(kind, self._arrow(sql, own)) for kind, sql in tables.items())
        return self.engine.to_arrow(live_values(group, asked, facts, tiles, heads, micros(self.night)))

    def _compile(self, group: Group) -> str:
        """Return the group's values for whoever is asked about, as SQL: compiled once, run at every step."""
        asked, facts, tiles, heads = (
            self._table(f"{kind}_{group.name}") for kind in ("asked", "facts", "tiles", "heads")
        )
        return self._select(live_values(group, asked, facts, tiles, heads, micros(self.night)))

    def _table(self, name: str) -> Table:
        return self.ibis.table(name)

    def _select(self, expr: Table) -> str:
        return str(self.ibis.compile(expr))

    def _arrow(self, statement: str, own: DuckDBPyConnection) -> pa.Table:
        # ``sql`` runs a prepared statement in twice the time; the copy that DuckDB warns of is a few rows.
        found = own.execute(statement)
        with self._quiet, warnings.catch_warnings(action="ignore", category=UserWarning):
            return found.to_arrow_table()

    def _any(self, table: str, own: DuckDBPyConnection | None = None) -> bool:
        return bool((own or self.sql).execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall())

    def _connection(self) -> DuckDBPyConnection:
        """Return another connection to the same database; what one says of its session is its own."""
        made = self.sql.cursor()
        made.execute("SET TimeZone = 'UTC'")
        return made


def micros(night: date) -> int:
    """Return the cutoff of a night in microseconds since the epoch."""
    return (day_number(night) + 1) * micros_of(DAY) - 1
