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
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal

import ibis
import pyarrow as pa
import pyarrow.compute as pc
from ibis import _
from ibis.expr.types import BooleanValue, IntegerValue, Table, Value

from features import algebra, bands
from features import compile as compiler
from features.algebra import Frame, hop_micros, hops, micros_of, minute_of, tile_of, windows
from features.bands import POSITION as POSITION
from features.compile import ENTITY
from features.facts import COMMON, DAY_MICROS, FOREVER, KNOWN_DAY, versions
from features.identity import prefixed
from features.reading import links_table, silver_table
from features.spec import DAY, Group
from infra.clock import EPOCH
from infra.company import duration
from infra.engine import Engine, cutter, open_engine
from infra.errors import Rejected
from infra.settings import EngineName
from infra.workspace import Workspace

Plan = Literal["rows", "cells"]
Links = Literal["then", "now", "none"]
TIME, KNOWN = "event_time", "known_at"
# An hour of a day; whatever the hop, a question meets some two dozen small cells before it meets large ones.
CELLS_A_HOP = 24
# Cells pay when an entity's questions times its facts exceed this many times their sum.
DENSE = 50
PLAN = b"rapport.plan"


@dataclass(frozen=True)
class Chosen:
    """What the compiler chose: entities each way, and the pairs of question and fact that rows alone would join."""

    rows: int
    cells: int
    pairs: int


@dataclass(frozen=True)
class Asked:
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
    schema = pa.schema([(POSITION, pa.int64()), *((f.name, compiler.ARROW[f.dtype]) for f in group.outputs)])
    if not len(spine):
        return schema.empty_table()
    asked = _asked(engine, group, spine)
    facts = _facts(ws, engine, group, asked, links)
    chosen, dense = _choose(ws, engine, group, asked, plan)
    states = [] if chosen.rows == 0 else [_by_rows(group, *_share(asked.table, facts, dense, keep=False))]
    if chosen.cells:
        states.append(_by_cells(engine, group, *_share(asked.table, facts, dense, keep=True)))
    whole = states[0] if len(states) == 1 else states[0].union(states[1].select(states[0].columns))
    found = _finished(group, asked.table, whole)
    values = engine.to_arrow(found.drop(group.entity.key)).select(schema.names).cast(schema)
    return values.sort_by(POSITION).replace_schema_metadata({PLAN: json.dumps(asdict(chosen)).encode()})


def _finished(group: Group, asked: Table, states: Table) -> Table:
    named = [name for name in states.columns if name != POSITION]
    joined = asked.left_join(states, POSITION, rname="{name}_right").select(POSITION, ENTITY, "t_us", *named)
    return compiler.finished(group, joined, joined.t_us, [POSITION])


def _asked(engine: Engine, group: Group, spine: pa.Table) -> Asked:
    for column in (group.entity.key, TIME, POSITION):
        if column not in spine.column_names:
            raise Rejected("spine", f"the columns {group.entity.key}, {TIME}, {POSITION}", f"none named {column}")
    t_us = pc.cast(spine[TIME].cast(pa.timestamp("us", "UTC")), pa.int64())
    if KNOWN in spine.column_names:
        known_us = pc.cast(spine[KNOWN].cast(pa.timestamp("us", "UTC")), pa.int64())
    else:
        known_us = pc.subtract(t_us, micros_of(duration(group.live_lag)))
    rows = pa.table(
        {
            POSITION: spine[POSITION].cast(pa.int64()),
            ENTITY: spine[group.entity.key].cast(pa.string()),
            "t_us": t_us,
            "known_us": known_us,
        }
    )
    table = engine.memtable("asked", rows)
    return Asked(table, pc.min(t_us).as_py(), pc.max(t_us).as_py(), pc.max(known_us).as_py())


def _facts(ws: Workspace, engine: Engine, group: Group, asked: Asked, whose: Links) -> Table:
    """Return the group's facts as far as any question can see them, prepared."""
    columns = {*COMMON, "source_id", group.entity.columns[group.fact], *group.columns}
    last = EPOCH + (asked.known // DAY_MICROS) * DAY
    silver = silver_table(ws, engine, group.fact, columns, last)
    # No fact is known before it happened, so what was known long ago is out of every window, unless it was revised.
    since = asked.first - micros_of(group.longest) - DAY_MICROS
    horizon = EPOCH + max(since // DAY_MICROS, 0) * DAY
    near, far = silver.filter(_[KNOWN_DAY] >= horizon), silver.filter(_[KNOWN_DAY] < horizon)
    if (ws.lake.oldest(f"silver/{group.fact}") or horizon) < horizon:
        near = near.union(far.semi_join(near.filter(_.revises).select("event_id").distinct(), "event_id"))
    links = links_table(ws, engine, group, last if whose == "then" else date.max) if whose != "none" else None
    known = None
    if links is not None:
        said = versions(links, engine.micros)
        standing = said.filter(_.known_until == FOREVER).mutate(known_from=ibis.literal(0, "int64"))
        known = engine.materialise("known_links", said if whose == "then" else standing)
    rows = compiler.prepare(group, ws.company, versions(near, engine.micros), known, cutter(engine))
    return rows.filter(_.event_us > since, _.event_us <= asked.last)


def _choose(ws: Workspace, engine: Engine, group: Group, asked: Asked, plan: Plan | None) -> tuple[Chosen, Table]:
    """Count questions and facts by entity; return what was chosen and the entities whose facts are put into cells.

    Facts are counted as they stand in silver, whatever their revisions and links: it is a choice of speed alone.
    """
    last = EPOCH + (asked.known // DAY_MICROS) * DAY
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
    said = Chosen(len(weighed) - len(chosen), len(chosen), pc.sum(pairs).as_py() or 0)
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


@dataclass(frozen=True)
class Cells:
    """Facts in cells of one length, by when they happened, became known, and ceased to be.

    A question at ``t`` that knows what was known by ``T`` takes a cell whole if it happened before the cell of ``t``,
    became known before that of ``T`` and did not cease before or in it.
    """

    group: Group
    length: int

    def of_facts(self, facts: Table) -> dict[str, IntegerValue]:
        """Return the three cells of each fact."""
        return {
            "cell": tile_of(facts.event_us, self.length),
            "known": bands.whole(facts.known_from, self.length),
            "until": bands.whole(facts.known_until, self.length),
        }

    def of_questions(self, asked: Table, prefix: str) -> dict[str, IntegerValue]:
        """Return the borders up to which cells are settled for each question."""
        known = bands.whole(asked.known_us + 1, self.length)
        return {
            f"{prefix}_t": bands.whole(asked.t_us, self.length),
            f"{prefix}_known": known,
            f"{prefix}_until": known + (asked.known_us + 1 > known * self.length).cast("int64"),
        }

    def prepared(self, facts: Table) -> Table:
        """Return the states of all cells."""
        placed = facts.mutate(**self.of_facts(facts))
        frame = Frame(minute_of(placed.cell * self.length))
        states: dict[str, Value] = {}
        for measure in self.group.measures:
            states |= algebra.prepare(measure, placed, frame, measure.name)
        found = placed.group_by([ENTITY, *CELL]).agg(**states)
        return found.mutate(origin=minute_of(found.cell * self.length))


CELL = ("cell", "known", "until")


def settled(rows: Table, prefix: str, cell: str = "cell", known: str = "known", until: str = "until") -> BooleanValue:
    """Return whether a question takes a cell whole."""
    return (
        (rows[cell] < rows[f"{prefix}_t"])
        & (rows[known] < rows[f"{prefix}_known"])
        & (rows[until] >= rows[f"{prefix}_until"])
    )


def _by_cells(engine: Engine, group: Group, asked: Table, facts: Table) -> Table:
    """Return the states of all windows for each question: of large cells, small cells and the facts between them."""
    hop = hop_micros(group)
    large, small = Cells(group, hop), Cells(group, hop // CELLS_A_HOP)
    placed = engine.materialise("placed_facts", facts.mutate(**small.of_facts(facts)))
    borders = {**large.of_questions(asked, "large"), **small.of_questions(asked, "small")}
    asks = engine.materialise("asks", asked.mutate(**borders, last=tile_of(asked.t_us, hop)))
    parts = [_from_facts(group, asks, placed)]
    parts.append(_from_small(engine, group, asks, engine.materialise("small_cells", small.prepared(placed))))
    if hops(group.longest):
        parts.append(_from_large(group, asks, engine.materialise("large_cells", large.prepared(placed.drop(*CELL)))))
    united = parts[0]
    for part in parts[1:]:
        united = united.union(part.select(united.columns))
    states: dict[str, Value] = {}
    for measure, name, _window in windows(group):
        states |= algebra.combine(measure, united, name, name)
    return united.group_by(POSITION).agg(**states)


def _from_large(group: Group, asks: Table, cells: Table) -> Table:
    """Merge the large cells that are settled, once for all questions that take the same ones."""
    hop, exact = hop_micros(group), len(bands.lengths_of(group, exact=True))
    key = [ENTITY, "large_t", "large_known", "large_until", "last"]
    same = asks.select(*key).distinct()
    reach = cells.cell >= algebra.first_tile(same.large_t, group.longest, hop)
    joined = same.join(cells, [same.entity == cells.entity, reach], rname="{name}_right")
    taken = joined.filter(settled(joined, "large"))
    outside = (
        taken.cell < algebra.first_tile(taken.large_t, window, hop) for window in bands.lengths_of(group, exact=False)
    )
    banded = taken.mutate(
        low=bands.number_of(outside) + exact, high=ibis.literal(len(bands.lengths_of(group)), "int64")
    )
    frame = Frame(minute_of(banded.large_t * hop), banded["last"] - banded.cell, hop)
    return _of_questions(asks, bands.spread(group, bands.merged(group, banded, frame, key), key), key)


def _from_small(engine: Engine, group: Group, asks: Table, cells: Table) -> Table:
    """Merge the small cells that are settled and in no large one that is, or that an exact window needs."""
    hop, exact = hop_micros(group), bands.lengths_of(group, exact=True)
    length = hop // CELLS_A_HOP
    back = micros_of(exact[-1]) // hop + 1 if exact else 0
    key = [ENTITY, "large_t", "large_known", "large_until", "small_t", "small_known", "small_until", "last"]
    same = engine.materialise("same", asks.select(*key).distinct())
    within = {f"in_{name}": (cells[name] // CELLS_A_HOP).cast("int64") for name in CELL}
    inner = cells.mutate(**within).rename(cell_entity=ENTITY)
    near = _at_cells(same, same.large_t, range(back + 1))
    recent = near.join(inner, [near.entity == inner.cell_entity, near.place == inner.in_cell]).drop("place")
    old = inner.in_cell < same.large_t - back
    came = same.join(inner, [same.entity == inner.cell_entity, same.large_known == inner.in_known, old])
    went = same.join(
        inner,
        [same.entity == inner.cell_entity, same.large_known == inner.in_until, inner.in_known < same.large_known, old],
    )
    joined = recent.union(came.select(recent.columns)).union(went.select(recent.columns))
    taken = joined.filter(settled(joined, "small"))
    outside = [taken.cell < taken.small_t + 1 - micros_of(window) // length for window in exact]
    outside += [
        taken.in_cell < algebra.first_tile(taken.large_t, window, hop)
        for window in bands.lengths_of(group, exact=False)
    ]
    whole = settled(taken, "large", "in_cell", "in_known", "in_until")
    banded = taken.mutate(low=bands.number_of(outside), high=ibis.ifelse(whole, len(exact), len(outside)).cast("int64"))
    counted = banded.filter(banded.low < banded.high)
    frame = Frame(minute_of(counted.large_t * hop), counted["last"] - counted.in_cell, hop)
    return _of_questions(asks, bands.spread(group, bands.merged(group, counted, frame, key), key), key)


def _from_facts(group: Group, asks: Table, facts: Table) -> Table:
    """Prepare the facts that no settled cell holds: around the moment itself, and at the tails of exact windows."""
    length, exact = hop_micros(group) // CELLS_A_HOP, bands.lengths_of(group, exact=True)
    edges = {0}
    for window in exact:
        edges |= {micros_of(window) // length, -(-micros_of(window) // length)}
    told = facts.rename(fact_entity=ENTITY)
    near = _at_cells(asks, asks.small_t, sorted(edges))
    recent = near.join(told, [near.entity == told.fact_entity, near.place == told.cell]).drop("place")
    old = ~(asks.small_t - told.cell).isin(sorted(edges))
    came = asks.join(told, [asks.entity == told.fact_entity, asks.small_known == told.known, old])
    went = asks.join(
        told, [asks.entity == told.fact_entity, asks.small_known == told.until, told.known != asks.small_known, old]
    )
    joined = recent.union(came.select(recent.columns)).union(went.select(recent.columns))
    seen = joined.filter(*bands.seen(joined, joined))
    lengths = bands.lengths_of(group)
    # An exact window takes the whole small cells between its own tail and the moment; a longer one all that are.
    tail = bands.number_of(seen.cell < seen.small_t + 1 - micros_of(window) // length for window in exact)
    banded = seen.mutate(
        low=bands.number_of(~bands.inside(group, seen, window) for window in lengths),
        high=ibis.ifelse(settled(seen, "small"), tail, len(lengths)).cast("int64"),
    )
    return bands.spread(group, bands.prepared(group, banded.filter(banded.low < banded.high)), [POSITION])


def _at_cells(asked: Table, cell: IntegerValue, back: Iterable[int]) -> Table:
    """Return each question once for each cell that lies so many before its own: ``place``."""
    laid = asked.mutate(own=cell, edge=ibis.literal([*back], type="array<int64>").unnest())
    return laid.mutate(place=laid.own - laid.edge).drop("own", "edge")


def _of_questions(asks: Table, states: Table, key: list[str]) -> Table:
    """Return states that questions share for each of them."""
    named = [name for name in states.columns if name not in key]
    return asks.join(states, key, rname="{name}_right").select(POSITION, *named)
