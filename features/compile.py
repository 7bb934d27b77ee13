"""The compiler: a feature group as Ibis queries, the same on DuckDB and Spark (rules T5 to T7, V2 to V4).

An aggregate is prepared per entity and day (a tile), merged over the tiles of a window, and finalised into a value.
Everything inside is an integer; floats appear in the final division only. Windows above a day start on a whole day;
shorter ones are exact, and at a cutoff they need nothing but the facts that became known that very day.

Prepared states, per measure:

=========  ======================================  ==========================
kind       state in the tile                       merged over tiles
=========  ======================================  ==========================
count      number of rows                          sum
sum        sum, 0 where there is none              sum
mean       sum and number of values                sums, divided at the end
min, max   least, greatest                         least, greatest
last       value with its key (time, event id)     value of the greatest key
distinct   sorted list of values                   number of different values
since      time of the last row                    greatest
=========  ======================================  ==========================
"""

import operator as op
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import ibis
import pyarrow as pa
from ibis import _
from ibis.expr.types import BooleanValue, Table, Value

from features.facts import DAY_MICROS, FOREVER, day_of, key_column, resolve, tile_of, within
from features.spec import DAY, Col, Expression, Group, Measure, Operand, Ratio
from infra.clock import Nights, day_number
from infra.company import Company, duration

ENTITY, TILE, NIGHT_NUMBER = "entity", "tile", "night_number"
SECOND_MICROS = 1_000_000
TILE_DIGITS = 6
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": op.eq,
    "!=": op.ne,
    "<": op.lt,
    "<=": op.le,
    ">": op.gt,
    ">=": op.ge,
}
ARROW = {"int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}


def prepare(group: Group, company: Company, known: Table) -> Table:
    """Return the group's rows of a fact, with their entity and tile.

    Parameters
    ----------
    known
        Rows of ``features.facts.versions``.
    """
    local = known[key_column(group.entity, group.fact)]
    rows = known.mutate(entity=resolve(company, known.id_space, local), tile=tile_of(known.event_us))
    rows = rows.filter(rows.entity.notnull())
    if group.where is not None:
        rows = rows.filter(condition(rows, group.where))
    # Times of equal length sort as text, so one key serves every engine.
    return rows.mutate(order_key=rows.event_us.cast("string").lpad(20, "0") + "|" + rows.event_id)


def tiles(group: Group, rows: Table, nights: Nights) -> Table:
    """Return the versions of day tiles that some nights own.

    A tile is written anew on each night on which a fact of its day became known, was revised or went; an emptied
    tile is written too, or an older version would still be read.

    Returns
    -------
    ibis.Table
        ``entity``, ``tile`` (day number), ``night_number``, ``rows`` and the states.
    """
    came = rows.select(ENTITY, TILE, night_number=rows.known_from)
    went = rows.select(ENTITY, TILE, night_number=rows.known_until)
    touched = came.union(went).filter(lambda t: within(t.night_number, nights)).distinct()
    standing = touched.join(
        rows,
        [
            touched.entity == rows.entity,
            touched.tile == rows.tile,
            rows.known_from <= touched.night_number,
            touched.night_number < rows.known_until,
        ],
        how="left",
        rname="{name}_right",
    )
    return standing.group_by([ENTITY, TILE, NIGHT_NUMBER]).agg(
        rows=standing.event_us.count(), **states(group, standing)
    )


def states(group: Group, rows: Table) -> dict[str, Value]:
    """Return the prepared state of every measure, by column name."""
    found: dict[str, Value] = {}
    for measure in group.measures:
        found |= _state(measure, rows)
    return found


def _state(measure: Measure, rows: Table, also: BooleanValue | None = None) -> dict[str, Value]:
    """Return the state of one measure over the rows that count; ``also`` narrows them further."""
    there = rows.event_us.notnull()
    where = there if measure.where is None else there & condition(rows, measure.where)
    where = where if also is None else where & also
    name = measure.name
    if measure.kind == "count":
        return {f"{name}__n": where.sum().fill_null(0).cast("int64")}
    if measure.kind == "since":
        return {f"{name}__at": rows.event_us.max(where=where)}
    value = operand(rows, measure.of)
    given = where & value.notnull()
    if measure.kind in {"sum", "mean"}:
        total = {f"{name}__sum": value.cast("int64").sum(where=given).fill_null(0).cast("int64")}
        return total | ({f"{name}__n": given.sum().fill_null(0).cast("int64")} if measure.kind == "mean" else {})
    if measure.kind in {"min", "max"}:
        return {f"{name}__{measure.kind}": getattr(value, measure.kind)(where=given).cast("int64")}
    if measure.kind == "distinct":
        # An empty list where there is no value: DuckDB alone would say null.
        items = value.cast("string").collect(where=given, distinct=True)
        return {f"{name}__set": ibis.coalesce(items, ibis.literal([], type="array<string>")).sort()}
    return {
        f"{name}__value": value.argmax(rows.order_key, where=given),
        f"{name}__key": rows.order_key.max(where=given),
    }


def active(group: Group, versions: Table, nights: Nights) -> Table:
    """Return one row per night and tile that the night reads: the newest version by then, inside the longest window.

    A tile that left the window tonight, or was emptied tonight, comes too: its entity still gets a row (rule T7).

    Parameters
    ----------
    versions
        Tiles of this and all earlier nights.
    """
    span = group.longest // DAY
    by_tile = ibis.window(group_by=[ENTITY, TILE], order_by=NIGHT_NUMBER)
    spans = versions.mutate(
        until=ibis.coalesce(_.night_number.lead().over(by_tile), FOREVER) - 1,
        before=ibis.coalesce(_.rows.lag().over(by_tile), 0),
    )
    first = ibis.greatest(spans.night_number, spans.tile, day_number(nights.first))
    leaving = ibis.least(spans.until, spans.tile + span + 1, day_number(nights.last))
    emptied = ibis.least(leaving, spans.night_number)
    shown = spans.mutate(first=first, last=ibis.ifelse(spans.rows > 0, leaving, emptied))
    # What came so late that it was never inside the window did not leave it either.
    stood = (_.rows > 0) & (_.night_number <= _.tile + span)
    shown = shown.filter(stood | (_.before > 0), _.first <= _.last)
    return shown.drop("until", "before", NIGHT_NUMBER).mutate(
        night_number=ibis.range(shown.first, shown.last + 1).unnest()
    ).drop("first", "last")  # fmt: skip


def values(group: Group, tiles_by_night: Table, rows: Table, nights: Nights) -> Table:
    """Return the group's table: a row per entity and night, finalised.

    Parameters
    ----------
    tiles_by_night
        The result of ``active``.
    rows
        The result of ``prepare``, for the exact windows.
    """
    t = tiles_by_night
    merged = t.group_by([ENTITY, NIGHT_NUMBER]).agg(**dict(_hopping(group, t)))
    for name, distinct in _distincts(group, t):
        merged = _beside(merged, distinct, name)
    today = rows.filter(within(rows.known_from, nights), rows.known_from == day_of(rows.event_us))
    if exact := dict(_exact(group, today)):
        by_night = today.group_by([ENTITY, today.known_from.name(NIGHT_NUMBER)]).agg(**exact)
        merged = _beside(merged, by_night, *exact)
    return _finalise(group, merged)


def _windows(group: Group, *, exact: bool) -> Iterator[tuple[Measure, str, timedelta]]:
    for measure in group.measures:
        for window in measure.windows:
            if (duration(window) <= DAY) == exact:
                yield measure, f"{measure.name}__{window}", duration(window)


def _hopping(group: Group, t: Table) -> Iterator[tuple[str, Value]]:
    """Merge tiles over the windows that move in day hops: from ``t - w``, rounded down to a day (rule V3)."""
    for measure, name, window in _windows(group, exact=False):
        inside = t.tile >= t.night_number - window // DAY
        if measure.kind != "distinct":
            yield from _merge(measure, t, name, inside).items()


def _merge(measure: Measure, t: Table, name: str, inside: BooleanValue) -> dict[str, Value]:
    part = measure.name
    match measure.kind:
        case "count":
            return {f"{name}__n": t[f"{part}__n"].sum(where=inside).fill_null(0).cast("int64")}
        case "sum" | "mean":
            total = {f"{name}__sum": t[f"{part}__sum"].sum(where=inside).fill_null(0).cast("int64")}
            count = {f"{name}__n": t[f"{part}__n"].sum(where=inside)} if measure.kind == "mean" else {}
            return total | count
        case "min":
            return {f"{name}__min": t[f"{part}__min"].min(where=inside)}
        case "max":
            return {f"{name}__max": t[f"{part}__max"].max(where=inside)}
        case "since":
            return {f"{name}__at": t[f"{part}__at"].max(where=inside)}
        case _:
            # Keys begin with the time, so the newest tile with a value has the last one. The greatest text is found
            # in one pass, where argmax would sort.
            stamped = t.tile.cast("string").lpad(TILE_DIGITS, "0") + t[f"{part}__value"].cast("string")
            return {f"{name}__value": stamped.max(where=inside).substr(TILE_DIGITS)}


def _distincts(group: Group, t: Table) -> Iterator[tuple[str, Table]]:
    """Merge lists of different values: laid out one value a row, then counted."""
    for measure, name, window in _windows(group, exact=False):
        if measure.kind == "distinct":
            inside = t.filter(t.tile >= t.night_number - window // DAY)
            laid = inside.select(ENTITY, NIGHT_NUMBER, item=inside[f"{measure.name}__set"].unnest())
            yield f"{name}__n", laid.group_by([ENTITY, NIGHT_NUMBER]).agg(**{f"{name}__n": laid.item.nunique()})


def _exact(group: Group, rows: Table) -> Iterator[tuple[str, Value]]:
    """Aggregate the windows up to a day straight from the facts: ``(t - w, t]`` to the microsecond."""
    for measure, name, window in _windows(group, exact=True):
        cutoff_us = (rows.known_from + 1) * DAY_MICROS - 1
        inside = rows.event_us > cutoff_us - window // timedelta(microseconds=1)
        for column, value in _state(measure, rows, inside).items():
            part = column.removeprefix(f"{measure.name}__")
            if measure.kind == "distinct":
                yield f"{name}__n", value.length()
            elif part != "key":
                yield f"{name}__{part}", value


def _beside(left: Table, right: Table, *columns: str) -> Table:
    """Add columns of another table, matched by entity and night; the left rows stay."""
    joined = left.join(right, [ENTITY, NIGHT_NUMBER], how="left", rname="{name}_right")
    return joined.select(*left.columns, *columns)


def _finalise(group: Group, merged: Table) -> Table:
    cutoff_us = (merged.night_number + 1) * DAY_MICROS - 1
    found: dict[str, Value] = {}
    for measure in group.measures:
        for window in measure.windows:
            name = group.feature_name(measure, window)
            found[name] = _value(measure, merged, f"{measure.name}__{window}", cutoff_us)
    ratios = {ratio.name: _ratio(ratio, found) for ratio in group.derived}
    return merged.select(
        **{group.entity.key: merged.entity, NIGHT_NUMBER: merged.night_number}, **found, **ratios
    )  # fmt: skip


def _value(measure: Measure, t: Table, name: str, cutoff_us: Value) -> Value:
    """Finalise one feature; an aggregate over nothing is its declared empty value (rule V6)."""
    match measure.kind:
        case "count" | "distinct":
            return t[f"{name}__n"].fill_null(0).cast("int64")
        case "sum":
            return t[f"{name}__sum"].fill_null(0).cast("int64")
        case "mean":
            count = t[f"{name}__n"].nullif(0)
            return t[f"{name}__sum"].cast("float64") / count.cast("float64")
        case "since":
            return ((cutoff_us - t[f"{name}__at"]) // SECOND_MICROS).cast("int64")
        case "last":
            return t[f"{name}__value"].cast(measure.dtype)
        case _:
            return t[f"{name}__{measure.kind}"].cast("int64")


def _ratio(ratio: Ratio, found: dict[str, Value]) -> Value:
    return found[ratio.over].cast("float64") / found[ratio.under].nullif(0).cast("float64")


def schema_of(group: Group) -> pa.Schema:
    """Return the Arrow schema of the group's table in the lake."""
    stamp = pa.timestamp("us", "UTC")
    columns = [(group.entity.key, pa.string()), ("event_time", stamp), ("known_at", stamp)]
    features = [(feature.name, ARROW[feature.dtype]) for feature in group.outputs]
    return pa.schema([*columns, *features, ("night", pa.date32())])


def condition(rows: Table, expression: Operand | None) -> BooleanValue:
    """Return a row-level condition; where it cannot be told, it does not hold."""
    return operand(rows, expression).fill_null(False)


def operand(rows: Table, part: Operand | None) -> Value:
    """Return a column, a constant or an expression over them as Ibis."""
    if isinstance(part, Col):
        return rows[part.name]
    if isinstance(part, Expression):
        return _operation(part, [operand(rows, inner) for inner in part.operands])
    return ibis.literal(part)


def _operation(expression: Expression, parts: list[Value]) -> Value:
    first, *rest = parts
    match expression.operator:
        case "in":
            return first.isin(rest)
        case "not":
            return ~first
        case "length":
            return first.length().cast("int64")
        case "matches":
            return first.lower().re_search(rest[0])
        case "and":
            return first & rest[0]
        case "or":
            return first | rest[0]
        case _:
            return COMPARISONS[expression.operator](first, rest[0])
