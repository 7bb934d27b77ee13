"""Events into the log or, while that is away, onto the spool: judged first, and durable when this returns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

from infra.log.event_log import Entry, EventLog
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.errors import RapportError, Transient
from rapport_feast.times import micros
from serving.errors import ServiceClosing
from serving.forms.events import EventsResponse
from serving.intake.spool import SPOOL_BYTES, Spool

if TYPE_CHECKING:
    from validation.door.door import Door


@dataclass(frozen=True)
class EventBatch:
    """The events of one request: their source and their payloads."""

    source: str
    payloads: Sequence[bytes]


class EventWriter:
    """What blocks of the intake: the gate's verdicts, the log and the spool. It runs in threads of the intake.

    Parameters
    ----------
    ws
        The company's workspace.
    spool_bytes
        The limit of the spool.
    """

    def __init__(self, ws: Workspace, spool_bytes: int = SPOOL_BYTES) -> None:
        self.ws = ws
        self.is_open = False
        self._spool_bytes = spool_bytes
        self._door: Door | None = None
        self._spool: Spool | None = None
        self._log: EventLog | None = None
        self._log_resources = ExitStack()

    def open(self) -> None:
        """Open the gate and the spool, if that is not done, and join the log if it is there.

        Raises
        ------
        SpoolUnusable
            The spool cannot be opened.
        """
        from validation.door.door import Door  # DuckDB comes with it: not before somebody streams

        self._spool = self._spool or Spool(self.ws.folder("spool"), self._spool_bytes)
        self._door = self._door or Door(self.ws.company)
        with suppress(RapportError):  # the first drain says what is wrong
            self._join_log()
        self.is_open = True

    def close(self) -> None:
        """Leave the log; what could not be drained waits on disk for the next process."""
        self.is_open = False
        self.leave_log()
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        if self._door is not None:
            self._door.close()
            self._door = None

    @property
    def spooled(self) -> int:
        """How many bytes wait on disk for the log."""
        return len(self._spool) if self._spool else 0

    def write(self, batches: Sequence[EventBatch]) -> list[tuple[int, EventsResponse] | Exception]:
        """Judge and write the events of some requests, those of one source together.

        Returns
        -------
        list
            For each request the HTTP status and what became of its events, or why nothing of it was taken.

        Raises
        ------
        ServiceClosing
            The writer is closed.
        """
        rejected = self._judge(batches)
        accepted = [
            [payload for row, payload in enumerate(batch.payloads) if row not in reasons]
            for batch, reasons in zip(batches, rejected, strict=True)
        ]
        written: dict[str, Iterator[int] | Transient | None] = {}
        for source in dict.fromkeys(batch.source for batch in batches):
            payloads = [
                payload
                for batch, good in zip(batches, accepted, strict=True)
                if batch.source == source
                for payload in good
            ]
            try:
                positions = self._append_or_spool(source, payloads)
                written[source] = None if positions is None else iter(positions)
            except Transient as error:
                written[source] = error
        return [
            events_response(len(good), reasons, written[batch.source])
            for batch, good, reasons in zip(batches, accepted, rejected, strict=True)
        ]

    def drain(self) -> None:
        """Join the log if that is not done, and append what is spooled.

        Raises
        ------
        Transient
            The log is away, or the spool cannot be read.
        """
        log = self._join_log()
        while self.is_open and self._spool is not None and (waiting := self._spool.first()) is not None:
            last, records = waiting
            for source, run in groupby(records, key=lambda record: record[0]):
                log.append(source, [payload for _, payload in run])
            self._spool.done(last)

    def leave_log(self) -> None:
        """Leave the log, to join it anew: an embedded one that was killed is started by that."""
        self._log = None
        former, self._log_resources = self._log_resources, ExitStack()
        with suppress(RapportError):  # it is gone already
            former.close()

    def _judge(self, batches: Sequence[EventBatch]) -> list[dict[int, str]]:
        """Return per request which of its rows the gate rejects, and why."""
        if self._door is None:
            raise ServiceClosing("The service is closing.")
        now = micros(self.ws.clock.now())
        places = [(at, row) for at, batch in enumerate(batches) for row in range(len(batch.payloads))]
        entries = [
            Entry(number, now, batches[at].source, batches[at].payloads[row]) for number, (at, row) in enumerate(places)
        ]
        rejected: list[dict[int, str]] = [{} for _ in batches]
        for entry, reason in self._door.admit(entries).refused:
            at, row = places[entry.position]
            rejected[at][row] = reason
        return rejected

    def _append_or_spool(self, source: str, payloads: Sequence[bytes]) -> list[int] | None:
        """Append events, or spool them while the log is away or others wait before them; None says the latter."""
        if not payloads:
            return []
        if self._spool is None:
            raise ServiceClosing("The service is closing.")
        if self._log is not None and not len(self._spool):
            try:
                return self._log.append(source, payloads)
            except Transient:
                pass  # perhaps they arrived all the same: then they arrive twice, and their ids make one of two
        self._spool.add([(source, payload) for payload in payloads])
        return None

    def _join_log(self) -> EventLog:
        if self._log is None:
            resources = ExitStack()
            log = resources.enter_context(event_log(self.ws))
            self._log_resources, self._log = resources, log
        return self._log


def events_response(
    accepted: int, rejected: Mapping[int, str], written: Iterator[int] | Transient | None
) -> tuple[int, EventsResponse] | Exception:
    """Return the HTTP status and body for one request.

    Parameters
    ----------
    accepted
        How many of its events the gate let in.
    rejected
        Row = why the gate did not.
    written
        The positions of all accepted events of its source, from which this request takes its own; None if they were
        spooled; or why they could not be written.
    """
    if accepted and isinstance(written, Transient):
        return written
    response: EventsResponse = {
        "accepted": accepted,
        "positions": list(islice(written, accepted)) if accepted and isinstance(written, Iterator) else [],
        "spooled": bool(accepted) and written is None,
        "refused": [{"row": row, "reason": reason} for row, reason in rejected.items()],
    }
    if rejected:
        response["error"] = {"message": f"{len(rejected)} of {accepted + len(rejected)} events were refused."}
    return (422 if rejected else 202), response
