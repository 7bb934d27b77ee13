"""The ladder: live, nightly, prior, default; which rung a row of values comes from, and why from none above it.

A row is taken or left as a whole. What is left is said in one word (``REASONS``), so that a stale value never passes
for a fresh one and a value that is missing never passes for zero.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from features.catalogue import CATALOGUE
from features.expressions import TYPES, evaluate
from features.spec import Derived
from infra.packed import Packable, Row
from serving.schema import Rung, Status
from serving.views import SECOND_US, Reference, View, Views

Values = tuple[Packable, ...]
PRESENT: Status = "PRESENT"
NULL_VALUE: Status = "NULL_VALUE"
NOT_FOUND: Status = "NOT_FOUND"
OUTSIDE_MAX_AGE: Status = "OUTSIDE_MAX_AGE"
REASONS: Mapping[str, str] = {
    "not_found": "the store has no row",
    "stale": "what writes the rows is behind: the row is older than its freshness allows",
    "expired": "an event has left a window since the row was written",
    "definition": "the row was written by another definition of the group",
    "unreadable": "the row is not in the form of its view",
    "too_big": "the row is larger than any row can be",
    "wrong_type": "the store holds something else under this key",
    "unpublished": "the view is no longer published",
    "refused": "the store refused to read the key",
    "late": "the store did not answer by the deadline",
    "unreachable": "there is no connection to the store",
    "garbage": "the store answered what cannot be read, and the connection was closed",
    "overload": "too many reads are in flight",
}
ORDINARY = frozenset({"not_found", "stale", "expired"})
AGED = frozenset({"stale", "expired"})
MAX_ROW_BYTES = 1 << 20
ALL_SEGMENTS = "*"
MAX_SEGMENTS = 256
GROUPS = {group.view: group for group in CATALOGUE}


class Outcome(NamedTuple):
    """What the ladder gives for one entity: all values of the view, and where they come from.

    Attributes
    ----------
    status
        Feast's word if there is no row on the first rung; None where each value says PRESENT or NULL_VALUE.
    reason
        Why not from the rungs above, in words of ``REASONS``.
    event_us, known_us, age_us
        Of the row; a default has none.
    """

    rung: Rung
    status: Status | None
    reason: str
    values: Values
    event_us: int = 0
    known_us: int = 0
    age_us: int | None = None


@dataclass(frozen=True)
class Prior:
    """What is usual for a segment: feature = value."""

    values: Mapping[str, Packable]
    event_us: int
    known_us: int


@dataclass
class Pulse:
    """What the background knows of the writers: how far they are, and what is usual for a segment.

    Attributes
    ----------
    applied_us
        Log time up to which everything accepted is online; None where no stream has run.
    cutoff_us
        Cutoff of the newest night that is online.
    priors
        (prior view, segment) = row.
    segments
        The segments that were met, whose priors are kept.
    unread
        Whether there is one among them whose priors were not read yet.
    """

    applied_us: int | None = None
    cutoff_us: int = 0
    priors: dict[tuple[str, str], Prior] = field(default_factory=dict)
    segments: set[str] = field(default_factory=lambda: {ALL_SEGMENTS})
    unread: bool = True

    def prior(self, view: str, segment: str) -> Prior | None:
        """Return the prior of a segment, else that of all; the priors of a new segment are read in the background."""
        if segment not in self.segments and len(self.segments) < MAX_SEGMENTS:
            self.segments.add(segment)
            self.unread = True
        return self.priors.get((view, segment)) or self.priors.get((view, ALL_SEGMENTS))


class Step:
    """A rung that is read.

    Parameters
    ----------
    view
        The view of the rung.
    place
        Where its row stands in the reply of the store.
    """

    def __init__(self, view: View, place: int) -> None:
        self.view = view.name
        self.rung: Literal["live", "nightly"] = view.served
        self.packing = view.packing
        self.place = place
        self.limit_us = view.freshness_seconds * SECOND_US
        self.finish, self.known = finish(view)

    def read(self, raw: bytes | None, now_us: int, pulse: Pulse) -> Row | str:
        """Return the row, or in one word why it is not taken."""
        if raw is None:
            return "not_found"
        if len(raw) > MAX_ROW_BYTES:
            return "too_big"
        try:
            row = self.packing.unpack(raw)
        except ValueError:
            return "unreadable"
        if row.definition != self.packing.definition or not self.known:
            return "definition"
        if self.limit_us and self.age_us(row, now_us, pulse) > self.limit_us:
            return "stale"
        return "expired" if row.valid_until_us <= now_us else row

    def age_us(self, row: Row, now_us: int, pulse: Pulse) -> int:
        """Return how far behind the writer of the row is (rule T9): not how long ago the customer did something."""
        if self.rung == "live":
            return now_us - max(pulse.applied_us or 0, row.known_us)
        return now_us - max(pulse.cutoff_us, row.event_us)


class Chain:
    """The ladder of some features of one view.

    Parameters
    ----------
    view
        The view that was asked for; None if it is no longer published.
    wanted
        Feature = place in the answer.
    place_of
        The places of packed rows in the reply of the store, by view.
    """

    def __init__(
        self, view: View | None, name: str, wanted: Mapping[str, int], views: Views, place_of: "Places"
    ) -> None:
        self.name = name
        self.entity = "" if view is None else view.entity
        self.features = tuple(wanted)
        self.positions = tuple(wanted.values())
        below = views.by_name.get(view.nightly) if view and view.nightly else None
        self.steps = tuple(Step(one, place_of(one.name)) for one in (view, below) if one is not None)
        self.views: Mapping[str, str] = {step.rung: step.view for step in self.steps}
        self.prior = "" if view is None else view.prior
        self.segment = None if view is None else _segment_of(view, views, place_of)
        features = {} if view is None else view.features
        self.names = (*features, *(feature for feature in wanted if feature not in features))
        self.defaults: Values = tuple(None if view is None else view.defaults.get(name) for name in self.names)
        self.definition = "" if view is None else view.version
        places = [self.names.index(feature) for feature in wanted]
        self.pick: Callable[[Values], Values] = _picker(places, len(self.names))
        places = list(self.positions)
        texts = any(features.get(name) == "string" for name in wanted)
        self.numbers_side_by_side = not texts and places == list(range(places[0], places[0] + len(places)))

    def climb(self, reply: Sequence[Any], now_us: int, pulse: Pulse, faults: Counter[str]) -> Outcome:
        """Return the values of one entity from the reply of the store."""
        status: Status | None = None
        reasons = ""
        for step in self.steps:
            row = step.read(reply[step.place], now_us, pulse)
            if not isinstance(row, str):
                values = row.values if step.finish is None else step.finish(row.values, max(now_us, row.event_us))
                age = max(step.age_us(row, now_us, pulse), 0)
                return Outcome(step.rung, status, reasons, values, row.event_us, row.known_us, age)
            if status is None:
                status = OUTSIDE_MAX_AGE if row in AGED else NOT_FOUND
            if row not in ORDINARY:
                faults[row] += 1
            if row not in reasons:
                reasons = f"{reasons}, {row}" if reasons else row
        segment = self._segment(reply, now_us, pulse)
        return self._below(status or NOT_FOUND, reasons or "unpublished", segment, now_us, pulse)

    def without_store(self, reason: str, now_us: int, pulse: Pulse) -> Outcome:
        """Return the values of any entity when the store gave no answer."""
        return self._below(NOT_FOUND, reason, ALL_SEGMENTS, now_us, pulse)

    def _below(self, status: Status, reason: str, segment: str, now_us: int, pulse: Pulse) -> Outcome:
        """Return what is usual for the segment, and the declared defaults where nothing is."""
        prior = pulse.prior(self.prior, segment) if self.steps else None
        if prior is None:
            return Outcome("default", status, reason, self.defaults)
        given = map(prior.values.get, self.names)
        values = tuple(default if usual is None else usual for usual, default in zip(given, self.defaults, strict=True))
        return Outcome("prior", status, reason, values, prior.event_us, prior.known_us, max(now_us - prior.event_us, 0))

    def _segment(self, reply: Sequence[Any], now_us: int, pulse: Pulse) -> str:
        """Return the customer's segment as its view holds it, else that of all."""
        if self.segment is None:
            return ALL_SEGMENTS
        step, place = self.segment
        row = step.read(reply[step.place], now_us, pulse)
        segment = None if isinstance(row, str) else row.values[place]
        return ALL_SEGMENTS if segment is None else str(segment)


class Places:
    """Places of packed rows in the reply of the store, given out as they are asked for."""

    def __init__(self) -> None:
        self.views: list[str] = []

    def __call__(self, view: str) -> int:
        """Return the place of a view's row."""
        if view not in self.views:
            self.views.append(view)
        return self.views.index(view)


def finish(view: View) -> tuple[Callable[[Values, int], Values] | None, bool]:
    """Return what finishes a row of the view when it is read, if it must be, and whether the catalogue still knows how.

    The time since a fact is made of its moment, and what is made of that is evaluated again.
    """
    if not view.elapsed:
        return None, True
    group = GROUPS.get(view.nightly or view.name)
    if group is None and view.derived:
        return None, False
    places = {name: place for place, name in enumerate(view.features)}
    measured = group.measured if group else {}
    elapsed = [(places[name], measured[name][0].empty_value if name in measured else None) for name in view.elapsed]
    again = [one for one in group.ordered if one.name in view.derived] if group else []
    return lambda values, read_us: _finished(values, read_us, elapsed, again, places, view), True


def _finished(
    values: Values,
    read_us: int,
    elapsed: Sequence[tuple[int, Packable]],
    again: Sequence[Derived],
    places: Mapping[str, int],
    view: View,
) -> Values:
    found = list(values)
    for place, empty in elapsed:
        moment = found[place]
        found[place] = empty if moment is None else (read_us - int(moment)) // SECOND_US
    for one in again:
        value = evaluate(one.value, dict(zip(places, found, strict=True)))
        value = one.empty if value is None else value
        found[places[one.name]] = None if value is None else TYPES[view.features[one.name]](value)  # type: ignore[index]
    return tuple(found)


def _segment_of(view: View, views: Views, place_of: Places) -> tuple[Step, int] | None:
    where = views.segment and views.by_name.get(views.segment.view)
    if where is None or views.segment is None or where.key != view.key or views.segment.feature not in where.features:
        return None
    return Step(where, place_of(where.name)), list(where.features).index(views.segment.feature)


def _picker(places: Sequence[int], count: int) -> Callable[[Values], Values]:
    """Return what takes the values at some places out of a row."""
    if list(places) == list(range(count)):
        return tuple
    if len(places) > 1:
        return itemgetter(*places)
    (place,) = places
    return lambda values: (values[place],)


def chains(references: Mapping[Reference, int], views: Views, place_of: Places) -> list[Chain]:
    """Return the ladders of references of one entity; reference = place in the answer."""
    by_view: dict[str, dict[str, int]] = {}
    for reference, place in references.items():
        by_view.setdefault(reference.view, {})[reference.feature] = place
    return [Chain(views.by_name.get(name), name, wanted, views, place_of) for name, wanted in by_view.items()]
