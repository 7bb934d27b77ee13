"""Cells: facts prepared by when they happened, became known and ceased to stand.

The plan of ``historical.py`` for entities with very many facts and very many spine rows. A spine row takes whole cells
where all three times are settled at its moment, first of the length of a hop, then of a part of it, and single facts
for the rest.
"""

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

# An hour of a day; whatever the hop, a spine row takes some two dozen small cells before it takes large ones.
CELLS_PER_HOP = 24


@dataclass(frozen=True)
class Cells:
    """Facts in cells of one length, by when they happened, became known, and ceased to stand.

    A spine row at ``t`` that sees what was known by ``T`` takes a cell whole if its facts happened before the cell of
    ``t``, became known before that of ``T``, and did not cease to stand before or in it.

    Attributes
    ----------
    group
        The group.
    length
        Length of a cell, microseconds.
    """

    group: Group
    length: int

    def of_facts(self, facts: Table) -> dict[str, IntegerValue]:
        """Return the three cells of each fact."""
        return {
            "cell": tile_of(facts.event_us, self.length),
            "known": bands.whole_lengths(facts.known_from, self.length),
            "until": bands.whole_lengths(facts.known_until, self.length),
        }

    def of_spine(self, spine: Table, prefix: str) -> dict[str, IntegerValue]:
        """Return the borders up to which cells are settled for each spine row."""
        known = bands.whole_lengths(spine.known_us + 1, self.length)
        return {
            f"{prefix}_t": bands.whole_lengths(spine.t_us, self.length),
            f"{prefix}_known": known,
            f"{prefix}_until": known + (spine.known_us + 1 > known * self.length).cast("int64"),
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
    """Return whether a spine row takes a cell whole."""
    return (
        (rows[cell] < rows[f"{prefix}_t"])
        & (rows[known] < rows[f"{prefix}_known"])
        & (rows[until] >= rows[f"{prefix}_until"])
    )


def states_by_cells(engine: Engine, group: Group, spine: Table, facts: Table) -> Table:
    """Return the states of all windows for each spine row: of large cells, small cells and the facts between them."""
    hop = hop_micros(group)
    large, small = Cells(group, hop), Cells(group, hop // CELLS_PER_HOP)
    placed = engine.materialise("placed_facts", facts.mutate(**small.of_facts(facts)))
    borders = {**large.of_spine(spine, "large"), **small.of_spine(spine, "small")}
    spine = engine.materialise("spine_cells", spine.mutate(**borders, last=tile_of(spine.t_us, hop)))
    parts = [_from_facts(group, spine, placed)]
    parts.append(_from_small(engine, group, spine, engine.materialise("small_cells", small.prepared(placed))))
    if hops(group.longest):
        parts.append(_from_large(group, spine, engine.materialise("large_cells", large.prepared(placed.drop(*CELL)))))
    combined = parts[0]
    for part in parts[1:]:
        combined = combined.union(part.select(combined.columns))
    states: dict[str, Value] = {}
    for measure, name, _window in windows(group):
        states |= algebra.combine(measure, combined, name, name)
    return combined.group_by(POSITION).agg(**states)


def _from_large(group: Group, spine: Table, cells: Table) -> Table:
    """Merge the large cells that are settled, once for all spine rows that take the same ones."""
    hop, exact = hop_micros(group), len(bands.lengths_of(group, exact=True))
    key = [ENTITY, "large_t", "large_known", "large_until", "last"]
    shared = spine.select(*key).distinct()
    reach = cells.cell >= windowing.first_tile(shared.large_t, group.longest, hop)
    joined = shared.join(cells, [shared.entity == cells.entity, reach], rname="{name}_right")
    settled_cells = joined.filter(settled(joined, "large"))
    outside = (
        settled_cells.cell < windowing.first_tile(settled_cells.large_t, window, hop)
        for window in bands.lengths_of(group, exact=False)
    )
    banded = settled_cells.mutate(
        low=bands.count_true(outside) + exact, high=ibis.literal(len(bands.lengths_of(group)), "int64")
    )
    frame = Frame(minute_of(banded.large_t * hop), banded["last"] - banded.cell, hop)
    return _per_spine_row(spine, bands.spread_to_windows(group, bands.merged(group, banded, frame, key), key), key)


def _from_small(engine: Engine, group: Group, spine: Table, cells: Table) -> Table:
    """Merge the small cells that are settled and in no large one that is, or that an exact window needs."""
    hop, exact = hop_micros(group), bands.lengths_of(group, exact=True)
    length = hop // CELLS_PER_HOP
    back = micros_of(exact[-1]) // hop + 1 if exact else 0
    key = [ENTITY, "large_t", "large_known", "large_until", "small_t", "small_known", "small_until", "last"]
    shared = engine.materialise("shared_cells", spine.select(*key).distinct())
    enclosing = {f"in_{name}": (cells[name] // CELLS_PER_HOP).cast("int64") for name in CELL}
    inner = cells.mutate(**enclosing).rename(cell_entity=ENTITY)
    near = _at_cells(shared, shared.large_t, range(back + 1))
    recent = near.join(inner, [near.entity == inner.cell_entity, near.place == inner.in_cell]).drop("place")
    old = inner.in_cell < shared.large_t - back
    became_known = shared.join(inner, [shared.entity == inner.cell_entity, shared.large_known == inner.in_known, old])
    ceased = shared.join(
        inner,
        [
            shared.entity == inner.cell_entity,
            shared.large_known == inner.in_until,
            inner.in_known < shared.large_known,
            old,
        ],
    )
    joined = recent.union(became_known.select(recent.columns)).union(ceased.select(recent.columns))
    settled_cells = joined.filter(settled(joined, "small"))
    outside = [settled_cells.cell < settled_cells.small_t + 1 - micros_of(window) // length for window in exact]
    outside += [
        settled_cells.in_cell < windowing.first_tile(settled_cells.large_t, window, hop)
        for window in bands.lengths_of(group, exact=False)
    ]
    in_large = settled(settled_cells, "large", "in_cell", "in_known", "in_until")
    banded = settled_cells.mutate(
        low=bands.count_true(outside), high=ibis.ifelse(in_large, len(exact), len(outside)).cast("int64")
    )
    counted = banded.filter(banded.low < banded.high)
    frame = Frame(minute_of(counted.large_t * hop), counted["last"] - counted.in_cell, hop)
    return _per_spine_row(spine, bands.spread_to_windows(group, bands.merged(group, counted, frame, key), key), key)


def _from_facts(group: Group, spine: Table, facts: Table) -> Table:
    """Prepare the facts that no settled cell holds: around the moment itself, and at the tails of exact windows."""
    length, exact = hop_micros(group) // CELLS_PER_HOP, bands.lengths_of(group, exact=True)
    edges = {0}
    for window in exact:
        edges |= {micros_of(window) // length, -(-micros_of(window) // length)}
    keyed = facts.rename(fact_entity=ENTITY)
    near = _at_cells(spine, spine.small_t, sorted(edges))
    recent = near.join(keyed, [near.entity == keyed.fact_entity, near.place == keyed.cell]).drop("place")
    old = ~(spine.small_t - keyed.cell).isin(sorted(edges))
    became_known = spine.join(keyed, [spine.entity == keyed.fact_entity, spine.small_known == keyed.known, old])
    ceased = spine.join(
        keyed,
        [spine.entity == keyed.fact_entity, spine.small_known == keyed.until, keyed.known != spine.small_known, old],
    )
    joined = recent.union(became_known.select(recent.columns)).union(ceased.select(recent.columns))
    counted = joined.filter(*bands.visible(joined, joined))
    lengths = bands.lengths_of(group)
    # An exact window takes the whole small cells between its own tail and the moment; a longer one all that are.
    tail = bands.count_true(counted.cell < counted.small_t + 1 - micros_of(window) // length for window in exact)
    banded = counted.mutate(
        low=bands.count_true(~bands.inside(group, counted, window) for window in lengths),
        high=ibis.ifelse(settled(counted, "small"), tail, len(lengths)).cast("int64"),
    )
    return bands.spread_to_windows(group, bands.prepared(group, banded.filter(banded.low < banded.high)), [POSITION])


def _at_cells(spine: Table, cell: IntegerValue, back: Iterable[int]) -> Table:
    """Return each spine row once for each cell that lies ``back`` before its own: ``place``."""
    repeated = spine.mutate(own=cell, edge=ibis.literal([*back], type="array<int64>").unnest())
    return repeated.mutate(place=repeated.own - repeated.edge).drop("own", "edge")


def _per_spine_row(spine: Table, states: Table, key: list[str]) -> Table:
    """Return the states that spine rows share, a row for each of them."""
    named = [name for name in states.columns if name not in key]
    return spine.join(states, key, rname="{name}_right").select(POSITION, *named)
