"""The stream runner: folds the event log into live values and publishes them, in log time (rules T8, T9, V5, V8).

Comes after the log and the door, before the online store. What it keeps can be lost at any moment: the local store
follows from the lake at the last published night and the log since, and an online row from what is known alone, so
whoever is killed and starts again, or was down for an hour, ends with the same rows. Log time moves with every entry,
and while nothing happens by seals: then the log promises that nothing will be accepted before that moment any more.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import redis

from features.catalogue import groups_of
from features.compute.windowing import micros_of
from features.declare.group import Group
from features.store.published import path_of
from features.stream.local_store import LocalStore, Values, micros
from features.stream.meters import StreamMetrics
from infra.engine.engine import Engine
from infra.log.event_log import Entry, EventLog
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Transient
from rapport_feast.publications import read_record
from rapport_feast.row.address import OnlineStore
from rapport_feast.row.encoding import ViewForm
from rapport_feast.row.keys import row_field, stream_key
from rapport_feast.row.layout import Packing, Row
from rapport_feast.row.writer import RowWriter
from rapport_feast.times import micros as micros_at
from validation.door.door import Door
from validation.sources.log import TOLERANCE

CONSUMER_GROUP = "stream"


"""Name under which the runner notes in the log how far it came."""


BATCH_LIMIT = 10_000
IDLE_SECONDS = 0.5
CHECK_SECONDS = 5.0
BACK_OFF_SECONDS = (0.1, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class StepResult:
    """What one turn did: entries read, facts that were new, values written."""

    entries: int
    facts: int
    rows: int


class Runner:
    """The stream of one company.

    Parameters
    ----------
    ws
        The company's workspace.
    log, online
        The event log and the online store.
    groups
        Live groups; by default those of the company.
    engine
        What computes the values, where it is not DuckDB in this process.
    """

    def __init__(
        self,
        ws: Workspace,
        log: EventLog,
        online: OnlineStore,
        groups: Sequence[Group] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.ws, self.log, self.online, self.engine = ws, log, online, engine
        self.groups = tuple(g for g in groups or groups_of(ws.company) if g.served == "live")
        self.meters, self.stopping = StreamMetrics(), threading.Event()
        self.position = self.applied_us = self._committed = 0
        # A night may bring facts older than what a row holds already: then it is another row of the same moment.
        self._door, self._writer = Door(ws.company), RowWriter(online, replace=True)
        self._forms = {group.name: form_of(ws, group) for group in self.groups}
        self._unsent: list[Values] = []
        self._looked = 0.0
        self._local: LocalStore | None = None
        self._alone, self._refilling = threading.Lock(), threading.Thread()

    @property
    def local(self) -> LocalStore:
        """The local store; opened at the first use."""
        if self._local is None:
            self.open(self._published())
        assert self._local is not None  # noqa: S101
        return self._local

    def begin(self) -> int:
        """Open the local store and publish what it knows; return the position behind which to go on.

        Raises
        ------
        Rejected
            No night was published yet.
        """
        return self.position if self.local else 0

    def run(self) -> None:
        """Run until ``stopping`` is set: what was read by then is applied and published first.

        Before the first night is published there is nothing to begin with, and it waits.
        """
        self.keep(lambda: self.turn(IDLE_SECONDS))
        self.close()

    def keep(self, step: Callable[[], object]) -> None:
        """Repeat a step until ``stopping`` is set, waiting a while whenever the log or the store is silent."""
        failures = 0
        while not read_record(path_of(self.ws)).nights and not self.stopping.wait(CHECK_SECONDS):
            continue
        while not self.stopping.is_set():
            try:
                step()
                failures = 0
            except Transient:
                self.meters.waits.inc()
                self._writer.close()
                self.stopping.wait(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
                failures += 1

    def close(self) -> None:
        """Give back what the runner holds; the log and the store stay."""
        if self._refilling.is_alive():
            self._refilling.join()
        self._writer.close()
        self._door.close()
        if self._local is not None:
            self._local.close()
            self._local = None

    def turn(self, wait_seconds: float = 0.0) -> StepResult:
        """Apply what the log holds, at most a batch of it, and what is due; publish, and say how far one came.

        A turn that fails leaves off where it failed; the next one goes on there.

        Raises
        ------
        Transient
            The log or the online store does not answer.
        """
        with self._alone:
            self._look_around()
            rows = self._publish()
            entries = self.log.read(self.position, BATCH_LIMIT, self._patience(wait_seconds))
            return self._apply(entries, rows)

    def apply(self, entries: Sequence[Entry]) -> StepResult:
        """Apply entries that somebody else read from the log, in their order; those that were applied before are left.

        Raises
        ------
        Transient
            The log or the online store does not answer.
        """
        with self._alone:
            self._look_around()
            rows = self._publish()
            return self._apply([entry for entry in entries if entry.position > self.position], rows)

    def _apply(self, entries: Sequence[Entry], rows: int) -> StepResult:
        moment = entries[-1].accepted_us if entries else self._sealed()
        if moment is None:
            return StepResult(0, 0, rows)
        facts = self._take(self.local, entries)
        self._unsent = list(self.local.step(moment))
        self.applied_us = moment
        self.position = entries[-1].position if entries else self.position
        rows += self._publish()
        self._tell(len(entries), facts)
        return StepResult(len(entries), facts, rows)

    def drain(self) -> None:
        """Apply everything that the log holds now, for tests and for a runner that is to end with an empty log."""
        while self.turn().entries:
            continue

    def open(self, night: date) -> None:
        """Start from a published night and the log since; publish whatever of it is not online as it stands.

        At a hand-over this changes no value: what the night holds is what the log told.
        """
        begun = LocalStore(self.ws, self.groups, night, self.engine)
        # An event that was dated ahead was held, perhaps into the next day; what the night knows is known already.
        position, moment = self.log.since(micros(night) - micros_of(TOLERANCE)), micros(night)
        until = max(self.position, (self.log.end() or (0, 0))[0] if not self.position else 0)
        while position < until and (entries := self.log.read(position, BATCH_LIMIT)):
            entries = [entry for entry in entries if entry.position <= until]
            if not entries:
                break
            self._take(begun, entries)
            position, moment = entries[-1].position, max(moment, entries[-1].accepted_us)
        moment = max(moment, self.applied_us)
        for _values in begun.step(moment):
            pass  # all of them follow
        former, self._local = self._local, begun
        if former is not None:
            former.close()
        self.position, self.applied_us = max(position, self.position), moment
        self._unsent = list(begun.everybody())
        self._publish()
        self._commit()
        self._writer.heartbeat(self.applied_us, self.position)

    def _commit(self) -> None:
        self.log.commit(CONSUMER_GROUP, self.position)
        self._committed = self.position

    def _published(self) -> date:
        """Return the newest published night.

        Raises
        ------
        Rejected
            There is none.
        """
        nights = read_record(path_of(self.ws)).nights
        if not nights:
            raise Rejected("stream", "a published night to begin with", "none", "Run the nightly ring first.")
        return date.fromisoformat(max(nights))

    def _look_around(self) -> None:
        """Every few seconds: take over a night that was published, and fill a store that lost everything."""
        local = self.local
        if time.monotonic() - self._looked < CHECK_SECONDS:
            return
        self._looked = time.monotonic()
        night = self._published()
        if night > local.night and self.applied_us >= micros(night):
            self.open(night)
            self.meters.hand_overs.inc()
            self.log.trim(micros(night) - micros_of(TOLERANCE))
        elif not self._is_filled():
            self._unsent = list(local.everybody())
            if not self._refilling.is_alive():
                self._refilling = threading.Thread(target=self._refill, name="refill")
                self._refilling.start()

    def _refill(self) -> None:
        """Have the nightly rows published again, beside the live ones, which wait for nobody."""
        # It brings Feast, which the stream itself does without.
        from features.store.publish import refill_if_empty

        while not self.stopping.is_set():
            try:
                refill_if_empty(self.ws)
                return
            except Transient:
                self.meters.waits.inc()
                self.stopping.wait(BACK_OFF_SECONDS[-1])

    def _is_filled(self) -> bool:
        """Say whether our heartbeat is still there: a store that was restarted empty has none."""
        with self._asking() as client:
            return bool(client.exists(stream_key(self.online.project)))

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        try:
            with self.online.client(retries=0) as client:
                yield client
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise self.online.silent(error) from error

    def _patience(self, wait_seconds: float) -> float:
        """Return how long to wait for entries: no longer than until something is due."""
        due = self.local.next_due_us()
        if due is None:
            return wait_seconds
        return min(wait_seconds, max((due - micros_at(self.ws.clock.now())) / 1_000_000, 0.0))

    def _sealed(self) -> int | None:
        """Move log time to now though nothing happened; None if it would not move, or something just came."""
        now = micros_at(self.ws.clock.now())
        if now <= self.applied_us:
            return None
        self.log.seal(now)
        end = self.log.end()
        return now if end is None or end[0] <= self.position else None

    def _take(self, local: LocalStore, entries: Sequence[Entry]) -> int:
        admitted = self._door.admit(entries)
        for _entry, reason in admitted.refused:
            self.meters.poison.labels(reason.partition(":")[0]).inc()
        return local.take(admitted.rows)

    def _publish(self) -> int:
        """Write what was computed; return the rows written. What fails stays for the next turn."""
        rows = 0
        while self._unsent:
            rows += self._write(self._unsent[0])
            del self._unsent[0]
        return rows

    def _write(self, values: Values) -> int:
        form, view = self._forms[values.group.name], values.group.live_view
        times = (values.event_us, values.known_us, values.valid_until_us)
        written = self._writer.write(form, values.ids, values.values, *times, shown=values.shown)
        if len(written.refused):
            written.accepted += self._raised(form, values, written.refused)
        self.meters.rows.labels(view).inc(written.accepted)
        self.meters.kept_out.labels(view).inc(len(values.ids) - written.accepted)
        return written.accepted

    def _raised(self, form: ViewForm, values: Values, places: Iterable[int]) -> int:
        """Write rows that an event since withdrawn keeps out: t never falls, so they take over the t that is online."""
        held = self._held(form, values, places)
        later = {
            place: row.event_us for place, row in held.items()
            if row is not None and row.known_us < values.known_us[place] and row.event_us > values.event_us[place]
        }  # fmt: skip
        if not later:
            return 0
        chosen = list(later)
        written = self._writer.write(
            form,
            values.ids.take(chosen),
            values.values.take(chosen),
            np.array([later[place] for place in chosen]),
            values.known_us[chosen],
            values.valid_until_us[chosen],
            shown=values.shown.take(chosen),
        )
        return written.accepted

    def _held(self, form: ViewForm, values: Values, places: Iterable[int]) -> dict[int, Row | None]:
        """Return the rows that are online, by their place."""
        places = list(places)
        keys = form.keys(values.ids.take(places)).to_pylist()
        with self._asking() as client:
            raw: list[Any] = [client.hget(key, row_field(form.view)) for key in keys]
        return {place: form.packing.unpack(one) if one else None for place, one in zip(places, raw, strict=True)}

    def _tell(self, entries: int, facts: int) -> None:
        """Say online and to the log how far one came: after the rows, so that nobody believes too much."""
        self._writer.heartbeat(self.applied_us, self.position)
        if self._committed < self.position:
            self._commit()
        self.meters.entries.inc(entries)
        self.meters.facts.inc(facts)
        self.meters.lag.set(self.log.lag(CONSUMER_GROUP))
        self.meters.behind.set(max(micros_at(self.ws.clock.now()) - self.applied_us, 0) / 1_000_000)


def form_of(ws: Workspace, group: Group) -> ViewForm:
    """Return how the live rows of a group stand online."""
    dtypes = {feature.name: feature.dtype for feature in group.outputs}
    return ViewForm(ws.company.name, group.entity.key, group.live_view, Packing(dtypes, group.version))
