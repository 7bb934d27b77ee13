"""The live compiler: a feature group at any moment, as it was known then (rules V1, V7).

``compile.py`` asks at the cutoffs of nights; this asks for any entity at any ``t``, with the facts known by ``t`` less
the group's live lag. It is what training takes for a live group, and what the stream must equal.

There are two ways to the same answer. *rows* joins every question with the facts of its entity and aggregates them:
the fastest while questions times facts stay few. *cells* prepares the facts of an entity into cells first and joins
those: what an entity with very many of both needs. A cell holds facts by three times: when they happened, when they
became known and until when they were; a question takes whole cells where all three are settled at its moment, first
of the length of a hop, then of a part of it, and single facts for the rest. The compiler counts and chooses for each
entity, and says what it chose.

Windows share their work through ``bands.py``.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from ibis import _
from ibis.expr.types import Table

from features.compute import bands, group_facts, outputs
from features.compute.as_known import FOREVER, KNOWN_DAY, SILVER_COLUMNS, versions
from features.compute.bands import POSITION
from features.compute.cells import by_cells
from features.compute.group_facts import ENTITY
from features.compute.identity import prefixed
from features.compute.silver import links_table, silver_table
from features.compute.windowing import DAY_MICROS, hop_micros, hops, micros_of
from features.declare.group import Group
from features.declare.measure import DAY
from infra.clock import parse_duration
from infra.engine.engine import Engine, cutter
from infra.engine.open import open_engine
from infra.settings import EngineName
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import EPOCH_DAY

Plan = Literal["rows", "cells"]
Links = Literal["then", "now", "none"]
TIME, KNOWN = "event_time", "known_at"


# Cells pay when an entity's questions times its facts exceed this many times their sum.
DENSE = 50
PLAN_METADATA = b"rapport.plan"


@dataclass(frozen=True)
class PlanChoice:
    """What the compiler chose: entities each way, and the pairs of question and fact that rows alone would join."""

    rows: int
    cells: int
    pairs: int


@dataclass(frozen=True)
class SpineTable:
    """The questions as a table of an engine: ``position``, ``entity``, ``t_us`` and ``known_us``, microseconds.

    Attributes
    ----------
    first, last
        The earliest and the latest moment asked about.
    known
        The latest moment by which a fact may have become known.
    """

    table: Table
    first: int
    last: int
    known: int


def historical(
    ws: Workspace, group: Group, spine: pa.Table, engine: EngineName | None = None, plan: Plan | None = None
) -> pa.Table:
    """Return a group's values for entities at their moments, as known then.

    Parameters
    ----------
    spine
        The entity's key (string), ``event_time`` (timestamp in microseconds, UTC) and ``position`` (int64, each once).
        With ``known_at`` (a timestamp too) a question knows the facts of that moment, without it those of
        ``event_time`` less the group's live lag.
    engine
        ``duckdb`` or ``spark``; by default that of the settings.
    plan
        One way for all entities; by default the compiler chooses for each.

    Returns
    -------
    pyarrow.Table
        ``position`` and every feature, a row for each of the spine, by position. The metadata ``rapport.plan`` says
        what was chosen.

    Raises
    ------
    Rejected
        The spine lacks a column, or the fact was never written.
    """
    with open_engine(ws, engine) as opened:
        return compute(ws, opened, group, spine, plan)


def compute(
    ws: Workspace, engine: Engine, group: Group, spine: pa.Table, plan: Plan | None = None, links: Links = "then"
) -> pa.Table:
    """Return what ``historical`` does, on an engine that is open.

    Parameters
    ----------
    links
        Whose facts they are: by the identity links as known ``then``. By those known ``now``, or by ``none``, is never
        what should be served, but tells a fault of identity from others.
    """
    schema = pa.schema([(POSITION, pa.int64()), *((f.name, outputs.ARROW[f.dtype]) for f in group.outputs)])
    if not len(spine):
        return schema.empty_table()
    asked = _asked(engine, group, spine)
    facts = _facts(ws, engine, group, asked, links)
    chosen, dense = _choose(ws, engine, group, asked, plan)
    states = [] if chosen.rows == 0 else [_by_rows(group, *_share(asked.table, facts, dense, keep=False))]
    if chosen.cells:
        states.append(by_cells(engine, group, *_share(asked.table, facts, dense, keep=True)))
    whole = states[0] if len(states) == 1 else states[0].union(states[1].select(states[0].columns))
    found = _finished(group, asked.table, whole)
    values = engine.to_arrow(found.drop(group.entity.key)).select(schema.names).cast(schema)
    return values.sort_by(POSITION).replace_schema_metadata({PLAN_METADATA: json.dumps(asdict(chosen)).encode()})


def _finished(group: Group, asked: Table, states: Table) -> Table:
    named = [name for name in states.columns if name != POSITION]
    joined = asked.left_join(states, POSITION, rname="{name}_right").select(POSITION, ENTITY, "t_us", *named)
    return outputs.finished(group, joined, joined.t_us, [POSITION])


def _asked(engine: Engine, group: Group, spine: pa.Table) -> SpineTable:
    for column in (group.entity.key, TIME, POSITION):
        if column not in spine.column_names:
            raise Rejected("spine", f"the columns {group.entity.key}, {TIME}, {POSITION}", f"none named {column}")
    t_us = pc.cast(spine[TIME].cast(pa.timestamp("us", "UTC")), pa.int64())
    if KNOWN in spine.column_names:
        known_us = pc.cast(spine[KNOWN].cast(pa.timestamp("us", "UTC")), pa.int64())
    else:
        known_us = pc.subtract(t_us, micros_of(parse_duration(group.live_lag)))
    rows = pa.table(
        {
            POSITION: spine[POSITION].cast(pa.int64()),
            ENTITY: spine[group.entity.key].cast(pa.string()),
            "t_us": t_us,
            "known_us": known_us,
        }
    )
    table = engine.memtable("asked", rows)
    return SpineTable(table, pc.min(t_us).as_py(), pc.max(t_us).as_py(), pc.max(known_us).as_py())


def _facts(ws: Workspace, engine: Engine, group: Group, asked: SpineTable, whose: Links) -> Table:
    """Return the group's facts as far as any question can see them, prepared."""
    columns = {*SILVER_COLUMNS, "source_id", group.entity.columns[group.fact], *group.columns}
    last = EPOCH_DAY + (asked.known // DAY_MICROS) * DAY
    silver = silver_table(ws, engine, group.fact, columns, last)
    # No fact is known before it happened, so what was known long ago is out of every window, unless it was revised.
    since = asked.first - micros_of(group.longest) - DAY_MICROS
    horizon = EPOCH_DAY + max(since // DAY_MICROS, 0) * DAY
    near, far = silver.filter(_[KNOWN_DAY] >= horizon), silver.filter(_[KNOWN_DAY] < horizon)
    if (ws.lake.oldest(f"silver/{group.fact}") or horizon) < horizon:
        near = near.union(far.semi_join(near.filter(_.revises).select("event_id").distinct(), "event_id"))
    links = links_table(ws, engine, group, last if whose == "then" else date.max) if whose != "none" else None
    known = None
    if links is not None:
        said = versions(links, engine.micros)
        standing = said.filter(_.known_until == FOREVER).mutate(known_from=ibis.literal(0, "int64"))
        known = engine.materialise("known_links", said if whose == "then" else standing)
    rows = group_facts.prepare(group, ws.company, versions(near, engine.micros), known, cutter(engine))
    return rows.filter(_.event_us > since, _.event_us <= asked.last)


def _choose(
    ws: Workspace, engine: Engine, group: Group, asked: SpineTable, plan: Plan | None
) -> tuple[PlanChoice, Table]:
    """Count questions and facts by entity; return what was chosen and the entities whose facts are put into cells.

    Facts are counted as they stand in silver, whatever their revisions and links: it is a choice of speed alone.
    """
    last = EPOCH_DAY + (asked.known // DAY_MICROS) * DAY
    key = group.entity.columns[group.fact]
    silver = silver_table(ws, engine, group.fact, {"id_space", key, KNOWN_DAY}, last)
    local = silver.group_by("id_space", key).agg(facts=_.count())
    counted = local.group_by(entity=prefixed(ws.company, local.id_space, local[key])).agg(facts=_.facts.sum())
    questions = asked.table.group_by(ENTITY).agg(questions=_.count())
    both = questions.left_join(counted, ENTITY, rname="{name}_right")
    weighed = engine.to_arrow(both.select(ENTITY, "questions", facts=both.facts.fill_null(0)))
    pairs = pc.multiply(weighed["questions"].cast(pa.int64()), weighed["facts"].cast(pa.int64()))
    if plan is None:
        beyond = pc.multiply(pc.add(weighed["questions"], weighed["facts"]).cast(pa.int64()), DENSE)
        dense = pc.greater(pairs, beyond)
    else:
        dense = pa.chunked_array([pa.array([plan == "cells"] * len(weighed))])
    chosen = weighed.filter(dense)
    said = PlanChoice(len(weighed) - len(chosen), len(chosen), pc.sum(pairs).as_py() or 0)
    return said, engine.memtable("dense", chosen.select([ENTITY]))


def _share(asked: Table, facts: Table, dense: Table, *, keep: bool) -> tuple[Table, Table]:
    """Return the questions and facts of the dense entities, or those of all others."""
    if keep:
        return asked.semi_join(dense, ENTITY), facts.semi_join(dense, ENTITY)
    return asked.anti_join(dense, ENTITY), facts.anti_join(dense, ENTITY)


def _by_rows(group: Group, asked: Table, facts: Table) -> Table:
    """Return the states of all windows for each question, from the facts themselves."""
    start = asked.t_us - micros_of(group.longest) - (hop_micros(group) if hops(group.longest) else 0)
    near = [asked.entity == facts.entity, facts.event_us > start, *bands.seen(asked, facts)]
    joined = asked.join(facts, near, rname="{name}_right")
    lengths = bands.lengths_of(group)
    banded = joined.mutate(low=bands.number_of(~bands.inside(group, joined, window) for window in lengths))
    inside = banded.filter(banded.low < len(lengths)).mutate(high=ibis.literal(len(lengths), "int64"))
    return bands.spread(group, bands.prepared(group, inside), [POSITION])
