"""Windows, hops and tiles in microseconds: where a window begins, which tile a moment lies in."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from ibis.expr.types import IntegerValue

from features.declare.group import Group
from features.declare.measure import DAY, Measure
from infra.clock import parse_duration
from rapport_feast.times import day_number

SECOND_MICROS, MINUTE_MICROS = 1_000_000, 60_000_000


def hop_micros(group: Group) -> int:
    """Return the length of a group's hop, which is that of its tiles, in microseconds."""
    return micros_of(parse_duration(group.hop))


def tile_of(micros: IntegerValue, hop: int) -> IntegerValue:
    """Return the tile of a moment: half-open at its start like every window, so a border belongs to the tile before."""
    return ((micros - 1) // hop).cast("int64")


def first_tile(last: IntegerValue, window: timedelta, hop: int) -> IntegerValue:
    """Return the first tile of a window above a day that ends in some tile: its start is rounded down (rule V3)."""
    return last - window // timedelta(microseconds=hop)


def minute_of(micros: IntegerValue) -> IntegerValue:
    """Return a moment as whole minutes since the epoch."""
    return (micros // MINUTE_MICROS).cast("int64")


def windows(group: Group) -> Iterator[tuple[Measure, str, timedelta]]:
    """Yield each measure and window of a group, with the name that its state has."""
    for measure in group.measures:
        for window in measure.windows:
            yield measure, f"{measure.name}__{window}", parse_duration(window)


def hops(window: timedelta) -> bool:
    """Return whether the tail of a window moves in hops; up to a day it is exact (rule V3)."""
    return window > DAY


def micros_of(length: timedelta) -> int:
    """Return a length of time in microseconds."""
    return length // timedelta(microseconds=1)


DAY_MICROS = 86_400_000_000


def micros(moment: datetime) -> int:
    """Return a moment in microseconds since 1970."""
    day = moment.astimezone(UTC)
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return day_number(day.date()) * DAY_MICROS + (day - midnight) // timedelta(microseconds=1)
