"""Which rows of silver a night needs: its own facts, and those of the entity-days that late ones touched (rule T5).

Comes before the compiler. The first build of a group reads everything; a later night finds the tiles that its facts,
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
    """Silver of a group's fact as an engine reads it, for some nights."""

    ws: Workspace
    engine: Engine
    group: Group
    nights: Nights

    def rows(self, *, whole: bool) -> Table:
        """Return the group's rows that the nights need, prepared, with the nights on which they stood.

        Parameters
        ----------
        whole
            Whether there are no tiles of earlier nights, so that everything is needed.
        """
        engine, silver = self.engine, self._silver()
        links = links_table(self.ws, engine, self.group, self.nights.last)
        known = None if links is None else engine.materialise("known_links", versions(links, engine.micros))
        if whole:
            return engine.materialise("rows", self._prepared(versions(silver, engine.micros), known))
        seed = self._seed(silver, links)
        rows = engine.materialise("rows", self._prepared(self.cut(versions(seed, engine.micros)), known))
        older = self._older(rows)
        if not len(older):
            return rows
        needed = self.cut(_union([seed, self._beside(silver, known, older)]))
        return engine.materialise("rows", self._prepared(self.cut(versions(needed, engine.micros)), known))

    def _prepared(self, facts: Table, links: Table | None) -> Table:
        return nightly.by_night(group_facts.prepare(self.group, self.ws.company, facts, links, self.cut))

    def _seed(self, silver: Table, links: Table | None) -> Table:
        """Return tonight's facts, what they revise, and those of whom links newly name."""
        fresh = silver.filter(silver[KNOWN_DAY] >= self.first)
        seeds = [fresh, self._with_ids("fresh_ids", silver, self._ids(fresh))]
        if links is not None:
            seeds.append(self._relinked(silver, links))
        return self.cut(_union(seeds))

    def _older(self, rows: Table) -> pa.Table:
        """Return the tiles of earlier days that the nights touch: silver holds more of them than was read so far."""
        pairs = nightly.touched(self.group, rows, self.nights).select(ENTITY, TILE).distinct()
        today = day_number(self.nights.first) * DAY_MICROS // hop_micros(self.group)
        return self.engine.to_arrow(pairs.filter(pairs.tile < today))

    def _beside(self, silver: Table, known: Table | None, touched: pa.Table) -> Table:
        """Return the facts of touched older tiles, with all that is said of the same events."""
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
        beside = engine.materialise("beside", near.semi_join(kept, "event_id"))
        later = silver.filter(silver[KNOWN_DAY] >= since, silver.revises).semi_join(beside, "event_id")
        ids = beside.filter(beside.revises).select("event_id").union(later.select("event_id")).distinct()
        return _union([beside, self._with_ids("beside_ids", silver, engine.to_arrow(ids))])

    def _relinked(self, silver: Table, links: Table) -> Table:
        """Return the facts of ids that identity links newly speak of, as far as a window reaches."""
        company = self.ws.company
        fresh = links.filter(links[KNOWN_DAY] >= self.first)
        events = fresh.select("event_id").distinct()
        spoken = links.semi_join(events, "event_id")
        named = spoken.select(entity=subject(company, spoken))
        # Who was linked to one of them is followed further now.
        behind = links.semi_join(named, [links.customer == named.entity])
        ids = self.engine.to_arrow(_union([named, behind.select(entity=subject(company, behind))]))
        if not len(ids):
            return silver.limit(0)
        horizon = (day_number(self.nights.first) - self.group.longest.days - 2) * DAY_MICROS
        recent = silver.filter(self.engine.micros(silver.event_time) >= horizon)
        whose = recent.mutate(entity=prefixed(company, recent.id_space, recent.source_id))
        about = whose.semi_join(self.engine.memtable("relinked", ids), "entity").drop("entity")
        found = self.engine.materialise("spoken", about)
        return _union(
            [found, self._with_ids("spoken_ids", silver, self.engine.to_arrow(found.select("event_id").distinct()))]
        )

    def _ids(self, fresh: Table) -> pa.Table:
        return self.engine.to_arrow(fresh.filter(fresh.revises).select("event_id").distinct())

    def _with_ids(self, name: str, silver: Table, ids: pa.Table) -> Table:
        """Return every row of some events, which stay in the engine by a name; nothing is read where there are none."""
        if not len(ids):
            return silver.limit(0)
        return silver.semi_join(self.engine.memtable(name, ids), "event_id")

    @cached_property
    def cut(self) -> Cut:
        """How the engine computes a table before what follows is planned: short plans are what a small night needs."""
        return cutter(self.engine)

    @property
    def first(self) -> date:
        """The first day whose facts are tonight's; without hops last night's too, to see who left."""
        return self.nights.first if hops(self.group.longest) else self.nights.first - timedelta(days=1)

    def _silver(self) -> Table:
        key = self.group.entity.columns[self.group.fact]
        columns = {*SILVER_COLUMNS, "source_id", key, *self.group.columns}
        return silver_table(self.ws, self.engine, self.group.fact, columns, self.nights.last)


def _union(tables: Sequence[Table]) -> Table:
    first, *rest = tables
    for other in rest:
        first = first.union(other.select(first.columns))
    return first.distinct()
