"""Events on their way into the log: judged by the door, durable when they are acknowledged.

While the log is away they are spooled on disk, and appended in their order when it is back; their event ids make one
event of what may have arrived twice.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, TypeVar

from infra.company.source import Source
from infra.log.event_log import Entry, EventLog
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.errors import RapportError, Transient
from rapport_feast.times import micros
from serving.errors import UnknownName
from serving.forms.events import EventsResponse
from serving.intake.events import split_events
from serving.intake.spool import SPOOL_BYTES, Spool
from validation.contracts.event_schema import event_schema

if TYPE_CHECKING:
    from validation.door.door import Door

T = TypeVar("T")
THREADS = 2
WAITING_BYTES = 64_000_000
RETRY_SECONDS = 0.5


@dataclass
class PendingEvents:
    """A request: its source, its events, and where the answer is awaited."""

    source: str
    payloads: list[bytes]
    size: int
    answer: "asyncio.Future[tuple[int, EventsResponse]]"


class Intake:
    """The one way by which HTTP brings events into the log.

    What comes while others are being written goes in together with the next. The threads are its own: a log that hangs
    must not keep the service from anything else.
    """

    def __init__(self, ws: Workspace, *, spool_bytes: int = SPOOL_BYTES) -> None:
        self.ws = ws
        self.sources = {source.name: source for source in ws.company.sources if source.streamed}
        self._spool_bytes = spool_bytes
        self._pool = ThreadPoolExecutor(THREADS, "intake")
        self._door: Door | None = None
        self._spool: Spool | None = None
        self._log: EventLog | None = None
        self._held = ExitStack()
        self.fault = ""
        """Why the log is away, if it is."""
        self._stop = asyncio.Event()
        self._drain: asyncio.Task[None] | None = None
        self._work: asyncio.Task[None] | None = None
        self._waiting: list[PendingEvents] = []
        self._waiting_bytes = 0

    @property
    def spooled(self) -> int:
        """How many bytes wait on disk for the log."""
        return len(self._spool) if self._spool else 0

    def start(self) -> None:
        """Join the log and drain what waits for it, as long as the service runs; a company without streams has none."""
        if self.sources:
            self._drain = asyncio.create_task(self._keep_draining())

    async def close(self) -> None:
        """Leave the log; what could not be drained waits on disk for the next process."""
        self._stop.set()
        for task in (self._work, self._drain):
            if task is not None:
                await task
        await self._in_thread(self._leave)
        if self._spool is not None:
            await self._in_thread(self._spool.close)
        if self._door is not None:
            self._door.close()
            self._door = None
        self._pool.shutdown()

    async def take(self, source: str, body: bytes) -> tuple[int, EventsResponse]:
        """Take the events of a request; returns the HTTP status and what became of them.

        202: all are durable. 422: those listed under ``refused`` were refused, the others are durable.

        Raises
        ------
        Rejected
            There is no such streamed source (``UnknownName``), or the body holds no event (``MalformedBody``).
        Transient
            The service is starting; or the log is away and the spool full: nothing was taken.
        """
        self._find(source)
        payloads = split_events(body)
        if self._door is None:
            raise Transient("The service is still opening the event log.")
        if self._waiting_bytes + len(body) > WAITING_BYTES:
            raise Transient("More events wait for the log than the service holds.")
        asked = PendingEvents(source, payloads, len(body), asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._waiting_bytes += asked.size
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._write_waiting())
        return await asked.answer

    def schema(self, source: str) -> dict[str, Any]:
        """Return the JSON Schema of the events of a source.

        Raises
        ------
        Rejected
            There is no such streamed source (``UnknownName``).
        """
        return event_schema(self._find(source))

    def _find(self, source: str) -> Source:
        if source not in self.sources:
            known = ", ".join(self.sources) or "none, the company streams nothing"
            raise UnknownName("source", f"a streamed one: {known}", source)
        return self.sources[source]

    async def _write_waiting(self) -> None:
        """Judge and write what waits, all of it at once, until nothing does."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                answers = await self._in_thread(lambda batch=batch: self._take(batch))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - whoever asked is told
                answers = [error] * len(batch)
            for asked, answer in zip(batch, answers, strict=True):
                self._waiting_bytes -= asked.size
                if asked.answer.done():  # who asked has gone
                    continue
                if isinstance(answer, Exception):
                    asked.answer.set_exception(answer)
                else:
                    asked.answer.set_result(answer)

    def _take(self, batch: Sequence[PendingEvents]) -> list[tuple[int, EventsResponse] | Exception]:
        """Return what became of some requests; those of a source are written together."""
        refused = self._judged(batch)
        good = [
            [one for row, one in enumerate(asked.payloads) if row not in no]
            for asked, no in zip(batch, refused, strict=True)
        ]
        written: dict[str, Iterator[int] | Transient | None] = {}
        for source in dict.fromkeys(asked.source for asked in batch):
            split_events = [
                one for asked, some in zip(batch, good, strict=True) if asked.source == source for one in some
            ]
            try:
                positions = self._kept(source, split_events)
                written[source] = None if positions is None else iter(positions)
            except Transient as error:
                written[source] = error
        return [
            events_response(len(asked.payloads), len(some), no, written[asked.source])
            for asked, some, no in zip(batch, good, refused, strict=True)
        ]

    def _judged(self, batch: Sequence[PendingEvents]) -> list[dict[int, str]]:
        """Return per request which of its rows the door refuses, and why."""
        if self._door is None:
            raise Transient("The service is closing.")
        now = micros(self.ws.clock.now())
        rows = [(number, row, asked) for number, asked in enumerate(batch) for row in range(len(asked.payloads))]
        entries = [Entry(at, now, asked.source, asked.payloads[row]) for at, (_, row, asked) in enumerate(rows)]
        refused: list[dict[int, str]] = [{} for _ in batch]
        for entry, reason in self._door.admit(entries).refused:
            number, row, _ = rows[entry.position]
            refused[number][row] = reason
        return refused

    def _kept(self, source: str, payloads: Sequence[bytes]) -> list[int] | None:
        """Append events, or spool them while the log is away or others wait before them; None says the latter."""
        if not payloads:
            return []
        if self._spool is None:
            raise Transient("The service is closing.")
        if self._log is not None and not len(self._spool):
            try:
                return self._log.append(source, payloads)
            except Transient:
                pass  # perhaps they arrived all the same: then they arrive twice, and count once
        self._spool.add([(source, payload) for payload in payloads])
        return None

    async def _keep_draining(self) -> None:
        spool = await self._in_thread(self._open)
        while not self._stop.is_set():
            try:
                await self._in_thread(lambda: self._drain_once(spool))
                self.fault = ""
            except RapportError as error:
                self.fault = str(error)
                await self._in_thread(self._leave)
            try:
                await asyncio.wait_for(self._stop.wait(), RETRY_SECONDS)
            except TimeoutError:
                continue

    def _open(self) -> Spool:
        from validation.door.door import Door  # DuckDB comes with it: not before somebody streams

        spool, door = Spool(self.ws.folder("spool"), self._spool_bytes), Door(self.ws.company)
        with suppress(RapportError):  # the next attempt says what is wrong
            self._join()
        self._spool, self._door = spool, door
        return spool

    def _join(self) -> EventLog:
        if self._log is None:
            fresh = ExitStack()
            log = fresh.enter_context(event_log(self.ws))
            self._held, self._log = fresh, log
        return self._log

    def _drain_once(self, spool: Spool) -> None:
        """Join the log if that is not done, and append what waits."""
        log = self._join()
        spool.adopt()
        while not self._stop.is_set() and (found := spool.first()) is not None:
            segment, records = found
            for source, run in groupby(records, key=lambda record: record[0]):
                log.append(source, [payload for _, payload in run])
            spool.done(segment)

    def _leave(self) -> None:
        """Leave the log, to join it anew: an embedded one that was killed is started by that."""
        self._log = None
        former, self._held = self._held, ExitStack()
        with suppress(RapportError):  # it is gone already
            former.close()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def events_response(
    asked: int, good: int, refused: Mapping[int, str], written: Iterator[int] | Transient | None
) -> tuple[int, EventsResponse] | Exception:
    """Return the answer to a request of ``asked`` events, ``good`` of which were written."""
    if good and isinstance(written, Transient):
        return written
    taken: EventsResponse = {
        "accepted": good,
        "positions": list(islice(written, good)) if good and isinstance(written, Iterator) else [],
        "spooled": bool(good) and written is None,
        "refused": [{"row": row, "reason": reason} for row, reason in refused.items()],
    }
    if refused:
        taken["error"] = {"message": f"{len(refused)} of {asked} events were refused."}
    return (422 if refused else 202), taken
