"""The parity meter: is what was served what the facts say? Sampled answers are computed again, and differences named.

Samples come from responses, never from who wrote the values. Each is computed twice from silver: as known when it was
served, where any difference is a fault and gets its cause (``causes.py``); and as known now, where a difference is
*late*: no fault, and the events behind it are named (``late.py``). Comes after a closed night; ``report.py``
writes down what is found here.

A sample is judged once the night that closes what it knew is through; until then it is pending.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import groupby

from features.catalogue import groups_of
from features.compute.windowing import DAY_MICROS, micros, micros_of
from features.declare.group import Group
from features.parity.causes import Attribution, MismatchedSample, attribute, same_value
from features.parity.late import events_since
from features.parity.recompute import ValueQuery, Values, as_published, recompute, superseded
from features.parity.result import EQUAL, LATE, NOT_EXAMINED, Difference, ParityResult, ValueCounts
from features.parity.samples import Sample, read_samples
from infra.clock import Nights, cutoff
from infra.engine.engine import Engine
from infra.engine.open import open_engine
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY, EPOCH_DAY

# Days of serving, the night's own included: so long a late fact is looked for.
DAYS = 7


# Beyond so many wrong rows of a view the rest is counted and not looked into.
EXAMINED = 500


# Between reading the stream's log time and dating the answer.
GRACE_US = 1_000_000


@dataclass(frozen=True)
class ComparedSample:
    """A sample beside what it should have been.

    Attributes
    ----------
    truth
        As known when it was served; nothing where there was no row.
    now
        As known now.
    before
        What a nightly row was in its own night.
    """

    sample: Sample
    truth: Values | None
    now: Values
    before: Values | None

    @property
    def query(self) -> ValueQuery:
        """The query that gives what should have been served."""
        return ValueQuery(self.sample.id, self.sample.at_us, self.sample.knew_us)

    @cached_property
    def wrong(self) -> tuple[str, ...]:
        """The features whose value was another one."""
        return self._other(self.truth)

    @cached_property
    def differing(self) -> tuple[str, ...]:
        """The features that were right, and have another value as known now."""
        wrong = self.wrong
        return tuple(name for name in self._other(self.now) if name not in wrong)

    def _other(self, row: Values | None) -> tuple[str, ...]:
        values = self.sample.values
        if row is None:
            return tuple(values)
        return tuple(name for name, value in values.items() if name not in row or not same_value(value, row[name]))


def compare(ws: Workspace, night: date, days: int = DAYS) -> ParityResult:
    """Compare the values served on the last days up to a night, and since, with what the facts say.

    Parameters
    ----------
    night
        A night whose features are built; "now" is its cutoff.
    days
        How many days of serving up to the night are read.

    Raises
    ------
    Rejected
        The night was not built.
    """
    newest = newest_night(ws)
    if newest is None or night > newest:
        found = f"{night}, the newest is {newest or 'none'}"
        raise Rejected("night", "a night whose features are built", found, "Run the nightly ring first.")
    today = max(ws.clock.now().date(), night)
    samples = read_samples(ws, Nights(night - (days - 1) * DAY, today))
    parity = ParityResult(night, samples.read, samples.unreadable)
    groups = {group.view: group for group in groups_of(ws.company)}
    now_us = micros(cutoff(night))
    with open_engine(ws, "duckdb") as engine:
        for rows in _by_view(samples.rows):
            known = [sample for sample in rows if sample.knew_us <= now_us]
            parity.pending += len(rows) - len(known)
            if group := groups.get(known[0].base if known else ""):
                compared = _with_truth(ws, engine, group, known, now_us)
                parity.retired += len(known) - len(compared)
                parity.overdue += sum(_overdue(group, one.sample) for one in compared)
                _add_counts(parity, compared, _reasons(ws, engine, group, compared, now_us))
            else:
                parity.retired += len(known)
    return parity


def newest_night(ws: Workspace) -> date | None:
    """Return the newest night of which features were built."""
    nights = (ws.lake.newest(f"features/{group.view}") for group in groups_of(ws.company))
    return max(filter(None, nights), default=None)


def _by_view(rows: Sequence[Sample]) -> Iterator[list[Sample]]:
    ordered = sorted(rows, key=lambda one: (one.view, one.rung, one.served_us, one.request))
    for _, found in groupby(ordered, key=lambda one: (one.view, one.rung)):
        yield list(found)


def _with_truth(
    ws: Workspace, engine: Engine, group: Group, samples: Sequence[Sample], now_us: int
) -> list[ComparedSample]:
    """Return samples of one view with what they should have been; nights published again since are left out."""
    if samples[0].rung == "live":
        queries = [ValueQuery(one.id, one.at_us, known) for one in samples for known in (one.knew_us, now_us)]
        values = recompute(ws, engine, group, queries)
        pairs = zip(samples, values[::2], values[1::2], strict=True)
        return [ComparedSample(one, truth, later, None) for one, truth, later in pairs]
    again = superseded(ws, group, samples)
    samples = [sample for sample, gone in zip(samples, again, strict=True) if not gone]
    now = recompute(ws, engine, group, [ValueQuery(one.id, one.at_us, now_us) for one in samples])
    published = as_published(ws, group, samples)
    rows = zip(samples, published, now, strict=True)
    return [ComparedSample(one, found.newest, later, found.row) for one, found, later in rows]


def _overdue(group: Group, sample: Sample) -> bool:
    limit = micros_of(group.live_freshness) + GRACE_US
    return sample.rung == "live" and sample.served_us - sample.knew_us > limit


# Of a row: feature = cause, and feature = the events that make it late.
Reasons = tuple[Mapping[str, Attribution], Mapping[str, list[str]]]


def _reasons(
    ws: Workspace, engine: Engine, group: Group, compared: Sequence[ComparedSample], now_us: int
) -> list[Reasons]:
    """Return for each row the causes of what was wrong, and the events of what is late."""
    wrong = [one for one in compared if one.wrong]
    late = [one for one in compared if one.differing]
    mismatched = [MismatchedSample(one.sample, one.truth, one.before, one.wrong) for one in wrong[:EXAMINED]]
    causes = attribute(ws, engine, group, mismatched)
    causes += [dict.fromkeys(one.wrong, Attribution(NOT_EXAMINED)) for one in wrong[EXAMINED:]]
    queries, differing = [one.query for one in late], [one.differing for one in late]
    events = events_since(ws, engine, group, queries, differing, now_us) if late else []
    causes_of = {id(one): found for one, found in zip(wrong, causes, strict=True)}
    events_of = {id(one): found for one, found in zip(late, events, strict=True)}
    return [(causes_of.get(id(one), {}), events_of.get(id(one), {})) for one in compared]


def _add_counts(parity: ParityResult, compared: Sequence[ComparedSample], reasons: Sequence[Reasons]) -> None:
    for one, (causes, events) in zip(compared, reasons, strict=True):
        day = parity.days.setdefault(EPOCH_DAY + one.sample.served_us // DAY_MICROS * DAY, ValueCounts())
        parity.judged += 1
        for name in one.sample.values:
            cause = causes[name].cause if name in causes else LATE if name in events else EQUAL
            parity.counts.setdefault((one.sample.view, name), ValueCounts()).count(cause)
            day.count(cause)
        parity.differences += _differences(one, causes, events)


def _differences(
    one: ComparedSample, causes: Mapping[str, Attribution], events: Mapping[str, list[str]]
) -> Iterator[Difference]:
    for feature, cause in causes.items():
        truth = one.truth.get(feature) if one.truth is not None else None
        yield Difference(one.sample, feature, cause.cause, cause.detail, truth)
    for feature, ids in events.items():
        yield Difference(one.sample, feature, LATE, "", one.now.get(feature), tuple(ids))
