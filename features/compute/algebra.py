"""The algebra of aggregates: prepare, merge, finalise, the same for nights, training sets and the stream (rule V2).

Facts are *prepared* into a state (of a tile, or of whatever one groups by), states are *merged*, and the merged state
of a window is *finalised* into a value. Everything inside is an integer or a text, so that order never counts (rule
V4); floats appear in the final division only.

=============  ==================================================  =====================================
kind           state                                               merged
=============  ==================================================  =====================================
count, rate    ``n`` rows                                          sum
share          ``n`` rows, ``y`` of them that meet the condition   sums
sum, mean      ``s`` sum and ``n`` number of values                sums
min, max       ``v``                                               least, greatest
first, last    ``v``, stamped with time and event id               least, greatest
distinct       ``v``, the sorted list of different values          union
since, age     ``v``, time of the last or first row                greatest, least
slope          ``n``, ``sx``, ``sy``, ``sxy``, ``sxx``             sums, x moved to the window's frame
decayed        ``s`` and ``n``                                     sums, weighted by the age in hops
=============  ==================================================  =====================================
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import ibis
from ibis.expr.types import BooleanValue, IntegerValue, Table, Value

from features.compute.expressions import condition, constant, operand, typed_literal
from features.compute.ordering import stamped, unstamped
from features.compute.windowing import SECOND_MICROS, minute_of
from features.declare.feature import Feature
from features.declare.measure import DAY, Kind, Measure
from infra.clock import parse_duration

DAY_MINUTES = 1440.0


# Weights of a decay are whole numbers too: 2^-(age / half-life) in units of 2^-30.
WEIGHT_BITS = 30
WIDE = "decimal(38, 0)"
States = dict[str, Value]
LEAST: frozenset[Kind] = frozenset({"min", "first", "age"})


@dataclass(frozen=True)
class Frame:
    """Where a state stands in time.

    Attributes
    ----------
    origin
        Whole minutes since the epoch at which the x of a slope begins.
    age
        Hops from the tile of the rows to that of t, by which a decay weighs them; none in a tile, where all weigh one.
    hop
        Length of those hops in microseconds.
    """

    origin: IntegerValue
    age: IntegerValue | None = None
    hop: int = 0


def prepare(measure: Measure, rows: Table, frame: Frame, name: str, also: BooleanValue | None = None) -> States:
    """Return the state of a measure as aggregates over rows.

    Parameters
    ----------
    rows
        Facts with ``event_us`` and ``order_key``; none of both in the place of a fact where a left join found none.
    frame
        In which the state is said.
    name
        Beginning of the names of its columns.
    also
        A condition beside those of the measure.
    """
    where = rows.event_us.notnull() if also is None else rows.event_us.notnull() & also
    if measure.where is not None:
        where = where & condition(rows, measure.where)
    if measure.kind in {"count", "rate"}:
        return {f"{name}__n": _number(where)}
    if measure.kind in {"since", "age"}:
        return {f"{name}__v": _extreme(measure, rows.event_us, where)}
    value = operand(rows, measure.of)
    given = where & value.notnull()
    match measure.kind:
        case "share":
            return {f"{name}__n": _number(given), f"{name}__y": _number(given & value)}
        case "min" | "max":
            return {f"{name}__v": _extreme(measure, _whole(measure, value), given)}
        case "first" | "last":
            return {f"{name}__v": _extreme(measure, stamped(rows.order_key, value.cast("string")), given)}
        case "distinct":
            items = value.cast("string").collect(where=given, distinct=True)
            # An empty list where there is no value: DuckDB alone would say null.
            return {f"{name}__v": ibis.coalesce(items, ibis.literal([], type="array<string>")).sort()}
        case "slope":
            return _line(name, _minutes(rows, frame), _whole(measure, value), given)
        case _:
            return _total(name, measure, _whole(measure, value), given, frame)


def _whole(measure: Measure, value: Value) -> IntegerValue:
    """Return a number as the whole number that is added and compared: rounded half up where it is scaled."""
    return (
        value.cast("int64")
        if measure.scale == 1
        else (value.cast("float64") * measure.scale + 0.5).floor().cast("int64")
    )


def _number(where: BooleanValue) -> IntegerValue:
    return where.sum().fill_null(0).cast("int64")


def _sum(value: IntegerValue, where: BooleanValue | None = None, dtype: str = "int64") -> Value:
    return value.sum(where=where).fill_null(0).cast(dtype)


def _extreme(measure: Measure, value: Value, where: BooleanValue | None) -> Value:
    return value.min(where=where) if measure.kind in LEAST else value.max(where=where)


def _minutes(rows: Table, frame: Frame) -> IntegerValue:
    """Return x of a slope: whole minutes of the fact, counted from the frame's origin."""
    return minute_of(rows.event_us) - frame.origin


def _line(name: str, x: IntegerValue, y: IntegerValue, where: BooleanValue) -> States:
    wide_x, wide_y = x.cast(WIDE), y.cast(WIDE)
    return {
        f"{name}__n": _number(where),
        f"{name}__sx": _sum(x, where),
        f"{name}__sy": _sum(y, where),
        f"{name}__sxy": _sum(wide_x * wide_y, where, WIDE),
        f"{name}__sxx": _sum(wide_x * wide_x, where, WIDE),
    }


def _total(name: str, measure: Measure, value: IntegerValue, where: BooleanValue, frame: Frame) -> States:
    if measure.kind != "decayed":
        return {f"{name}__s": _sum(value, where), f"{name}__n": _number(where)}
    if frame.age is None:
        return {f"{name}__s": _sum(value, where, WIDE), f"{name}__n": _number(where)}
    weight = _weight(measure, frame.age, frame.hop)
    return {f"{name}__s": _sum(weight * value.cast(WIDE), where, WIDE), f"{name}__n": _sum(weight, where, WIDE)}


def merge(measure: Measure, tiles: Table, name: str, frame: Frame, inside: BooleanValue | None = None) -> States:
    """Return the state over tiles, in the frame of a window, as aggregates.

    Parameters
    ----------
    tiles
        One row per tile, with the ``origin`` of its frame and its state under the measure's name.
    name
        Beginning of the names of the new state.
    frame
        That of the window, with the age of each tile.
    inside
        Which tiles lie in the window; all of them where there is none.
    """
    placed = _placed(measure, tiles, measure.name, frame)
    return {f"{name}__{suffix}": _combined(measure, suffix, value, inside) for suffix, value in placed.items()}


def combine(measure: Measure, states: Table, part: str, name: str, inside: BooleanValue | None = None) -> States:
    """Return the union of states of one frame as aggregates; from the names that begin with ``part``."""
    return {
        f"{name}__{suffix}": _combined(measure, suffix, states[f"{part}__{suffix}"], inside)
        for suffix in parts(measure)
    }


def parts(measure: Measure) -> tuple[str, ...]:
    """Return the parts of which a measure's state consists."""
    match measure.kind:
        case "count" | "rate":
            return ("n",)
        case "share":
            return ("n", "y")
        case "sum" | "mean" | "decayed":
            return ("s", "n")
        case "slope":
            return ("n", "sx", "sy", "sxy", "sxx")
        case _:
            return ("v",)


def state_type(measure: Measure, part: str) -> str:
    """Return the Ibis type of a part of a window's state."""
    if measure.kind == "distinct":
        return "array<string>"
    if measure.kind in {"first", "last"}:
        return "string"
    return WIDE if part in {"sxy", "sxx"} or measure.kind == "decayed" else "int64"


def _placed(measure: Measure, tiles: Table, part: str, frame: Frame) -> States:
    """Return the state of a tile in the frame of a window."""
    state = {suffix: tiles[f"{part}__{suffix}"] for suffix in parts(measure)}
    if measure.kind == "decayed" and frame.age is not None:
        weight = _weight(measure, frame.age, frame.hop)
        return {suffix: (weight * value.cast(WIDE)).cast(WIDE) for suffix, value in state.items()}
    if measure.kind != "slope":
        return state
    # The origin moves: every x becomes x + o.
    o = (tiles.origin - frame.origin).cast(WIDE)
    n, sx, sy = (state[suffix].cast(WIDE) for suffix in ("n", "sx", "sy"))
    return state | {
        "sx": (sx + o * n).cast("int64"),
        "sxy": (state["sxy"] + o * sy).cast(WIDE),
        "sxx": (state["sxx"] + o * sx + o * sx + o * o * n).cast(WIDE),
    }


def _combined(measure: Measure, suffix: str, value: Value, inside: BooleanValue | None) -> Value:
    if measure.kind == "distinct":
        union = value.collect(where=inside).flatten().unique()
        return ibis.coalesce(union, ibis.literal([], type="array<string>")).sort()
    return _extreme(measure, value, inside) if suffix == "v" else _sum(value, inside, state_type(measure, suffix))


def _weight(measure: Measure, age: IntegerValue, hop: int) -> Value:
    """Return the weight of a hop of some age, a whole number."""
    half_life = parse_duration(measure.half_life) // timedelta(microseconds=hop)
    oldest = max(parse_duration(window) for window in measure.windows) // timedelta(microseconds=hop)
    table = [round(2**WEIGHT_BITS * 2 ** (-old / half_life)) for old in range(oldest + 1)]
    place = ibis.greatest(ibis.least(age, oldest), 0).cast("int32")
    return ibis.literal(table, type="array<int64>")[place].cast(WIDE)


def finalise(
    measure: Measure, state: Mapping[str, Value], window: timedelta, t_us: IntegerValue, feature: Feature
) -> Value:
    """Return a value from the state of its window.

    Parameters
    ----------
    state
        Part = column.
    window
        Length of the window.
    t_us
        The moment asked about, in microseconds.
    feature
        Whose type the value has.
    """
    value = _final(measure, state, window, t_us).cast(feature.dtype)
    empty = measure.empty_value
    if empty is None:
        return value
    # Over the facts of one minute a slope has no value, yet it is not empty.
    nothing = state["n"].fill_null(0) == 0 if measure.kind == "slope" else value.isnull()
    return ibis.ifelse(nothing, typed_literal(empty, feature), value)


def _final(measure: Measure, state: Mapping[str, Value], window: timedelta, t_us: IntegerValue) -> Value:
    match measure.kind:
        case "count":
            return state["n"].nullif(0)
        case "distinct":
            return state["v"].length().nullif(0)
        case "rate":
            return _double(state["n"].nullif(0)) / constant(window / DAY)
        case "share":
            return _double(state["y"]) / _double(state["n"].nullif(0))
        case "sum":
            return _unscaled(measure, ibis.ifelse(state["n"] > 0, state["s"], ibis.null("int64")))
        case "mean" | "decayed":
            return _unscaled(measure, _double(state["s"]) / _double(state["n"].nullif(0)))
        case "min" | "max":
            return _unscaled(measure, state["v"])
        case "since" | "age":
            return (t_us - state["v"]) // SECOND_MICROS
        case "slope":
            n, sx, sy = (state[suffix].cast(WIDE) for suffix in ("n", "sx", "sy"))
            over = (n * state["sxy"]).cast(WIDE) - (sx * sy).cast(WIDE)
            under = (n * state["sxx"]).cast(WIDE) - (sx * sx).cast(WIDE)
            return _unscaled(measure, _double(over) / _double(under.cast(WIDE).nullif(0)) * DAY_MINUTES)
        case _:
            return unstamped(state["v"])


def _double(value: Value) -> Value:
    """Return a whole number as the nearest double; through its text, because engines round 128 bits differently."""
    wide = not value.type().is_integer()
    return value.cast("string").cast("float64") if wide else value.cast("float64")


def _unscaled(measure: Measure, value: Value) -> Value:
    return value if measure.scale == 1 else value.cast("float64") / float(measure.scale)
