"""Bands: how the windows of a spine row share their work, for any moment and for the stream.

All windows of a spine row end at its moment, so they lie in each other. What is between two starts is prepared once, as
a *band*, and the bands are merged into windows: an aggregate over six windows costs one pass over the facts, not six.
``historical.py``, ``cells.py`` and the stream join spine rows with facts, tiles or cells, and say by ``low`` and
``high`` which windows hold each.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import ibis
from ibis.expr.types import BooleanValue, IntegerValue, Table, Value

from features.compute import algebra, windowing
from features.compute.algebra import Frame
from features.compute.windowing import hop_micros, hops, micros_of, minute_of, tile_of, windows
from features.declare.group import Group
from features.declare.measure import Measure

POSITION = "position"
# Of the windows sorted by length, a row counts in those from the place ``low`` on and below the place ``high``.
BAND = ("low", "high")


def whole_lengths(micros: IntegerValue, length: int) -> IntegerValue:
    """Return how many whole lengths, microseconds, passed by a moment: the number of its cell."""
    return (micros // length).cast("int64")


def lengths_of(group: Group, *, exact: bool | None = None) -> list[timedelta]:
    """Return the different windows of a group, the shortest first; all, or the exact ones, or those with hops."""
    found = {window for _measure, _name, window in windows(group)}
    return sorted(window for window in found if exact is None or hops(window) != exact)


def inside(group: Group, rows: Table, window: timedelta) -> BooleanValue:
    """Return whether a fact lies in a window of the spine row that it was joined with."""
    if hops(window):
        hop = hop_micros(group)
        return rows.tile >= windowing.first_tile(whole_lengths(rows.t_us, hop), window, hop)
    return rows.event_us > rows.t_us - micros_of(window)


def count_true(conditions: Iterable[BooleanValue]) -> IntegerValue:
    """Return how many of some conditions hold."""
    number: IntegerValue = ibis.literal(0, "int64")
    for condition in conditions:
        number = number + condition.cast("int64")
    return number


def visible(spine: Table, facts: Table) -> list[BooleanValue]:
    """Return the conditions under which a spine row sees a fact at all, whatever the window."""
    return [
        facts.event_us <= spine.t_us,
        facts.known_from <= spine.known_us,
        spine.known_us < facts.known_until,
    ]


def prepared(group: Group, rows: Table, measures: Sequence[Measure] | None = None) -> Table:
    """Prepare facts that were joined with the spine, by spine row and band.

    Parameters
    ----------
    measures
        The group's, where their expressions were evaluated before.
    """
    hop = hop_micros(group)
    frame = Frame(minute_of(whole_lengths(rows.t_us, hop) * hop), tile_of(rows.t_us, hop) - rows.tile, hop)
    states: dict[str, Value] = {}
    for measure in measures or group.measures:
        states |= algebra.prepare(measure, rows, frame, measure.name)
    return rows.group_by([POSITION, *BAND]).agg(**states)


def merged(group: Group, cells: Table, frame: Frame, key: list[str]) -> Table:
    """Merge cells that were joined with the spine, by ``key`` and band."""
    states: dict[str, Value] = {}
    for measure in group.measures:
        states |= algebra.merge(measure, cells, measure.name, frame)
    return cells.group_by([*key, *BAND]).agg(**states)


def spread_to_windows(group: Group, bands: Table, key: list[str]) -> Table:
    """Merge bands into windows: a band counts in those from ``low`` on, by length, and below ``high``."""
    lengths = lengths_of(group)
    states: dict[str, Value] = {}
    for measure, name, window in windows(group):
        inside = (bands.low <= lengths.index(window)) & (bands.high > lengths.index(window))
        states |= algebra.combine(measure, bands, measure.name, name, inside)
    return bands.group_by(key).agg(**states)
