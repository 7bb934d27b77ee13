"""When facts leave their windows: what dates a live value, and when it will change by itself."""

from dataclasses import dataclass
from datetime import timedelta

import ibis
from ibis.expr.types import IntegerValue, Table

from features.compute import bands
from features.compute.as_known import FOREVER
from features.compute.bands import POSITION
from features.compute.group_facts import ENTITY
from features.compute.windowing import hop_micros, hops, micros_of, tile_of
from features.declare.group import Group
from infra.clock import parse_duration
from rapport_feast.row.layout import FOREVER_US

EVENT_US, KNOWN_US, VALID_US = "event_us", "known_us", "valid_until_us"


def entity_heads(group: Group, facts: Table, known_us: int) -> Table:
    """Return for each entity the times of the facts known at the start, of which soon only tiles are left.

    Returns
    -------
    ibis.Table
        ``entity``, the last ``event_us``, ``known_us`` of the last change, ``moved_us`` of the last departure or 0.
    """
    at = facts.mutate(t_us=ibis.literal(known_us, "int64"), known_us=ibis.literal(known_us, "int64"))
    last_change = ibis.greatest(at.known_from, ibis.ifelse(at.known_until < FOREVER, at.known_until, 0))
    return at.group_by(ENTITY).agg(
        event_us=at.event_us.max(),
        known_us=last_change.max(),
        moved_us=_last_departure(group, at, at.event_us, at.known_from, _until_now(at)).max().fill_null(0),
    )


@dataclass(frozen=True)
class Departures:
    """When something leaves the windows of a group: a fixed length after a moment of its own.

    Attributes
    ----------
    since
        The moment that the lengths count from, int64 microseconds.
    lengths
        Lengths of the windows in microseconds, ascending.
    """

    since: IntegerValue
    lengths: tuple[int, ...]

    def last(self, until: IntegerValue) -> IntegerValue:
        """Return the last departure at or before a moment; 0 for none."""
        age = until - self.since
        found = [(age >= length, self.since + length) for length in reversed(self.lengths)]
        return ibis.cases(*found, else_=0)

    def next(self, after: IntegerValue) -> IntegerValue:
        """Return the first departure after a moment; ``FOREVER_US`` for none."""
        age = after - self.since
        return ibis.cases(*((age < length, self.since + length) for length in self.lengths), else_=FOREVER_US)


def _departures(group: Group, rows: Table, event_us: IntegerValue | None) -> list[Departures]:
    """Return when a fact leaves each window; without event times, as in a tile, those that move in hops."""
    hop = hop_micros(group)
    found = []
    if exact := tuple(micros_of(window) for window in bands.lengths_of(group, exact=True)):
        found += [] if event_us is None else [Departures(event_us, exact)]
    if long := tuple(micros_of(window) // hop * hop for window in bands.lengths_of(group, exact=False)):
        found.append(Departures((rows.tile + 1) * hop, long))
    return found


def _last_departure(
    group: Group, rows: Table, event_us: IntegerValue | None, since: IntegerValue, until: IntegerValue
) -> IntegerValue:
    """Return the last departure by ``until`` of what stood from ``since`` on; 0 for none."""
    found = [one.last(until) for one in _departures(group, rows, event_us)]
    last = ibis.greatest(*found, _tick(group, rows, until, ahead=0))
    return ibis.ifelse(last >= since, last, 0)


def _next_departure(group: Group, rows: Table, event_us: IntegerValue | None) -> IntegerValue:
    """Return the first departure after now."""
    found = [one.next(rows.t_us) for one in _departures(group, rows, event_us)]
    return ibis.least(*found, _tick(group, rows, rows.t_us, ahead=1))


def _tick(group: Group, rows: Table, at: IntegerValue, ahead: int) -> IntegerValue:
    """Return when the weights of a decay moved last, or will move next; 0 or ``FOREVER_US`` if nothing is weighed.

    They move one microsecond after each border of a hop, as long as there is something to weigh.
    """
    never, hop = FOREVER_US if ahead else 0, hop_micros(group)
    decaying = [parse_duration(window) for m in group.measures if m.kind == "decayed" for window in m.windows]
    if not decaying:
        return ibis.literal(never, "int64")
    tick = tile_of(at, hop) + ahead
    weighs = (rows.tile < tick) & (tick < rows.tile + 1 + max(decaying) // timedelta(microseconds=hop))
    return ibis.ifelse(weighs, tick * hop + 1, never)


def _until_now(facts: Table) -> IntegerValue:
    """Return now, or the last moment at which a fact stood, if that was before: later it leaves no window."""
    return ibis.least(facts.t_us, facts.known_until - 1)


def _known_end(facts: Table) -> IntegerValue:
    """Return when a fact will cease to stand, where that is known ahead; ``FOREVER_US`` where it is not."""
    return ibis.ifelse(facts.known_until < FOREVER, facts.known_until, FOREVER_US)


def value_times(group: Group, spine: Table, facts: Table, tiles: Table, heads: Table, start_us: int) -> Table:
    """Return the times of each value, a row for each of the spine.

    They follow from what is known alone, not from the steps in which it became known, so that a runner that was down
    ends with the very same rows.

    Parameters
    ----------
    spine, facts, tiles, heads, start_us
        As of ``live_values``.

    Returns
    -------
    ibis.Table
        ``position``, ``event_us`` (the t of the windows), ``known_us`` (the last change in log time) and
        ``valid_until_us`` (the next change without any new fact), int64 microseconds.
    """
    joined = spine.join(facts, spine.entity == facts.entity, rname="{name}_right")
    of_facts = joined.mutate(
        known=joined.known_from <= joined.known_us,
        stands=joined.known_us < joined.known_until,
        left=_last_departure(group, joined, joined.event_us, joined.known_from, _until_now(joined)),
        next=_next_departure(group, joined, joined.event_us),
    )
    parts = of_facts.select(
        POSITION,
        event=ibis.ifelse(of_facts.known, ibis.greatest(of_facts.event_us, of_facts.left), 0),
        known=ibis.ifelse(
            of_facts.known,
            ibis.greatest(of_facts.known_from, of_facts.left, ibis.ifelse(of_facts.stands, 0, of_facts.known_until)),
            0,
        ),
        until=ibis.ifelse(
            of_facts.known,
            ibis.ifelse(of_facts.stands, ibis.least(of_facts.next, _known_end(of_facts)), FOREVER_US),
            of_facts.known_from,
        ),
    )
    if hops(group.longest):
        near = spine.join(tiles, spine.entity == tiles.entity, rname="{name}_right")
        of_tiles = near.mutate(
            left=_last_departure(group, near, None, ibis.literal(start_us + 1, "int64"), near.t_us),
            next=_next_departure(group, near, None),
        )
        parts = parts.union(of_tiles.select(POSITION, event="left", known="left", until="next"))
    of_heads = spine.join(heads, spine.entity == heads.entity, rname="head_{name}")
    parts = parts.union(
        of_heads.select(
            POSITION,
            event=ibis.greatest(of_heads.event_us, of_heads.moved_us),
            known=ibis.greatest(of_heads.head_known_us, of_heads.moved_us),
            until=ibis.literal(FOREVER_US, "int64"),
        )
    )
    return parts.group_by(POSITION).agg(
        **{EVENT_US: parts.event.max(), KNOWN_US: parts.known.max(), VALID_US: parts.until.min()}
    )
