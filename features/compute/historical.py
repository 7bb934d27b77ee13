"""Values at any moment: a feature group for every row of a spine, as it was known then (rules V1, V7).

``nightly.py`` computes the cutoffs of nights; this computes any entity at any ``t``, with the facts known by ``t`` less
the group's live lag. It is what training takes for a live group, and what the stream must equal.

Two plans lead to the same answer. *rows* joins every spine row with the facts of its entity and aggregates them: the
fastest while there are few of both. *cells* prepares the facts of an entity into cells first and joins those
(``cells.py``): what an entity with very many of both needs. The compiler counts, chooses for each entity, and says what
it chose. Windows share their work through ``bands.py``.
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
from features.compute.cells import states_by_cells
from features.compute.group_facts import ENTITY
from features.compute.identity import prefixed
from features.compute.silver import known_since, links_table, silver_table
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


# Cells pay when an entity's spine rows times its facts exceed this many times their sum.
DENSE = 50
PLAN_METADATA = b"rapport.plan"


@dataclass(frozen=True)
class PlanChoice:
    """What the compiler chose: entities by each plan, and the pairs of spine row and fact that ``rows`` would join."""

    rows: int
    cells: int
    pairs: int


@dataclass(frozen=True)
class SpineTable:
    """A spine as a table of an engine.

    Attributes
    ----------
    rows
        ``position``, ``entity``, ``t_us`` and ``known_us``, the last two in microseconds.
    first, last
        The earliest and the latest ``t_us``.
    known
        The latest ``known_us``.
    """

    rows: Table
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
        With ``known_at`` (a timestamp too) a row sees the facts known at that moment, without it those of
        ``event_time`` less the group's live lag.
    engine
        ``duckdb`` or ``spark``; by default that of the settings.
    plan
        One plan for all entities; by default the compiler chooses for each.

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
        Which identity links say whose facts they are: those known ``then``. ``now`` and ``none`` are never what should
        be served, but by them the parity meter tells a fault of identity from others.
    """
    schema = pa.schema([(POSITION, pa.int64()), *((f.name, outputs.ARROW[f.dtype]) for f in group.outputs)])
    if not len(spine):
        return schema.empty_table()
    table = _read_spine(engine, group, spine)
    facts = _visible_facts(ws, engine, group, table, links)
    chosen, dense = _choose_plan(ws, engine, group, table, plan)
    states = [] if chosen.rows == 0 else [_states_by_rows(group, *_divide(table.rows, facts, dense, keep=False))]
    if chosen.cells:
        states.append(states_by_cells(engine, group, *_divide(table.rows, facts, dense, keep=True)))
    complete = states[0] if len(states) == 1 else states[0].union(states[1].select(states[0].columns))
    found = _features(group, table.rows, complete)
    values = engine.to_arrow(found.drop(group.entity.key)).select(schema.names).cast(schema)
    return values.sort_by(POSITION).replace_schema_metadata({PLAN_METADATA: json.dumps(asdict(chosen)).encode()})


def _features(group: Group, spine: Table, states: Table) -> Table:
    named = [name for name in states.columns if name != POSITION]
    joined = spine.left_join(states, POSITION, rname="{name}_right").select(POSITION, ENTITY, "t_us", *named)
    return outputs.finished(group, joined, joined.t_us, [POSITION])


def _read_spine(engine: Engine, group: Group, spine: pa.Table) -> SpineTable:
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
    table = engine.memtable("spine", rows)
    return SpineTable(table, pc.min(t_us).as_py(), pc.max(t_us).as_py(), pc.max(known_us).as_py())


def _visible_facts(ws: Workspace, engine: Engine, group: Group, spine: SpineTable, which: Links) -> Table:
    """Return the group's facts that any spine row can see, prepared."""
    columns = {*SILVER_COLUMNS, "source_id", group.entity.column_in(group.fact), *group.columns}
    last = EPOCH_DAY + (spine.known // DAY_MICROS) * DAY
    silver = silver_table(ws, engine, group.fact, columns, last)
    start = spine.first - micros_of(group.longest)
    recent = known_since(silver, start, ws.lake.oldest(f"silver/{group.fact}"))
    links = links_table(ws, engine, group, last if which == "then" else date.max) if which != "none" else None
    known = None
    if links is not None:
        spoken = versions(links, engine.micros)
        standing = spoken.filter(_.known_until == FOREVER).mutate(known_from=ibis.literal(0, "int64"))
        known = engine.materialise("known_links", spoken if which == "then" else standing)
    rows = group_facts.prepare(group, ws.company, versions(recent, engine.micros), known, cutter(engine))
    return rows.filter(_.event_us > start - DAY_MICROS, _.event_us <= spine.last)


def _choose_plan(
    ws: Workspace, engine: Engine, group: Group, spine: SpineTable, plan: Plan | None
) -> tuple[PlanChoice, Table]:
    """Count spine rows and facts by entity; return what was chosen and the entities whose facts are put into cells.

    Facts are counted as they stand in silver, whatever their revisions and links: it is a choice of speed alone.
    """
    last = EPOCH_DAY + (spine.known // DAY_MICROS) * DAY
    key = group.entity.column_in(group.fact)
    silver = silver_table(ws, engine, group.fact, {"id_space", key, KNOWN_DAY}, last)
    local = silver.group_by("id_space", key).agg(facts=_.count())
    counted = local.group_by(entity=prefixed(ws.company, local.id_space, local[key])).agg(facts=_.facts.sum())
    spine_rows = spine.rows.group_by(ENTITY).agg(spine_rows=_.count())
    both = spine_rows.left_join(counted, ENTITY, rname="{name}_right")
    weighed = engine.to_arrow(both.select(ENTITY, "spine_rows", facts=both.facts.fill_null(0)))
    pairs = pc.multiply(weighed["spine_rows"].cast(pa.int64()), weighed["facts"].cast(pa.int64()))
    if plan is None:
        beyond = pc.multiply(pc.add(weighed["spine_rows"], weighed["facts"]).cast(pa.int64()), DENSE)
        dense = pc.greater(pairs, beyond)
    else:
        dense = pa.chunked_array([pa.array([plan == "cells"] * len(weighed))])
    chosen = weighed.filter(dense)
    choice = PlanChoice(len(weighed) - len(chosen), len(chosen), pc.sum(pairs).as_py() or 0)
    return choice, engine.memtable("dense", chosen.select([ENTITY]))


def _divide(spine: Table, facts: Table, dense: Table, *, keep: bool) -> tuple[Table, Table]:
    """Return the spine rows and facts of the dense entities, or those of all others."""
    if keep:
        return spine.semi_join(dense, ENTITY), facts.semi_join(dense, ENTITY)
    return spine.anti_join(dense, ENTITY), facts.anti_join(dense, ENTITY)


def _states_by_rows(group: Group, spine: Table, facts: Table) -> Table:
    """Return the states of all windows for each spine row, from the facts themselves."""
    start = spine.t_us - micros_of(group.longest) - (hop_micros(group) if hops(group.longest) else 0)
    near = [spine.entity == facts.entity, facts.event_us > start, *bands.visible(spine, facts)]
    joined = spine.join(facts, near, rname="{name}_right")
    lengths = bands.lengths_of(group)
    banded = joined.mutate(low=bands.count_true(~bands.inside(group, joined, window) for window in lengths))
    inside = banded.filter(banded.low < len(lengths)).mutate(high=ibis.literal(len(lengths), "int64"))
    return bands.spread_to_windows(group, bands.prepared(group, inside), [POSITION])
