"""Live values as one query over single facts and tiles, compiled once per group."""

from dataclasses import replace

import ibis
from ibis.expr.types import Table, Value

from features.compute import bands, expressions, outputs
from features.compute.algebra import Frame
from features.compute.bands import POSITION
from features.compute.group_facts import ENTITY
from features.compute.windowing import first_tile, hop_micros, hops, micros_of, minute_of, tile_of, windows
from features.declare.group import Group
from features.declare.measure import Measure
from features.declare.terms import Col, col
from features.stream.departures import EVENT_US, KNOWN_US, VALID_US, value_times

ELAPSED = frozenset({"since", "age"})


def evaluated(group: Group, rows: Table) -> dict[str, Value]:
    """Return what the measures of a group take from a fact: evaluated once, when the fact comes."""
    found: dict[str, Value] = {}
    for measure, plain in zip(group.measures, plain_measures(group), strict=True):
        if isinstance(plain.of, Col):
            found[plain.of.name] = expressions.operand(rows, measure.of)
        if isinstance(plain.where, Col):
            found[plain.where.name] = expressions.condition(rows, measure.where)
    return found


def plain_measures(group: Group) -> list[Measure]:
    """Return the measures of a group over the columns of ``evaluated``."""
    return [
        replace(
            measure,
            of=None if measure.of is None else col(f"of__{measure.name}"),
            where=None if measure.where is None else col(f"where__{measure.name}"),
        )
        for measure in group.measures
    ]


def elapsed_states(group: Group) -> dict[str, str]:
    """Return the features that elapse, each with the name of its state: the moment of a fact, finished at read."""
    return {
        group.feature_name(measure, name.rpartition("__")[2]): f"{name}__v"
        for measure, name, _window in windows(group)
        if measure.kind in ELAPSED
    }


def live_values(group: Group, asked: Table, facts: Table, tiles: Table, heads: Table, begun_us: int) -> Table:
    """Return the values of entities at a moment, from single facts and tiles that share none of them.

    Parameters
    ----------
    asked
        ``position``, ``entity``, ``t_us`` and ``known_us``.
    facts
        Rows of ``features.compute.group_facts.prepare``.
    tiles
        ``entity``, ``tile`` and the states of what lies in it.
    heads
        Of ``entity_heads``: the times of what is only in tiles now.
    begun_us
        The moment up to which the heads tell what left.

    Returns
    -------
    ibis.Table
        ``position``, every feature, the states of those that elapse, ``event_us``, ``known_us``, ``valid_until_us``.
    """
    near = _from_facts(group, asked, facts)
    if hops(group.longest):
        near = near.union(_from_tiles(group, asked, tiles).select(near.columns))
    states, moments = bands.spread(group, near, [POSITION]), value_times(group, asked, facts, tiles, heads, begun_us)
    named = [name for name in states.columns if name != POSITION]
    whole = asked.left_join(states, POSITION, rname="{name}_right").select(POSITION, ENTITY, *named)
    timed = whole.join(moments, POSITION, rname="{name}_right")
    kept = [POSITION, EVENT_US, KNOWN_US, VALID_US, *elapsed_states(group).values()]
    return outputs.finished(group, timed, timed[EVENT_US], kept).drop(group.entity.key)


def _from_facts(group: Group, asked: Table, facts: Table) -> Table:
    """Prepare single facts, by question and band."""
    start = asked.t_us - micros_of(group.longest) - (hop_micros(group) if hops(group.longest) else 0)
    joined = asked.join(
        facts, [asked.entity == facts.entity, facts.event_us > start, *bands.seen(asked, facts)], rname="{name}_right"
    )
    lengths = bands.lengths_of(group)
    banded = joined.mutate(low=bands.number_of(~bands.inside(group, joined, window) for window in lengths))
    counted = banded.filter(banded.low < len(lengths)).mutate(high=ibis.literal(len(lengths), "int64"))
    return bands.prepared(group, counted, plain_measures(group))


def _from_tiles(group: Group, asked: Table, tiles: Table) -> Table:
    """Merge tiles, by question and band: an exact window takes none of them."""
    hop, exact, every = hop_micros(group), bands.lengths_of(group, exact=True), bands.lengths_of(group)
    joined = asked.join(tiles, asked.entity == tiles.entity, rname="{name}_right")
    now = bands.whole(joined.t_us, hop)
    outside = (joined.tile < first_tile(now, window, hop) for window in bands.lengths_of(group, exact=False))
    banded = joined.mutate(
        low=bands.number_of(outside) + len(exact),
        high=ibis.literal(len(every), "int64"),
        origin=minute_of(joined.tile * hop),
    )
    counted = banded.filter(banded.low < banded.high)
    frame = Frame(minute_of(bands.whole(counted.t_us, hop) * hop), tile_of(counted.t_us, hop) - counted.tile, hop)
    return bands.merged(group, counted, frame, [POSITION])
