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
OWN, SINCE = "own", "since"


@dataclass(frozen=True)
class AffectedEntities:
    """Whose values some facts may have changed: a row per entity with its ``first`` and ``last`` night."""

    rows: pa.Table

    @property
    def nights(self) -> tuple[date, date] | None:
        """The first and the last night of anybody; none where nobody was touched."""
        if not len(self.rows):
            return None
        return pc.min(self.rows["first"]).as_py(), pc.max(self.rows["last"]).as_py()


def affected_by(
    ws: Workspace, engine: Engine, group: Group, source: str, files: Iterable[str], last: date
) -> AffectedEntities:
    """Return the entities of a group that the facts or identity links of some files are about.

    A value may have changed from the night on which a fact became known until its event left the longest window. An
    entity that a fact was taken from, by a link or a revision, is touched as well.

    Parameters
    ----------
    source, files
        A source of the group's fact or of identity links, and its files by their names in silver.
    last
        Nothing that became known later counts.
    """
    fed = {one.name: one.fact for one in ws.company.sources}[source]
    told = silver_table(ws, engine, fed, {*SILVER_COLUMNS, *PROVENANCE}, last)
    theirs = told.filter(told.source == source, told.file.isin([*files]))
    links = links_table(ws, engine, group, last)
    silver = silver_of(ws, engine, group, last)
    if fed == LINKS and links is not None and group.fact != LINKS:
        since, key = _subjects(ws, links, theirs), OWN
    else:
        since, key = theirs.group_by("event_id").agg(since=_[KNOWN_DAY].min()), "event_id"
    named = engine.memtable("named", engine.to_arrow(since))
    known = None if links is None else versions(links, engine.micros)
    facts = versions(_owned(ws, silver).semi_join(named, key).drop(OWN), engine.micros)
    rows = _owned(ws, group_facts.prepare(group, ws.company, facts, known, cutter(engine)))
    joined = rows.join(named, key, rname="{name}_right")
    found = joined.group_by(ENTITY).agg(
        first=_.since.min(),
        event_us=_.event_us.max(),
        # The last moment at which anything about it changed: it came, or it went.
        changed_us=_.known_from.max(),
        ended_us=_.known_until.nullif(FOREVER).max(),
    )
    return AffectedEntities(_spans(group, engine.to_arrow(found)))


def _subjects(ws: Workspace, links: Table, theirs: Table) -> Table:
    """Return the ids that links of the files speak of, and those that are followed through them."""
    named = theirs.group_by(own=subject(ws.company, theirs)).agg(since=_[KNOWN_DAY].min())
    behind = links.join(named, links.customer == named.own, rname="{name}_named")
    through = behind.select(own=subject(ws.company, behind), since=behind.since)
    return named.union(through).group_by(OWN).agg(since=_.since.min())


def _owned(ws: Workspace, rows: Table) -> Table:
    return rows.mutate(own=prefixed(ws.company, rows.id_space, rows.source_id))


def _spans(group: Group, found: pa.Table) -> pa.Table:
    """Return the nights from the first that knew of a fact to the last whose windows may have held it."""
    lasts = [
        max(event // DAY_MICROS + group.longest.days + 1, changed // DAY_MICROS, (ended or 0) // DAY_MICROS)
        for event, changed, ended in zip(
            *(found[name].to_pylist() for name in ("event_us", "changed_us", "ended_us")), strict=True
        )
    ]
    nights = pa.array([EPOCH_DAY + timedelta(days=last) for last in lasts], pa.date32())
    return pa.table({ENTITY: found[ENTITY], "first": found["first"].cast(pa.date32()), "last": nights}).sort_by(ENTITY)
