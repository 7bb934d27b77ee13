"""The ladder: live, nightly, prior, default. Here a value falls to a lower rung, and the answer says why."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from serving.forms.features import Status
from serving.lookup.outcome import AGE_REASONS, EXPECTED_REASONS, NOT_FOUND, OUTSIDE_MAX_AGE, Outcome, Values
from serving.lookup.rung import StoredRung
from serving.lookup.views import Reference, View, Views
from serving.lookup.writer_status import ALL_SEGMENTS, WriterStatus


class Ladder:
    """The ladder of some features of one view.

    Parameters
    ----------
    view
        The requested view; None if it is no longer published.
    positions
        Feature = place in the answer.
    place_of
        The places of packed rows in the reply of the store, by view.
    """

    def __init__(
        self, view: View | None, name: str, positions: Mapping[str, int], views: Views, place_of: "ReplyPlaces"
    ) -> None:
        self.name = name
        self.entity = "" if view is None else view.entity
        self.features = tuple(positions)
        self.positions = tuple(positions.values())
        below = views.by_name.get(view.nightly) if view and view.nightly else None
        stored = [one for one in (view, below) if one is not None]
        self.rungs = tuple(StoredRung(one, place_of(one.name), views.catalogue) for one in stored)
        self.views: Mapping[str, str] = {rung.rung: rung.view for rung in self.rungs}
        self.prior = "" if view is None else view.prior
        self.segment = None if view is None else _segment_of(view, views, place_of)
        features = {} if view is None else view.features
        self.names = (*features, *(feature for feature in positions if feature not in features))
        self.defaults: Values = tuple(None if view is None else view.defaults.get(name) for name in self.names)
        self.definition = "" if view is None else view.version
        places = [self.names.index(feature) for feature in positions]
        self.pick: Callable[[Values], Values] = _picker(places, len(self.names))
        places = list(self.positions)
        texts = any(features.get(name) == "string" for name in positions)
        self.adjacent_numbers = not texts and places == list(range(places[0], places[0] + len(places)))

    def fall_to_usable(self, reply: Sequence[Any], now_us: int, writers: WriterStatus, faults: Counter[str]) -> Outcome:
        """Return the values of one entity from the first rung whose row may be used, else the prior or the default.

        Why each rung above was skipped is collected in ``reasons``; a row is taken or left as a whole, so that a
        stale value never passes for a fresh one and a missing value never passes for zero.
        """
        status: Status | None = None
        reasons = ""
        for rung in self.rungs:
            row = rung.read(reply[rung.place], now_us, writers)
            if not isinstance(row, str):
                values = row.values if rung.finish is None else rung.finish(row.values, max(now_us, row.event_us))
                age = max(rung.age_us(row, now_us, writers), 0)
                return Outcome(rung.rung, status, reasons, values, row.event_us, row.known_us, age)
            if status is None:
                status = OUTSIDE_MAX_AGE if row in AGE_REASONS else NOT_FOUND
            if row not in EXPECTED_REASONS:
                faults[row] += 1
            if row not in reasons:
                reasons = f"{reasons}, {row}" if reasons else row
        segment = self._segment(reply, now_us, writers)
        return self._below(status or NOT_FOUND, reasons or "unpublished", segment, now_us, writers)

    def without_row(self, reason: str, now_us: int, writers: WriterStatus) -> Outcome:
        """Return the values of any entity when the store gave no answer."""
        return self._below(NOT_FOUND, reason, ALL_SEGMENTS, now_us, writers)

    def _below(self, status: Status, reason: str, segment: str, now_us: int, writers: WriterStatus) -> Outcome:
        """Return what is usual for the segment, and the declared defaults where nothing is."""
        prior = writers.prior(self.prior, segment) if self.rungs else None
        if prior is None:
            return Outcome("default", status, reason, self.defaults)
        given = map(prior.values.get, self.names)
        values = tuple(default if usual is None else usual for usual, default in zip(given, self.defaults, strict=True))
        return Outcome("prior", status, reason, values, prior.event_us, prior.known_us, max(now_us - prior.event_us, 0))

    def _segment(self, reply: Sequence[Any], now_us: int, writers: WriterStatus) -> str:
        """Return the customer's segment as its view holds it, else that of all."""
        if self.segment is None:
            return ALL_SEGMENTS
        rung, place = self.segment
        row = rung.read(reply[rung.place], now_us, writers)
        segment = None if isinstance(row, str) else row.values[place]
        return ALL_SEGMENTS if segment is None else str(segment)


class ReplyPlaces:
    """Places of packed rows in the reply of the store, given out on first use."""

    def __init__(self) -> None:
        self.views: list[str] = []

    def __call__(self, view: str) -> int:
        """Return the place of a view's row."""
        if view not in self.views:
            self.views.append(view)
        return self.views.index(view)


def _segment_of(view: View, views: Views, place_of: ReplyPlaces) -> tuple[StoredRung, int] | None:
    where = views.segment and views.by_name.get(views.segment.view)
    if where is None or views.segment is None or where.key != view.key or views.segment.feature not in where.features:
        return None
    return StoredRung(where, place_of(where.name), views.catalogue), list(where.features).index(views.segment.feature)


def _picker(places: Sequence[int], count: int) -> Callable[[Values], Values]:
    """Return what takes the values at some places out of a row."""
    if list(places) == list(range(count)):
        return tuple
    if len(places) > 1:
        return itemgetter(*places)
    (place,) = places
    return lambda values: (values[place],)


def ladders(references: Mapping[Reference, int], views: Views, place_of: ReplyPlaces) -> list[Ladder]:
    """Return the ladders of references of one entity; reference = place in the answer."""
    by_view: dict[str, dict[str, int]] = {}
    for reference, place in references.items():
        by_view.setdefault(reference.view, {})[reference.feature] = place
    return [Ladder(views.by_name.get(name), name, positions, views, place_of) for name, positions in by_view.items()]
