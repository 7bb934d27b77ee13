"""The nightly compiler: a feature group as Ibis queries over tiles, the same on DuckDB and Spark (rules T5 to T7).

An aggregate is prepared per entity and hop (a tile), merged over the tiles of a window, and finalised into a value;
``algebra.py`` says how. Windows above a day start on a hop; shorter ones are exact, and at a cutoff they need nothing
but the facts that became known that very day. ``live.py`` asks the same of any moment.
"""

from collections.abc import Iterator

import ibis
import pyarrow as pa
from ibis import _
from ibis.expr.types import IntegerValue, Table, Value

from features import algebra
from features.algebra import Frame, hop_micros, hops, order_key, tile_of, windows
from features.facts import DAY_MICROS, day_of, entities, within
from features.spec import DAY, Group
from infra.clock import Nights, day_number
from infra.company import Company
from infra.engine import Cut, uncut

ENTITY, TILE, NIGHT_NUMBER = "entity", "tile", "night_number"
NEVER = 10_000_000
ARROW = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def prepare(group: Group, company: Company, known: Table, links: Table | None = None, cut: Cut = uncut) -> Table:
    """Return the rows of a group's fact that count, with their entity, tile and key of order.

    Parameters
    ----------
    known, links
        The fact and identity links, from ``features.facts.versions``.
    cut
        How an engine computes a table before what follows is planned.
    """
    rows = entities(company, group.entity, group.fact, known, links, cut)
    if group.where is not None:
        rows = rows.filter(algebra.condition(rows, group.where))
    return rows.mutate(
        tile=tile_of(rows.event_us, hop_micros(group)), order_key=order_key(rows.event_us, rows.event_id)
    )


def by_night(rows: Table) -> Table:
    """Return the rows of ``prepare`` that stood at some cutoff, with ``from_night`` <= night < ``until_night``."""
    dated = rows.mutate(from_night=day_of(rows.known_from), until_night=day_of(rows.known_until))
    return dated.filter(_.from_night < _.until_night)


def touched(group: Group, rows: Table, nights: Nights) -> Table:
    """Return the tiles, by night, of which a fact became known, was revised, went, or came to be somebody else's.

    A tile that lies before the longest window of its night changes no value any more, so nobody has to read for it.
    """
    hop, reach = hop_micros(group), max(group.longest, DAY)
    came = rows.select(ENTITY, TILE, night_number=rows.from_night)
    went = rows.select(ENTITY, TILE, night_number=rows.until_night)
    both = came.union(went).filter(lambda t: within(t.night_number, nights)).distinct()
    return both.filter(_.tile >= algebra.first_tile((_.night_number + 1) * (DAY_MICROS // hop) - 1, reach, hop))


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
    standing = changed.join(
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
    frame = Frame(algebra.minute_of(standing.tile * hop_micros(group)))
    states: dict[str, Value] = {}
    for measure in group.measures:
        states |= algebra.prepare(measure, standing, frame, measure.name)
    return standing.group_by([ENTITY, TILE, NIGHT_NUMBER]).agg(rows=standing.event_us.count(), **states)


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
        t = tiles_by_night.mutate(origin=algebra.minute_of(tiles_by_night.tile * hop_micros(group)))
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
    frame = Frame(algebra.minute_of(last * hop), last - t.tile, hop)
    for measure, name, window in windows(group):
        if hops(window):
            inside = t.tile >= algebra.first_tile(last, window, hop)
            yield from algebra.merge(measure, t, name, frame, inside).items()


def _present(group: Group, today: Table, nights: Nights) -> Table:
    """Return who has a row where no window moves in hops: who had a fact in the longest at this cutoff or the last."""
    start = (today.from_night + 1) * DAY_MICROS - 1 - algebra.micros_of(group.longest)
    inside = today.filter(today.event_us > start)
    stands = inside.select(ENTITY, night_number=inside.from_night)
    left = inside.select(ENTITY, night_number=inside.from_night + 1)
    return stands.union(left).filter(lambda t: within(t.night_number, nights)).distinct()


def _exact(group: Group, rows: Table) -> Iterator[tuple[str, Value]]:
    """Prepare the windows up to a day straight from the facts: ``(t - w, t]`` to the microsecond."""
    cutoff_us = (rows.from_night + 1) * DAY_MICROS - 1
    frame = Frame(algebra.minute_of(cutoff_us))
    for measure, name, window in windows(group):
        if not hops(window):
            inside = rows.event_us > cutoff_us - algebra.micros_of(window)
            yield from algebra.prepare(measure, rows, frame, name, inside).items()


def finished(group: Group, states: Table, t_us: IntegerValue, kept: list[str]) -> Table:
    """Return the features of a group from the states of its windows.

    Parameters
    ----------
    states
        One row per entity and moment, with the states of all windows; none where nothing was found.
    t_us
        The moment of each row in microseconds.
    kept
        Columns to keep beside the entity's key.
    """
    features = {feature.name: feature for feature in group.outputs}
    found: dict[str, Value] = {}
    for measure, name, window in windows(group):
        feature = features[group.feature_name(measure, name.rpartition("__")[2])]
        state = {part: states[f"{name}__{part}"] for part in algebra.parts(measure)}
        found[feature.name] = algebra.finalise(measure, state, window, t_us, feature)
    whole = found | algebra.derive(group, found)
    ordered = {feature.name: whole[feature.name] for feature in group.outputs}
    return states.select(**{group.entity.key: states.entity}, **{name: states[name] for name in kept}, **ordered)


def schema_of(group: Group) -> pa.Schema:
    """Return the Arrow schema of the group's table in the lake."""
    stamp = pa.timestamp("us", "UTC")
    columns = [(group.entity.key, pa.string()), ("event_time", stamp), ("known_at", stamp)]
    features = [(feature.name, ARROW[feature.dtype]) for feature in group.outputs]
    return pa.schema([*columns, *features, ("night", pa.date32())])
