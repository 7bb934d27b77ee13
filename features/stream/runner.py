"""The stream runner: folds the event log into live values and publishes them, in log time (rules T8, T9, V5, V8).

Comes after the log and the door, before the online store. What it keeps can be lost at any moment: the local store
follows from the lake at the last published night and the log since, and an online row from what is known alone, so
a runner that is killed and starts again, or was down for an hour, ends with the same rows. Log time moves with every
entry, and while nothing happens by seals: then the log promises to accept nothing before that moment any more.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from features.catalogue import groups_of
from features.compute.windowing import micros_of
from features.declare.group import Group
from features.store.published import path_of
from features.stream.local_store import LocalStore, cutoff_us
from features.stream.metrics import StreamMetrics
from features.stream.publisher import Publisher
from infra.engine.engine import Engine
from infra.log.event_log import Entry, EventLog
from infra.telemetry import Log, cause_of
from infra.workspace import Workspace
from rapport_feast.errors import Rejected, Transient
from rapport_feast.publications import read_record
from rapport_feast.row.address import OnlineStore
from rapport_feast.times import micros as micros_at
from validation.door.door import Door
from validation.sources.log import TOLERANCE

LOG = Log(__name__)

# Name under which the log keeps how far the runner came.
CONSUMER_GROUP = "stream"
BATCH_LIMIT = 10_000
IDLE_SECONDS = 0.5
CHECK_SECONDS = 5.0
BACK_OFF_SECONDS = (0.1, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class StepResult:
    """What one step did: entries read, facts that were new, rows written."""

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

    Attributes
    ----------
    position
        Position in the log of the last entry applied.
    applied_us
        Log time up to which everything is applied, microseconds.
    stopping
        Set it to end ``run``.
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
        self.metrics, self.stopping = StreamMetrics(), threading.Event()
        self.position = self.applied_us = self._committed = 0
        self._door, self._publisher = Door(ws.company), Publisher(ws, online, self.groups, self.metrics)
        self._checked = 0.0
        self._store: LocalStore | None = None
        # Spark applies batches and, between them, lets time pass, from two threads.
        self._lock, self._refilling = threading.Lock(), threading.Thread()

    @property
    def store(self) -> LocalStore:
        """The local store; opened at the first use."""
        if self._store is None:
            self.open(self._newest_night())
        assert self._store is not None  # noqa: S101
        return self._store

    def start(self) -> int:
        """Open the local store and publish what it knows; return the position behind which to go on.

        Raises
        ------
        Rejected
            No night was published yet.
        """
        return self.position if self.store else 0

    def run(self) -> None:
        """Run until ``stopping`` is set: what was read by then is applied and published first.

        Before the first night is published there is nothing to start from, and it waits.
        """
        self.repeat(lambda: self.step(IDLE_SECONDS))
        self.close()

    def repeat(self, step: Callable[[], object]) -> None:
        """Repeat a step until ``stopping`` is set; whenever the log or the store is silent, back off and try again."""
        failures = 0
        while not read_record(path_of(self.ws)).nights and not self.stopping.wait(CHECK_SECONDS):
            continue
        while not self.stopping.is_set():
            try:
                step()
                failures = 0
            except Transient as error:
                self.metrics.waits.inc()
                LOG.warning("waiting", **cause_of(error), attempt=failures + 1)
                self._publisher.close()
                self.stopping.wait(BACK_OFF_SECONDS[min(failures, len(BACK_OFF_SECONDS) - 1)])
                failures += 1

    def close(self) -> None:
        """Give back what the runner holds; the log and the store stay."""
        if self._refilling.is_alive():
            self._refilling.join()
        self._publisher.close()
        self._door.close()
        if self._store is not None:
            self._store.close()
            self._store = None

    def step(self, wait_seconds: float = 0.0) -> StepResult:
        """Apply what the log holds, at most a batch of it, and what is due; publish, and commit the position.

        A step that fails leaves off where it failed; the next one goes on there.

        Parameters
        ----------
        wait_seconds
            How long to wait for entries where there are none.

        Raises
        ------
        Transient
            The log or the online store does not answer.
        """
        with self._lock:
            self._check_state()
            rows = self._publisher.flush()
            entries = self.log.read(self.position, BATCH_LIMIT, self._wait_seconds(wait_seconds))
            return self._apply(entries, rows)

    def apply(self, entries: Sequence[Entry]) -> StepResult:
        """Apply entries that were read elsewhere, in the order of the log; those that were applied before are skipped.

        Raises
        ------
        Transient
            The log or the online store does not answer.
        """
        with self._lock:
            self._check_state()
            rows = self._publisher.flush()
            return self._apply([entry for entry in entries if entry.position > self.position], rows)

    def drain(self) -> None:
        """Apply everything that the log holds now, for tests and for a runner that is to end with an empty log."""
        while self.step().entries:
            continue

    def open(self, night: date) -> None:
        """Start from a published night and the log since; publish whatever of it is not online as it stands.

        At a hand-over this changes no value: what the night holds is what the log said.
        """
        store = LocalStore(self.ws, self.groups, night, self.engine)
        # An event that was dated ahead was held, perhaps into the next day; what the night knows is known already.
        position, moment = self.log.since(cutoff_us(night) - micros_of(TOLERANCE)), cutoff_us(night)
        until = max(self.position, (self.log.end() or (0, 0))[0] if not self.position else 0)
        while position < until and (entries := self.log.read(position, BATCH_LIMIT)):
            entries = [entry for entry in entries if entry.position <= until]
            if not entries:
                break
            self._admit(store, entries)
            position, moment = entries[-1].position, max(moment, entries[-1].accepted_us)
        moment = max(moment, self.applied_us)
        for _values in store.advance(moment):
            pass  # every value is published below, whether it changed or not
        former, self._store = self._store, store
        if former is not None:
            former.close()
        self.position, self.applied_us = max(position, self.position), moment
        self._publisher.replace_pending(store.all_values())
        self._publisher.flush()
        self._commit()
        self._publisher.heartbeat(self.applied_us, self.position)

    def _apply(self, entries: Sequence[Entry], rows: int) -> StepResult:
        moment = entries[-1].accepted_us if entries else self._seal()
        if moment is None:
            return StepResult(0, 0, rows)
        facts = self._admit(self.store, entries)
        self._publisher.replace_pending(self.store.advance(moment))
        self.applied_us = moment
        self.position = entries[-1].position if entries else self.position
        rows += self._publisher.flush()
        self._report(len(entries), facts)
        LOG.debug("turn", entries=len(entries), rows=rows)
        return StepResult(len(entries), facts, rows)

    def _admit(self, store: LocalStore, entries: Sequence[Entry]) -> int:
        """Insert what the door admits of entries; return how many facts were new."""
        admitted = self._door.admit(entries)
        for _entry, reason in admitted.refused:
            self.metrics.poison.labels(reason.partition(":")[0]).inc()
        return store.insert(admitted.rows)

    def _seal(self) -> int | None:
        """Move log time to now though nothing happened; None if it would not move, or something just came."""
        now = micros_at(self.ws.clock.now())
        if now <= self.applied_us:
            return None
        self.log.seal(now)
        end = self.log.end()
        return now if end is None or end[0] <= self.position else None

    def _wait_seconds(self, wait_seconds: float) -> float:
        """Return how long to wait for entries: no longer than until something is due."""
        due = self.store.next_due_us()
        if due is None:
            return wait_seconds
        return min(wait_seconds, max((due - micros_at(self.ws.clock.now())) / 1_000_000, 0.0))

    def _report(self, entries: int, facts: int) -> None:
        """Publish how far the stream came: after the rows, or a reader would take older ones for current."""
        self._publisher.heartbeat(self.applied_us, self.position)
        if self._committed < self.position:
            self._commit()
        self.metrics.entries.inc(entries)
        self.metrics.facts.inc(facts)
        self.metrics.lag.set(self.log.lag(CONSUMER_GROUP))
        self.metrics.behind.set(max(micros_at(self.ws.clock.now()) - self.applied_us, 0) / 1_000_000)

    def _commit(self) -> None:
        self.log.commit(CONSUMER_GROUP, self.position)
        self._committed = self.position

    def _newest_night(self) -> date:
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

    def _check_state(self) -> None:
        """Every few seconds: take over a night that was published, and fill a store that lost everything."""
        store = self.store
        if time.monotonic() - self._checked < CHECK_SECONDS:
            return
        self._checked = time.monotonic()
        night = self._newest_night()
        if night > store.night and self.applied_us >= cutoff_us(night):
            self.open(night)
            self.metrics.hand_overs.inc()
            LOG.info("night taken over", night=night)
            self.log.trim(cutoff_us(night) - micros_of(TOLERANCE))
        elif not self._publisher.is_filled():
            self._publisher.replace_pending(store.all_values())
            if not self._refilling.is_alive():
                self._refilling = threading.Thread(target=self._refill_nightly, name="refill")
                self._refilling.start()

    def _refill_nightly(self) -> None:
        """Have the nightly rows published again, in a thread: the live ones do not wait for them."""
        # It brings Feast, which the stream itself does without.
        from features.store.publish import refill_if_empty

        while not self.stopping.is_set():
            try:
                refill_if_empty(self.ws)
                return
            except Transient:
                self.metrics.waits.inc()
                self.stopping.wait(BACK_OFF_SECONDS[-1])
