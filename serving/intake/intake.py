"""Events on their way into the log: judged by the gate, durable when they are acknowledged.

While the log is away they are spooled on disk, and appended in their order when it is back; their event ids make one
event of what may have arrived twice.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.company.source import Source
from infra.telemetry import Log, cause_of
from infra.workspace import Workspace
from rapport_feast.errors import RapportError
from serving.errors import Overloaded, ServiceStarting, UnknownSource
from serving.forms.events import EventsResponse
from serving.intake.events import split_events
from serving.intake.spool import SPOOL_BYTES
from serving.intake.writer import EventBatch, EventWriter
from validation.contracts.event_schema import event_schema

LOG = Log(__name__)

T = TypeVar("T")
THREADS = 2
MAX_PENDING_BYTES = 64_000_000
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class PendingEvents:
    """A request whose events are not written yet, and where its response is awaited."""

    batch: EventBatch
    size: int
    response: "asyncio.Future[tuple[int, EventsResponse]]"


class Intake:
    """The one way by which HTTP brings events into the log.

    What comes while others are being written goes in together with the next. The threads are its own: a log that hangs
    must not keep the service from anything else.

    Parameters
    ----------
    ws
        The company's workspace.
    spool_bytes
        The limit of the spool.
    """

    def __init__(self, ws: Workspace, *, spool_bytes: int = SPOOL_BYTES) -> None:
        self.ws = ws
        self.sources = {source.name: source for source in ws.company.sources if source.streamed}
        self.log_error = ""
        """Why the log is away, if it is."""
        self._writer = EventWriter(ws, spool_bytes)
        self._threads = ThreadPoolExecutor(THREADS, "intake")
        self._stop = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._pending: list[PendingEvents] = []
        self._pending_bytes = 0

    def start(self) -> None:
        """Join the log and drain what waits for it, as long as the service runs; a company without streams has none."""
        if self.sources:
            self._draining = asyncio.create_task(self._keep_draining())

    async def close(self) -> None:
        """Leave the log; what could not be drained waits on disk for the next process."""
        self._stop.set()
        for task in (self._writing, self._draining):
            if task is not None:
                await task
        await self._in_thread(self._writer.close)
        self._threads.shutdown()

    async def take(self, source: str, body: bytes) -> tuple[int, EventsResponse]:
        """Take the events of a request.

        Returns
        -------
        status, response
            202: all are durable. 422: those listed under ``refused`` were refused, the others are durable.

        Raises
        ------
        UnknownSource
            There is no such streamed source.
        MalformedBody
            The body holds no event.
        Transient
            The service is starting (``ServiceStarting``), too many events wait (``Overloaded``), or the log is away
            and the spool takes no more (``SpoolFull``, ``SpoolUnusable``): nothing was taken.
        """
        self._find(source)
        batch = EventBatch(source, split_events(body))
        if not self._writer.is_open:
            raise ServiceStarting(self.log_error or "The service is still opening the event log.")
        if self._pending_bytes + len(body) > MAX_PENDING_BYTES:
            raise Overloaded("More events wait for the log than the service holds.")
        request = PendingEvents(batch, len(body), asyncio.get_running_loop().create_future())
        self._pending.append(request)
        self._pending_bytes += request.size
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_pending())
        return await request.response

    def schema(self, source: str) -> dict[str, Any]:
        """Return the JSON Schema of the events of a source.

        Raises
        ------
        UnknownSource
            There is no such streamed source.
        """
        return event_schema(self._find(source))

    def _find(self, source: str) -> Source:
        if source not in self.sources:
            known = ", ".join(self.sources) or "none, the company streams nothing"
            raise UnknownSource("source", f"a streamed one: {known}", source)
        return self.sources[source]

    async def _write_pending(self) -> None:
        """Write what is pending, all of it at once, until nothing is."""
        while self._pending:
            requests, self._pending = self._pending, []
            batches = [request.batch for request in requests]
            try:
                responses = await self._in_thread(lambda batches=batches: self._writer.write(batches))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - it belongs to those who wait for it
                responses = [error] * len(requests)
            for request, response in zip(requests, responses, strict=True):
                self._pending_bytes -= request.size
                if request.response.done():  # the client has gone
                    continue
                if isinstance(response, Exception):
                    request.response.set_exception(response)
                else:
                    request.response.set_result(response)

    async def _keep_draining(self) -> None:
        while not self._stop.is_set():
            try:
                if not self._writer.is_open:
                    await self._in_thread(self._writer.open)
                await self._in_thread(self._writer.drain)
                if self.log_error:
                    LOG.info("event log back")
                self.log_error = ""
            except RapportError as error:
                if not self.log_error:  # said once, not at every try
                    LOG.warning("event log away", **cause_of(error), spooled=self._writer.spooled)
                self.log_error = str(error)
                await self._in_thread(self._writer.leave_log)
            try:
                await asyncio.wait_for(self._stop.wait(), RETRY_SECONDS)
            except TimeoutError:
                continue

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
