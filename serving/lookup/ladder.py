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
        The view that was asked for; None if it is no longer published.
    wanted
        Feature = place in the answer.
    place_of
        The places of packed rows in the reply of the store, by view.
    """

    def __init__(
        self, view: View | None, name: str, wanted: Mapping[str, int], views: Views, place_of: "ReplyPlaces"
    ) -> None:
        self.name = name
        self.entity = "" if view is None else view.entity
        self.features = tuple(wanted)
        self.positions = tuple(wanted.values())
        below = views.by_name.get(view.nightly) if view and view.nightly else None
        self.steps = tuple(StoredRung(one, place_of(one.name)) for one in (view, below) if one is not None)
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

    def climb(self, reply: Sequence[Any], now_us: int, pulse: WriterStatus, faults: Counter[str]) -> Outcome:
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
                status = OUTSIDE_MAX_AGE if row in AGE_REASONS else NOT_FOUND
            if row not in EXPECTED_REASONS:
                faults[row] += 1
            if row not in reasons:
                reasons = f"{reasons}, {row}" if reasons else row
        segment = self._segment(reply, now_us, pulse)
        return self._below(status or NOT_FOUND, reasons or "unpublished", segment, now_us, pulse)

    def without_store(self, reason: str, now_us: int, pulse: WriterStatus) -> Outcome:
        """Return the values of any entity when the store gave no answer."""
        return self._below(NOT_FOUND, reason, ALL_SEGMENTS, now_us, pulse)

    def _below(self, status: Status, reason: str, segment: str, now_us: int, pulse: WriterStatus) -> Outcome:
        """Return what is usual for the segment, and the declared defaults where nothing is."""
        prior = pulse.prior(self.prior, segment) if self.steps else None
        if prior is None:
            return Outcome("default", status, reason, self.defaults)
        given = map(prior.values.get, self.names)
        values = tuple(default if usual is None else usual for usual, default in zip(given, self.defaults, strict=True))
        return Outcome("prior", status, reason, values, prior.event_us, prior.known_us, max(now_us - prior.event_us, 0))

    def _segment(self, reply: Sequence[Any], now_us: int, pulse: WriterStatus) -> str:
        """Return the customer's segment as its view holds it, else that of all."""
        if self.segment is None:
            return ALL_SEGMENTS
        step, place = self.segment
        row = step.read(reply[step.place], now_us, pulse)
        segment = None if isinstance(row, str) else row.values[place]
        return ALL_SEGMENTS if segment is None else str(segment)


class ReplyPlaces:
    """Places of packed rows in the reply of the store, given out as they are asked for."""

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
    return StoredRung(where, place_of(where.name)), list(where.features).index(views.segment.feature)


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
    return [Ladder(views.by_name.get(name), name, wanted, views, place_of) for name, wanted in by_view.items()]
