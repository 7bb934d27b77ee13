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


def evaluated_columns(group: Group, rows: Table) -> dict[str, Value]:
    """Return the expressions of a group's measures as columns: evaluated once per fact, not at every step."""
    found: dict[str, Value] = {}
    for measure, plain in zip(group.measures, measures_over_evaluated(group), strict=True):
        if isinstance(plain.of, Col):
            found[plain.of.name] = expressions.operand(rows, measure.of)
        if isinstance(plain.where, Col):
            found[plain.where.name] = expressions.condition(rows, measure.where)
    return found


def measures_over_evaluated(group: Group) -> list[Measure]:
    """Return the measures of a group over the columns of ``evaluated_columns``."""
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


def live_values(group: Group, spine: Table, facts: Table, tiles: Table, heads: Table, start_us: int) -> Table:
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
        Cutoff of the night on which the store began: up to it the heads say what left.

    Returns
    -------
    ibis.Table
        ``position``, every feature, the states of those that elapse, ``event_us``, ``known_us``, ``valid_until_us``.
    """
    near = _from_facts(group, spine, facts)
    if hops(group.longest):
        near = near.union(_from_tiles(group, spine, tiles).select(near.columns))
    states, moments = (
        bands.spread_to_windows(group, near, [POSITION]),
        value_times(group, spine, facts, tiles, heads, start_us),
    )
    named = [name for name in states.columns if name != POSITION]
    with_states = spine.left_join(states, POSITION, rname="{name}_right").select(POSITION, ENTITY, *named)
    timed = with_states.join(moments, POSITION, rname="{name}_right")
    kept = [POSITION, EVENT_US, KNOWN_US, VALID_US, *elapsed_states(group).values()]
    return outputs.finished(group, timed, timed[EVENT_US], kept).drop(group.entity.key)


def _from_facts(group: Group, spine: Table, facts: Table) -> Table:
    """Prepare single facts, by spine row and band."""
    start = spine.t_us - micros_of(group.longest) - (hop_micros(group) if hops(group.longest) else 0)
    joined = spine.join(
        facts,
        [spine.entity == facts.entity, facts.event_us > start, *bands.visible(spine, facts)],
        rname="{name}_right",
    )
    lengths = bands.lengths_of(group)
    banded = joined.mutate(low=bands.count_true(~bands.inside(group, joined, window) for window in lengths))
    counted = banded.filter(banded.low < len(lengths)).mutate(high=ibis.literal(len(lengths), "int64"))
    return bands.prepared(group, counted, measures_over_evaluated(group))


def _from_tiles(group: Group, spine: Table, tiles: Table) -> Table:
    """Merge tiles, by spine row and band: an exact window takes none of them."""
    hop, exact, every = hop_micros(group), bands.lengths_of(group, exact=True), bands.lengths_of(group)
    joined = spine.join(tiles, spine.entity == tiles.entity, rname="{name}_right")
    now = bands.whole_lengths(joined.t_us, hop)
    outside = (joined.tile < first_tile(now, window, hop) for window in bands.lengths_of(group, exact=False))
    banded = joined.mutate(
        low=bands.count_true(outside) + len(exact),
        high=ibis.literal(len(every), "int64"),
        origin=minute_of(joined.tile * hop),
    )
    counted = banded.filter(banded.low < banded.high)
    frame = Frame(
        minute_of(bands.whole_lengths(counted.t_us, hop) * hop), tile_of(counted.t_us, hop) - counted.tile, hop
    )
    return bands.merged(group, counted, frame, [POSITION])
