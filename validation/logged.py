"""The event log read by the nights: what it accepted becomes bronze, and what no source knows is set aside.

A night seals the log at its cutoff before it reads: nothing is accepted at or before that moment any more, whatever
clock an appender has, so a night that is closed has seen all that it ever will (rule T4).
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

import pyarrow as pa

from infra.clock import DAY, EPOCH, Nights, cutoff, start_of
from infra.company import LOG, Source
from infra.errors import Rejected
from infra.event_log import Entry, EventLog, event_log, micros
from infra.lake import Commit
from infra.workspace import Workspace
from validation.door import Door
from validation.sources.log import KEPT_BYTES, MAX_EVENT_BYTES, TOLERANCE, UNKNOWN_SOURCE, payload_of, raw, schema

STRAYS = f"quarantine/{LOG}"
PAGE = 10_000
STRAY = pa.schema(
    [
        *((name, pa.string()) for name in ("source", "file")),
        ("position", pa.int64()),
        ("ingested_at", pa.timestamp("us", "UTC")),
        *((name, pa.string()) for name in ("reason", "raw")),
        ("known_day", pa.date32()),
    ]
)


class Wanted(Protocol):
    """What is to be read of a streamed source: the nights it still has to give."""

    @property
    def source(self) -> Source:
        """The source."""
        ...

    @property
    def nights(self) -> Nights:
        """The nights."""
        ...

    @property
    def closed(self) -> date | None:
        """The last night that is closed."""
        ...


@dataclass(frozen=True)
class Logged:
    """What the log held: raw rows per source, and the strays, with the nights that these own."""

    rows: Mapping[str, pa.Table]
    strays: tuple[Nights, pa.Table] | None = None


def drain(ws: Workspace, plans: Sequence[Wanted], history: Nights) -> Logged:
    """Return what the log accepted for some sources by the cutoff of the last night, after which it accepts nothing.

    Raises
    ------
    Transient
        The log does not answer.
    """
    newest = ws.lake.newest(STRAYS)
    nights = Nights(newest + DAY if newest else history.first, history.last)
    open_nights = [plan.nights.first if plan.closed else EPOCH for plan in plans]
    open_nights += [nights.first if newest else EPOCH] if len(nights) else []
    rows: dict[str, list[pa.Table]] = {plan.source.name: [schema(plan.source).empty_table()] for plan in plans}
    sources = {plan.source.name: plan.source for plan in plans}
    known = {source.name for source in ws.company.sources if source.streamed}
    strays = [STRAY.empty_table()]
    with event_log(ws) as log:
        log.seal(micros(cutoff(history.last)))
        for entries in pages(log, micros(start_of(min(open_nights)) - TOLERANCE), micros(cutoff(history.last))):
            by_source: dict[str, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_source[entry.source].append(entry)
            for name in by_source.keys() & sources.keys():
                rows[name].append(raw(sources[name], by_source[name]))
            others = [entry for entry in entries if entry.source not in known]
            strays.append(as_strays([one for one in others if one.accepted_us >= floor_of(nights, newest)], nights))
    found = {name: pa.concat_tables(tables) for name, tables in rows.items()}
    return Logged(found, (nights, pa.concat_tables(strays)) if len(nights) else None)


def floor_of(nights: Nights, newest: date | None) -> int:
    """Return the moment from which strays belong to some nights; the first of all own what came before."""
    return micros(start_of(nights.first)) if newest else 0


def pages(log: EventLog, first_us: int, last_us: int) -> Iterable[list[Entry]]:
    """Yield the entries accepted between two moments, both included, in pages."""
    after = log.since(first_us - 1)
    while entries := log.read(after, PAGE):
        if kept := [entry for entry in entries if entry.accepted_us <= last_us]:
            yield kept
        if len(kept) < len(entries):
            return
        after = entries[-1].position


def as_strays(entries: Sequence[Entry], nights: Nights) -> pa.Table:
    """Return entries of sources that the company does not stream, as rows of quarantine."""
    moments = [datetime.fromtimestamp(0, UTC) + timedelta(microseconds=entry.accepted_us) for entry in entries]
    floor = start_of(nights.first) if len(nights) else start_of(EPOCH)
    stamps = [max(moment, floor) for moment in moments]
    columns = {
        "source": [entry.source[:KEPT_BYTES] for entry in entries],
        "file": [LOG] * len(entries),
        "position": [entry.position for entry in entries],
        "ingested_at": stamps,
        "reason": [UNKNOWN_SOURCE] * len(entries),
        "raw": [readable(entry.payload) for entry in entries],
        "known_day": [stamp.date() for stamp in stamps],
    }
    return pa.table(columns, STRAY)


def readable(payload: bytes) -> str:
    """Return a payload as text, the head of it where it is larger than an event may be."""
    return payload[: MAX_EVENT_BYTES if len(payload) <= MAX_EVENT_BYTES else KEPT_BYTES].decode("utf-8", "replace")


def keep_strays(ws: Workspace, strays: tuple[Nights, pa.Table] | None, run: str) -> None:
    """Commit the strays of some nights to a quarantine of their own."""
    if strays is not None:
        nights, rows = strays
        inputs = hashlib.sha256(repr(rows["position"].to_pylist()).encode()).hexdigest()
        ws.lake.replace(STRAYS, rows, Commit(nights, inputs, run, {"rows": rows.num_rows}), partition="known_day")


def of_days(rows: pa.Table) -> dict[str, int]:
    """Return how many rows each day has, to know later whether the log still gives them all."""
    return {str(day): count for day, count in sorted(Counter(rows["known_day"].to_pylist()).items())}


def refuse_trimmed(ws: Workspace, source: Source, lost: date, rows: int) -> None:
    """Refuse to read a damaged night again of which the log has dropped a part.

    Raises
    ------
    Rejected
        The log gives fewer entries than it gave then.
    """
    days = [(commit.notes or {}).get("days", {}) for commit in ws.lake.commits(f"bronze/{source.name}")]
    then = max((found.get(str(lost), 0) for found in days), default=0)
    if rows < then:
        remedy = "Restore the lake from a backup."
        raise Rejected(f"source {source.name}", f"the {then} entries of the log of night {lost}", str(rows), remedy)


def release(ws: Workspace, published: date) -> int:
    """Drop from the log what a published night holds and every reader has applied; returns how many entries went.

    Events that are held because they are dated ahead belong to the next night and stay.

    Raises
    ------
    Rejected
        Bronze does not hold the night.
    """
    sources = [source for source in ws.company.sources if source.streamed]
    if not sources:
        return 0
    for table in (*(f"bronze/{source.name}" for source in sources), STRAYS):
        if (newest := ws.lake.newest(table)) is None or newest < published:
            raise Rejected(table, f"a night that holds what the log drops, {published}", str(newest), "Run the night.")
    with event_log(ws) as log:
        return log.trim(micros(cutoff(published) - TOLERANCE))


def replay(ws: Workspace, source: str, night: date | None = None) -> dict[str, int]:
    """Append to the log once more what quarantine holds of a streamed source and the door would accept by now.

    So it follows a fix: of the company file, of a contract. What goes in is known from now on; what was replayed before
    or came again since is the same event by its id and counts once.

    Parameters
    ----------
    source
        The streamed source; strays that named it come along.
    night
        Only what this night set aside; by default all.

    Returns
    -------
    dict
        How many events were appended, and how many rows of quarantine are still refused.

    Raises
    ------
    Rejected
        The company streams no such source.
    Transient
        The log does not answer, or is full.
    """
    facts = {one.name: one.fact for one in ws.company.sources if one.streamed}
    if source not in facts:
        raise Rejected("source", f"a streamed one: {', '.join(facts) or 'the company has none'}", source)
    nights = Nights(night, night) if night else None
    rows = [payload_of(text) for text in quarantined(ws, f"quarantine/{facts[source]}", source, nights)]
    rows += [text.encode() for text in quarantined(ws, STRAYS, source, nights)]
    now = micros(ws.clock.now())
    entries = [Entry(place, now, source, payload) for place, payload in enumerate(rows) if payload is not None]
    with closing(Door(ws.company)) as door:
        refused = {entry.position for entry, _ in door.admit(entries).refused}
    events = [entry.payload for entry in entries if entry.position not in refused]
    with event_log(ws) as log:
        for first in range(0, len(events), PAGE):
            log.append(source, events[first : first + PAGE])
    return {"appended": len(events), "left": len(rows) - len(events)}


def quarantined(ws: Workspace, table: str, source: str, nights: Nights | None) -> list[str]:
    """Return the text of what quarantine holds of a source's events in the log."""
    if not ws.lake.exists(table):
        return []
    rows = ws.lake.read(table, nights, partition="known_day").select(["source", "file", "raw"]).to_pylist()
    return [row["raw"] for row in rows if row["source"] == source and row["file"] == LOG]
