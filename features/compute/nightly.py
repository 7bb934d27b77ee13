"""The nightly compiler: a feature group as Ibis queries over tiles, the same on DuckDB and Spark (rules T5 to T7).

An aggregate is prepared per entity and hop (a tile), merged over the tiles of a window, and finalised into a value;
``algebra.py`` says how. Windows above a day start on a hop; shorter ones are exact, and at a cutoff they need nothing
but the facts that became known that very day. ``historical.py`` computes the same at any moment.
"""

from collections.abc import Iterator

import ibis
from ibis import _
from ibis.expr.types import Table, Value

from features.compute import algebra, windowing
from features.compute.algebra import Frame
from features.compute.as_known import day_of, within
from features.compute.group_facts import ENTITY, NIGHT_NUMBER, TILE
from features.compute.outputs import finished
from features.compute.windowing import DAY_MICROS, hop_micros, hops, windows
from features.declare.group import Group
from features.declare.measure import DAY
from infra.clock import Nights
from rapport_feast.times import day_number

NEVER = 10_000_000


def by_night(rows: Table) -> Table:
    """Return the rows of ``prepare`` that stood at some cutoff, with ``from_night`` <= night < ``until_night``."""
    dated = rows.mutate(from_night=day_of(rows.known_from), until_night=day_of(rows.known_until))
    return dated.filter(_.from_night < _.until_night)


def touched(group: Group, rows: Table, nights: Nights) -> Table:
    """Return the tiles, by night, of which a fact became known, or was revised, withdrawn or linked.

    A tile that lies before the longest window of its night changes no value any more, so nothing has to be read for it.
    """
    hop, reach = hop_micros(group), max(group.longest, DAY)
    became_known = rows.select(ENTITY, TILE, night_number=rows.from_night)
    ceased = rows.select(ENTITY, TILE, night_number=rows.until_night)
    both = became_known.union(ceased).filter(lambda t: within(t.night_number, nights)).distinct()
    return both.filter(_.tile >= windowing.first_tile((_.night_number + 1) * (DAY_MICROS // hop) - 1, reach, hop))


def tiles(group: Group, rows: Table, nights: Nights) -> Table:
    """Return the versions of tiles that some nights own; an emptied tile too, or an older version would still be read.

    Parameters
    ----------
    rows
        From ``by_night``; of every touched tile all of them.

    Returns
    -------
    ibis.Table
        ``entity``, ``tile`` (number of the hop), ``night_number``, ``rows`` and the states.
    """
    changed = touched(group, rows, nights)
    rows_of_tiles = changed.join(
        rows,
        [
            changed.entity == rows.entity,
            changed.tile == rows.tile,
            rows.from_night <= changed.night_number,
            changed.night_number < rows.until_night,
        ],
        how="left",
        rname="{name}_right",
    )
    frame = Frame(windowing.minute_of(rows_of_tiles.tile * hop_micros(group)))
    states: dict[str, Value] = {}
    for measure in group.measures:
        states |= algebra.prepare(measure, rows_of_tiles, frame, measure.name)
    return rows_of_tiles.group_by([ENTITY, TILE, NIGHT_NUMBER]).agg(rows=rows_of_tiles.event_us.count(), **states)


def active(group: Group, versions: Table, nights: Nights) -> Table:
    """Return one row per night and tile that the night reads: the newest version by then, inside the longest window.

    A tile that left the window tonight, or was emptied tonight, comes too: its entity still gets a row (rule T7).

    Parameters
    ----------
    versions
        Tiles of this and all earlier nights.
    """
    a_day, longest = DAY_MICROS // hop_micros(group), _span(group)
    by_tile = ibis.window(group_by=[ENTITY, TILE], order_by=NIGHT_NUMBER)
    spans = versions.mutate(
        until=ibis.coalesce(_.night_number.lead().over(by_tile), NEVER) - 1,
        before=ibis.coalesce(_.rows.lag().over(by_tile), 0),
        # The night after the last one at whose cutoff the tile lies inside the longest window.
        leaves=((_.tile + 1 + longest) // a_day).cast("int64"),
    )
    first = ibis.greatest(spans.night_number, (spans.tile // a_day).cast("int64"), day_number(nights.first))
    leaving = ibis.least(spans.until, spans.leaves, day_number(nights.last))
    emptied = ibis.least(leaving, spans.night_number)
    shown = spans.mutate(first=first, last=ibis.ifelse(spans.rows > 0, leaving, emptied))
    # What came so late that it was never inside the window did not leave it either.
    stood = (_.rows > 0) & (_.night_number < _.leaves)
    shown = shown.filter(stood | (_.before > 0), _.first <= _.last)
    return shown.drop("until", "before", "leaves", NIGHT_NUMBER).mutate(
        night_number=ibis.range(shown.first, shown.last + 1).unnest()
    ).drop("first", "last")  # fmt: skip


def _span(group: Group) -> int:
    return group.longest // DAY * (DAY_MICROS // hop_micros(group))


def values(group: Group, tiles_by_night: Table, rows: Table, nights: Nights) -> Table:
    """Return the group's table: a row per entity and night, finalised.

    Parameters
    ----------
    tiles_by_night
        The result of ``active``.
    rows
        The result of ``by_night``, for the exact windows.
    """
    today = rows.filter(rows.from_night == day_of(rows.event_us))
    if hops(group.longest):
        t = tiles_by_night.mutate(origin=windowing.minute_of(tiles_by_night.tile * hop_micros(group)))
        merged = t.group_by([ENTITY, NIGHT_NUMBER]).agg(**dict(_merged(group, t)))
    else:
        merged = _present(group, today, nights)
    tonight = today.filter(within(today.from_night, nights))
    if exact := dict(_exact(group, tonight)):
        found = tonight.group_by([ENTITY, tonight.from_night.name(NIGHT_NUMBER)]).agg(**exact)
        joined = merged.left_join(found, [ENTITY, NIGHT_NUMBER], rname="{name}_right")
        merged = joined.select(*merged.columns, *exact)
    return finished(group, merged, (merged.night_number + 1) * DAY_MICROS - 1, [NIGHT_NUMBER])


def _merged(group: Group, t: Table) -> Iterator[tuple[str, Value]]:
    """Merge tiles over the windows that move in hops."""
    hop = hop_micros(group)
    last = (t.night_number + 1) * (DAY_MICROS // hop) - 1
    frame = Frame(windowing.minute_of(last * hop), last - t.tile, hop)
    for measure, name, window in windows(group):
        if hops(window):
            inside = t.tile >= windowing.first_tile(last, window, hop)
            yield from algebra.merge(measure, t, name, frame, inside).items()


def _present(group: Group, today: Table, nights: Nights) -> Table:
    """Return who has a row where no window moves in hops: who had a fact in the longest at this cutoff or the last."""
    start = (today.from_night + 1) * DAY_MICROS - 1 - windowing.micros_of(group.longest)
    inside = today.filter(today.event_us > start)
    stands = inside.select(ENTITY, night_number=inside.from_night)
    left = inside.select(ENTITY, night_number=inside.from_night + 1)
    return stands.union(left).filter(lambda t: within(t.night_number, nights)).distinct()


def _exact(group: Group, rows: Table) -> Iterator[tuple[str, Value]]:
    """Prepare the windows up to a day straight from the facts: ``(t - w, t]`` to the microsecond."""
    cutoff_us = (rows.from_night + 1) * DAY_MICROS - 1
    frame = Frame(windowing.minute_of(cutoff_us))
    for measure, name, window in windows(group):
        if not hops(window):
            inside = rows.event_us > cutoff_us - windowing.micros_of(window)
            yield from algebra.prepare(measure, rows, frame, name, inside).items()
