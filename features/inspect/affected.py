"""Whose values some source files may have changed, and in which nights: what lineage asks of a bad file.

The events of the files are resolved as the builder resolves them, so a view is named by entity, not only by night.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from ibis import _
from ibis.expr.types import Table

from features.compute import group_facts
from features.compute.as_known import FOREVER, KNOWN_DAY, SILVER_COLUMNS, versions
from features.compute.group_facts import ENTITY
from features.compute.identity import LINKS, prefixed, subject
from features.compute.silver import PROVENANCE, links_table, silver_of, silver_table
from features.compute.windowing import DAY_MICROS
from features.declare.group import Group
from infra.engine.engine import Engine, cutter
from infra.workspace import Workspace
from rapport_feast.times import EPOCH_DAY

# The id that a fact is about in the words of its source, before links say who that is.
SOURCE_KEY, SINCE = "source_key", "since"


@dataclass(frozen=True)
class AffectedEntities:
    """Whose values some facts may have changed: a row per entity with its ``first`` and ``last`` night."""

    rows: pa.Table

    @property
    def nights(self) -> tuple[date, date] | None:
        """The first and the last night of any entity; none where nothing was affected."""
        if not len(self.rows):
            return None
        return pc.min(self.rows["first"]).as_py(), pc.max(self.rows["last"]).as_py()


def affected_by(
    ws: Workspace, engine: Engine, group: Group, source: str, files: Iterable[str], last: date
) -> AffectedEntities:
    """Return the entities of a group that the facts or identity links of some files are about.

    A value may have changed from the night on which a fact became known until its event left the longest window. An
    entity that a fact was taken from, by a link or a revision, is affected as well.

    Parameters
    ----------
    source, files
        A source of the group's fact or of identity links, and its files by their names in silver.
    last
        Nothing that became known later counts.
    """
    fact = {one.name: one.fact for one in ws.company.sources}[source]
    silver_rows = silver_table(ws, engine, fact, {*SILVER_COLUMNS, *PROVENANCE}, last)
    of_files = silver_rows.filter(silver_rows.source == source, silver_rows.file.isin([*files]))
    links = links_table(ws, engine, group, last)
    silver = silver_of(ws, engine, group, last)
    if fact == LINKS and links is not None and group.fact != LINKS:
        since, key = _linked_ids(ws, links, of_files), SOURCE_KEY
    else:
        since, key = of_files.group_by("event_id").agg(since=_[KNOWN_DAY].min()), "event_id"
    named = engine.memtable("named", engine.to_arrow(since))
    known = None if links is None else versions(links, engine.micros)
    facts = versions(_with_source_key(ws, silver).semi_join(named, key).drop(SOURCE_KEY), engine.micros)
    rows = _with_source_key(ws, group_facts.prepare(group, ws.company, facts, known, cutter(engine)))
    joined = rows.join(named, key, rname="{name}_right")
    found = joined.group_by(ENTITY).agg(
        first=_.since.min(),
        event_us=_.event_us.max(),
        # The last moment at which anything about it changed: it became known, or it ceased to stand.
        changed_us=_.known_from.max(),
        ended_us=_.known_until.nullif(FOREVER).max(),
    )
    return AffectedEntities(_affected_nights(group, engine.to_arrow(found)))


def _linked_ids(ws: Workspace, links: Table, of_files: Table) -> Table:
    """Return the ids that links of the files speak of, and those that are followed through them."""
    named = of_files.group_by(source_key=subject(ws.company, of_files)).agg(since=_[KNOWN_DAY].min())
    followers = links.join(named, links.customer == named.source_key, rname="{name}_named")
    following = followers.select(source_key=subject(ws.company, followers), since=followers.since)
    return named.union(following).group_by(SOURCE_KEY).agg(since=_.since.min())


def _with_source_key(ws: Workspace, rows: Table) -> Table:
    return rows.mutate(source_key=prefixed(ws.company, rows.id_space, rows.source_id))


def _affected_nights(group: Group, found: pa.Table) -> pa.Table:
    """Return the nights from the first that knew of a fact to the last whose windows may have held it."""
    lasts = [
        max(event // DAY_MICROS + group.longest.days + 1, changed // DAY_MICROS, (ended or 0) // DAY_MICROS)
        for event, changed, ended in zip(
            *(found[name].to_pylist() for name in ("event_us", "changed_us", "ended_us")), strict=True
        )
    ]
    nights = pa.array([EPOCH_DAY + timedelta(days=last) for last in lasts], pa.date32())
    return pa.table({ENTITY: found[ENTITY], "first": found["first"].cast(pa.date32()), "last": nights}).sort_by(ENTITY)
