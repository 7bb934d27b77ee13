"""What the stream knows: facts and identity links, from silver up to the last published night and from the log since.

Comes after the door and before ``group_tables.py``. Per fact there are ``known_<fact>``, every revision known so far,
and ``changed_<fact>``, the events of which a step brought something new.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import pyarrow as pa
from ibis.expr.types import Table

from features.compute.as_known import KNOWN_DAY, SILVER_COLUMNS, silver_view, versions
from features.compute.group_facts import ENTITY
from features.compute.identity import LINKS, prefixed, subject
from features.compute.silver import LINK_COLUMNS
from features.declare.group import Group
from features.stream.database import Database
from infra.engine.duckdb_engine import duckdb_micros
from infra.workspace import Workspace
from rapport_feast.times import DAY, EPOCH_DAY
from validation.contracts.own import contracts_of
from validation.contracts.silver import content_digest


class FactTables:
    """The facts that live groups read, and the identity links by which they find their entity.

    Parameters
    ----------
    ws, database
        The company's workspace, and where the tables are made.
    groups
        Live groups.
    night
        The last published night: what is known by its cutoff comes from the lake.
    """

    def __init__(self, ws: Workspace, database: Database, groups: Sequence[Group], night: date) -> None:
        self.ws, self.database, self.night = ws, database, night
        self.contracts = contracts_of(ws.company)
        self.readers = {fact: [g for g in groups if g.fact == fact] for fact in dict.fromkeys(g.fact for g in groups)}
        self.linked = ws.lake.exists(f"silver/{LINKS}") and any(group.entity.linked for group in groups)
        if self.linked:
            self._load(LINKS, {*SILVER_COLUMNS, *LINK_COLUMNS}, EPOCH_DAY)
            self._standing_links = database.compile(versions(database.table(f"known_{LINKS}"), duckdb_micros))
            database.connection.execute(f"CREATE TABLE standing_links AS {self._standing_links}")
            database.connection.execute("CREATE TABLE relinked (entity VARCHAR)")
        for fact, readers in self.readers.items():
            columns = {*SILVER_COLUMNS, "source_id"}
            for group in readers:
                columns |= {group.entity.column_in(fact), *group.columns}
            self._load(fact, columns, night - max(group.longest for group in readers) - DAY)
        if self.linked:
            # Compiled once: a step takes milliseconds, and compiling would be most of it.
            self._relinked_ids = database.compile(self._ids_of_new_links())
            self._relinked_events = {fact: database.compile(self._events_of_relinked(fact)) for fact in self.readers}

    def insert(self, rows: Mapping[str, pa.Table]) -> int:
        """Insert accepted facts; return how many were new: neither known nor repeated among themselves (rule T3).

        Parameters
        ----------
        rows
            Fact = rows in the columns of silver; facts that no live group reads are ignored.
        """
        return sum(self._insert(fact, table) for fact, table in rows.items() if self._is_read(fact))

    def mark_relinked(self) -> None:
        """Mark the facts of ids that new identity links name, and of ids linked to these, as changed."""
        connection = self.database.connection
        if not self.linked or not self.database.has_rows(f"changed_{LINKS}"):
            return
        connection.execute("DELETE FROM standing_links")
        connection.execute(f"INSERT INTO standing_links {self._standing_links}")
        connection.execute(f"INSERT INTO relinked {self._relinked_ids}")
        for fact, readers in self.readers.items():
            if any(group.entity.linked for group in readers):
                connection.execute(f"INSERT INTO changed_{fact} {self._relinked_events[fact]}")
        connection.execute("DELETE FROM relinked")
        connection.execute(f"DELETE FROM changed_{LINKS}")

    def clear_changed(self) -> None:
        """Forget which events changed, once every group has counted them."""
        for fact in self.readers:
            self.database.connection.execute(f"DELETE FROM changed_{fact}")

    def links(self, group: Group) -> Table | None:
        """Return the versions of identity links known now; none for a group whose entity is not linked."""
        return self.database.table("standing_links") if group.entity.linked and self.linked else None

    def _is_read(self, fact: str) -> bool:
        return fact in self.readers or (fact == LINKS and self.linked)

    def _load(self, fact: str, columns: set[str], horizon: date) -> None:
        """Make a fact's tables, with the rows known since the horizon and every revision of their events."""
        contract, names = self.contracts[fact], ", ".join(f'"{name}"' for name in sorted(columns))
        kept = f"{names}, coalesce(revision, -1) AS revision_number, {content_digest(contract, 'silver')} AS content"
        silver = silver_view(self.ws.lake, self.database.connection, fact, self.night)
        recent = f"known_day >= DATE '{max(horizon, EPOCH_DAY)}'"
        revised = f'SELECT event_id FROM "{silver}" WHERE revises AND {recent}'
        source = f'(SELECT * FROM "{silver}" WHERE {recent} OR event_id IN ({revised})) silver'
        self.database.connection.execute(f"CREATE TABLE known_{fact} AS SELECT {kept} FROM {source}")
        self.database.connection.execute(f"CREATE TABLE changed_{fact} (event_id VARCHAR)")
        self.database.connection.execute(f"CREATE TABLE arrived_{fact} AS FROM known_{fact} LIMIT 0")

    def _insert(self, fact: str, rows: pa.Table) -> int:
        contract, connection = self.contracts[fact], self.database.connection
        columns = [name for name, *_rest in connection.execute(f"DESCRIBE known_{fact}").fetchall()]
        names = ", ".join(f'"{name}"' for name in columns[:-2])
        # Any streamed fact may revise another one, and it is known on the day on which the log accepted it.
        connection.register("batch", rows.drop_columns([n for n in ("revises", KNOWN_DAY) if n in rows.column_names]))
        connection.execute(
            f"""INSERT INTO arrived_{fact} SELECT * EXCLUDE nth FROM (
                    SELECT {names}, coalesce(revision, -1) AS revision_number,
                        {content_digest(contract, "a")} AS content,
                        row_number() OVER (PARTITION BY event_id, revision_number, content
                            ORDER BY ingested_at, file, position) AS nth
                    FROM (SELECT *, true AS revises, ingested_at::DATE AS known_day FROM batch) a) a
                WHERE nth = 1 AND NOT EXISTS (FROM known_{fact} k WHERE k.event_id = a.event_id
                    AND k.revision_number = a.revision_number AND k.content = a.content)"""
        )
        connection.unregister("batch")
        connection.execute(f"INSERT INTO known_{fact} FROM arrived_{fact}")
        connection.execute(f"INSERT INTO changed_{fact} SELECT DISTINCT event_id FROM arrived_{fact}")
        (new,) = connection.execute(f"SELECT count(*) FROM arrived_{fact}").fetchall()[0]
        connection.execute(f"DELETE FROM arrived_{fact}")
        return int(new)

    def _ids_of_new_links(self) -> Table:
        """Return the ids that new links speak of, and those that are linked to one of them: a chain has two links."""
        known, company = self.database.table(f"known_{LINKS}"), self.ws.company
        new = known.semi_join(self.database.table(f"changed_{LINKS}"), "event_id")
        named = new.select(entity=subject(company, new))
        followers = known.semi_join(named, [known.customer == named.entity])
        return named.union(followers.select(entity=subject(company, followers))).distinct()

    def _events_of_relinked(self, fact: str) -> Table:
        """Return the events of a fact that are about those ids."""
        rows = self.database.table(f"known_{fact}")
        identified = rows.mutate(entity=prefixed(self.ws.company, rows.id_space, rows.source_id))
        return identified.semi_join(self.database.table("relinked"), ENTITY).select("event_id").distinct()
