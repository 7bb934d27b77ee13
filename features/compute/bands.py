"""Bands: how the windows of a question share their work, for any moment and for the stream.

All windows of a question end at its moment, so they lie in each other. What is between two starts is prepared once, as
a *band*, and the bands are merged into windows: an aggregate over six windows costs one pass over the facts, not six.
``live.py`` and ``local.py`` join questions with facts, tiles or cells, say for each which windows hold it, and come
here.
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
# A row counts in the windows from the place ``low`` on, by length, and below the place ``high``.
BAND = ("low", "high")


def whole(micros: IntegerValue, length: int) -> IntegerValue:
    """Return how many whole lengths passed by a moment."""
    return (micros // length).cast("int64")


def lengths_of(group: Group, *, exact: bool | None = None) -> list[timedelta]:
    """Return the different windows of a group, the shortest first; all, or the exact ones, or those with hops."""
    found = {window for _measure, _name, window in windows(group)}
    return sorted(window for window in found if exact is None or hops(window) != exact)


def inside(group: Group, rows: Table, window: timedelta) -> BooleanValue:
    """Return whether a fact lies in a window of the question that it was joined with."""
    if hops(window):
        hop = hop_micros(group)
        return rows.tile >= windowing.first_tile(whole(rows.t_us, hop), window, hop)
    return rows.event_us > rows.t_us - micros_of(window)


def number_of(conditions: Iterable[BooleanValue]) -> IntegerValue:
    """Return how many of some conditions hold."""
    number: IntegerValue = ibis.literal(0, "int64")
    for condition in conditions:
        number = number + condition.cast("int64")
    return number


def seen(asked: Table, facts: Table) -> list[BooleanValue]:
    """Return the conditions under which a question sees a fact at all, whatever the window."""
    return [
        facts.event_us <= asked.t_us,
        facts.known_from <= asked.known_us,
        asked.known_us < facts.known_until,
    ]


def prepared(group: Group, rows: Table, measures: Sequence[Measure] | None = None) -> Table:
    """Prepare facts that were joined with their question, by question and band.

    Parameters
    ----------
    measures
        The group's, where their expressions were evaluated before.
    """
    hop = hop_micros(group)
    frame = Frame(minute_of(whole(rows.t_us, hop) * hop), tile_of(rows.t_us, hop) - rows.tile, hop)
    states: dict[str, Value] = {}
    for measure in measures or group.measures:
        states |= algebra.prepare(measure, rows, frame, measure.name)
    return rows.group_by([POSITION, *BAND]).agg(**states)


def merged(group: Group, cells: Table, frame: Frame, key: list[str]) -> Table:
    """Merge cells that were joined with their question, by question and band."""
    states: dict[str, Value] = {}
    for measure in group.measures:
        states |= algebra.merge(measure, cells, measure.name, frame)
    return cells.group_by([*key, *BAND]).agg(**states)


def spread(group: Group, bands: Table, key: list[str]) -> Table:
    """Merge bands into windows: a band counts in those from ``low`` on, by length, and below ``high``."""
    lengths = lengths_of(group)
    states: dict[str, Value] = {}
    for measure, name, window in windows(group):
        inside = (bands.low <= lengths.index(window)) & (bands.high > lengths.index(window))
        states |= algebra.combine(measure, bands, measure.name, name, inside)
    return bands.group_by(key).agg(**states)
