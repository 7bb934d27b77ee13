"""Which rows of silver a night needs: its own facts, and those of the entity-days that late ones touched (rule T5).

Comes before ``nightly.py``. The first build of a group reads everything; a later night finds the tiles that its facts,
revisions and identity links touch, and reads the older facts of those tiles alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import pyarrow as pa
from ibis.expr.types import Table

from features.compute import group_facts, nightly
from features.compute.as_known import KNOWN_DAY, SILVER_COLUMNS, day_of, versions
from features.compute.group_facts import ENTITY, TILE
from features.compute.identity import prefixed, subject
from features.compute.silver import links_table, silver_table
from features.compute.windowing import DAY_MICROS, hop_micros, hops
from features.declare.group import Group
from infra.clock import Nights
from infra.engine.engine import Cut, Engine, cutter
from infra.workspace import Workspace
from rapport_feast.times import EPOCH_DAY, day_number


@dataclass(frozen=True)
class NightReader:
    """Reads of silver the rows of a group's fact that some nights need.

    Attributes
    ----------
    ws, engine, group
        The workspace, the engine that reads, and the group.
    nights
        The nights to be built.
    """

    ws: Workspace
    engine: Engine
    group: Group
    nights: Nights

    def rows(self, *, whole: bool) -> Table:
        """Return the group's rows that the nights need, prepared, with the nights on which they stood.

        Parameters
        ----------
        whole
            Whether to read all of silver: where there are no tiles of earlier nights.
        """
        engine, silver = self.engine, self._silver()
        links = links_table(self.ws, engine, self.group, self.nights.last)
        known = None if links is None else engine.materialise("known_links", versions(links, engine.micros))
        if whole:
            return engine.materialise("rows", self._prepared(versions(silver, engine.micros), known))
        seed = self._seed(silver, links)
        rows = engine.materialise("rows", self._prepared(self.cut(versions(seed, engine.micros)), known))
        older = self._touched_older_tiles(rows)
        if not len(older):
            return rows
        needed = self.cut(_union([seed, self._facts_of_tiles(silver, known, older)]))
        return engine.materialise("rows", self._prepared(self.cut(versions(needed, engine.micros)), known))

    def _prepared(self, facts: Table, links: Table | None) -> Table:
        return nightly.by_night(group_facts.prepare(self.group, self.ws.company, facts, links, self.cut))

    def _seed(self, silver: Table, links: Table | None) -> Table:
        """Return tonight's facts, the events that they revise, and the facts of ids that new links name."""
        fresh = silver.filter(silver[KNOWN_DAY] >= self.first_day)
        seeds = [fresh, self._rows_of_events("fresh_ids", silver, self._revised_ids(fresh))]
        if links is not None:
            seeds.append(self._relinked(silver, links))
        return self.cut(_union(seeds))

    def _touched_older_tiles(self, rows: Table) -> pa.Table:
        """Return the tiles of earlier days that the nights touch: silver holds more of them than was read so far."""
        pairs = nightly.touched(self.group, rows, self.nights).select(ENTITY, TILE).distinct()
        today = day_number(self.nights.first) * DAY_MICROS // hop_micros(self.group)
        return self.engine.to_arrow(pairs.filter(pairs.tile < today))

    def _facts_of_tiles(self, silver: Table, known: Table | None, touched: pa.Table) -> Table:
        """Return the facts of touched older tiles, with every revision of their events."""
        engine, hop = self.engine, hop_micros(self.group)
        days = sorted({tile * hop // DAY_MICROS for tile in touched[TILE].to_pylist()})
        since = EPOCH_DAY + timedelta(days=days[0])
        event_us = engine.micros(silver.event_time)
        # A fact is known on its day or later; the days themselves let the reader skip most row groups.
        near = self.cut(silver.filter(silver[KNOWN_DAY] >= since, day_of(event_us - 1).isin(days)))
        facts = self.cut(versions(near, engine.micros))
        rows = group_facts.prepare(self.group, self.ws.company, facts, known, self.cut)
        pairs = engine.memtable("touched", touched)
        kept = rows.semi_join(pairs, [ENTITY, TILE]).select("event_id").distinct()
        of_tiles = engine.materialise("of_tiles", near.semi_join(kept, "event_id"))
        later = silver.filter(silver[KNOWN_DAY] >= since, silver.revises).semi_join(of_tiles, "event_id")
        ids = of_tiles.filter(of_tiles.revises).select("event_id").union(later.select("event_id")).distinct()
        return _union([of_tiles, self._rows_of_events("revised_of_tiles", silver, engine.to_arrow(ids))])

    def _relinked(self, silver: Table, links: Table) -> Table:
        """Return the facts of ids that new identity links name, as far back as a window reaches."""
        company = self.ws.company
        fresh = links.filter(links[KNOWN_DAY] >= self.first_day)
        events = fresh.select("event_id").distinct()
        renewed = links.semi_join(events, "event_id")
        named = renewed.select(entity=subject(company, renewed))
        # Ids that are linked to one of them follow it: a chain has two links.
        followers = links.semi_join(named, [links.customer == named.entity])
        ids = self.engine.to_arrow(_union([named, followers.select(entity=subject(company, followers))]))
        if not len(ids):
            return silver.limit(0)
        horizon = (day_number(self.nights.first) - self.group.longest.days - 2) * DAY_MICROS
        recent = silver.filter(self.engine.micros(silver.event_time) >= horizon)
        identified = recent.mutate(entity=prefixed(company, recent.id_space, recent.source_id))
        about = identified.semi_join(self.engine.memtable("relinked", ids), "entity").drop("entity")
        found = self.engine.materialise("relinked_facts", about)
        return _union(
            [
                found,
                self._rows_of_events("relinked_ids", silver, self.engine.to_arrow(found.select("event_id").distinct())),
            ]
        )

    def _revised_ids(self, fresh: Table) -> pa.Table:
        return self.engine.to_arrow(fresh.filter(fresh.revises).select("event_id").distinct())

    def _rows_of_events(self, name: str, silver: Table, ids: pa.Table) -> Table:
        """Return every row of some events, which stay in the engine by a name; nothing is read where there are none."""
        if not len(ids):
            return silver.limit(0)
        return silver.semi_join(self.engine.memtable(name, ids), "event_id")

    @cached_property
    def cut(self) -> Cut:
        """How the engine computes a table before what follows is planned: a small night spends its time on planning."""
        return cutter(self.engine)

    @property
    def first_day(self) -> date:
        """The first day whose facts are tonight's; without hops last night's too, to see whose last fact left."""
        return self.nights.first if hops(self.group.longest) else self.nights.first - timedelta(days=1)

    def _silver(self) -> Table:
        key = self.group.entity.column_in(self.group.fact)
        columns = {*SILVER_COLUMNS, "source_id", key, *self.group.columns}
        return silver_table(self.ws, self.engine, self.group.fact, columns, self.nights.last)


def _union(tables: Sequence[Table]) -> Table:
    united, *rest = tables
    for other in rest:
        united = united.union(other.select(united.columns))
    return united.distinct()
