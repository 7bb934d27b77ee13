"""Cells: facts prepared by when they happened, became known and ceased to be."""

from collections.abc import Iterable
from dataclasses import dataclass

import ibis
from ibis.expr.types import BooleanValue, IntegerValue, Table, Value

from features.compute import algebra, bands, windowing
from features.compute.algebra import Frame
from features.compute.bands import POSITION
from features.compute.group_facts import ENTITY
from features.compute.windowing import hop_micros, hops, micros_of, minute_of, tile_of, windows
from features.declare.group import Group
from infra.engine.engine import Engine

# An hour of a day; whatever the hop, a question meets some two dozen small cells before it meets large ones.
CELLS_PER_HOP = 24


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


def by_cells(engine: Engine, group: Group, asked: Table, facts: Table) -> Table:
    """Return the states of all windows for each question: of large cells, small cells and the facts between them."""
    hop = hop_micros(group)
    large, small = Cells(group, hop), Cells(group, hop // CELLS_PER_HOP)
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
    reach = cells.cell >= windowing.first_tile(same.large_t, group.longest, hop)
    joined = same.join(cells, [same.entity == cells.entity, reach], rname="{name}_right")
    taken = joined.filter(settled(joined, "large"))
    outside = (
        taken.cell < windowing.first_tile(taken.large_t, window, hop) for window in bands.lengths_of(group, exact=False)
    )
    banded = taken.mutate(
        low=bands.number_of(outside) + exact, high=ibis.literal(len(bands.lengths_of(group)), "int64")
    )
    frame = Frame(minute_of(banded.large_t * hop), banded["last"] - banded.cell, hop)
    return _of_questions(asks, bands.spread(group, bands.merged(group, banded, frame, key), key), key)


def _from_small(engine: Engine, group: Group, asks: Table, cells: Table) -> Table:
    """Merge the small cells that are settled and in no large one that is, or that an exact window needs."""
    hop, exact = hop_micros(group), bands.lengths_of(group, exact=True)
    length = hop // CELLS_PER_HOP
    back = micros_of(exact[-1]) // hop + 1 if exact else 0
    key = [ENTITY, "large_t", "large_known", "large_until", "small_t", "small_known", "small_until", "last"]
    same = engine.materialise("same", asks.select(*key).distinct())
    within = {f"in_{name}": (cells[name] // CELLS_PER_HOP).cast("int64") for name in CELL}
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
        taken.in_cell < windowing.first_tile(taken.large_t, window, hop)
        for window in bands.lengths_of(group, exact=False)
    ]
    whole = settled(taken, "large", "in_cell", "in_known", "in_until")
    banded = taken.mutate(low=bands.number_of(outside), high=ibis.ifelse(whole, len(exact), len(outside)).cast("int64"))
    counted = banded.filter(banded.low < banded.high)
    frame = Frame(minute_of(counted.large_t * hop), counted["last"] - counted.in_cell, hop)
    return _of_questions(asks, bands.spread(group, bands.merged(group, counted, frame, key), key), key)


def _from_facts(group: Group, asks: Table, facts: Table) -> Table:
    """Prepare the facts that no settled cell holds: around the moment itself, and at the tails of exact windows."""
    length, exact = hop_micros(group) // CELLS_PER_HOP, bands.lengths_of(group, exact=True)
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
