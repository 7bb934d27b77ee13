"""The event log read by the nights, sealed at their cutoff; what a published night holds is dropped from it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from infra.clock import Nights, cutoff, start_of
from infra.company.source import Source
from infra.log.event_log import Entry, EventLog
from infra.log.open import event_log
from infra.telemetry import Log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY, EPOCH_DAY, micros
from validation.bronze.dead_letters import DEAD_LETTER, DEAD_LETTERS, as_dead_letters
from validation.bronze.plan import Plan
from validation.sources.log import TOLERANCE, raw_rows, raw_schema

LOG = Log(__name__)

PAGE = 10_000


@dataclass(frozen=True)
class LoggedRows:
    """What the log held: raw rows per source, and the dead letters, with the nights that these own."""

    rows: Mapping[str, pa.Table]
    dead_letters: tuple[Nights, pa.Table] | None = None


def drain(ws: Workspace, plans: Sequence[Plan], history: Nights) -> LoggedRows:
    """Return what the log accepted for some sources by the cutoff of the last night, after which it accepts nothing.

    Raises
    ------
    Transient
        The log does not answer.
    """
    newest = ws.lake.newest(DEAD_LETTERS)
    nights = Nights(newest + DAY if newest else history.first, history.last)
    open_nights = [plan.nights.first if plan.closed else EPOCH_DAY for plan in plans]
    open_nights += [nights.first if newest else EPOCH_DAY] if len(nights) else []
    rows: dict[str, list[pa.Table]] = {plan.source.name: [raw_schema(plan.source).empty_table()] for plan in plans}
    sources = {plan.source.name: plan.source for plan in plans}
    known = {source.name for source in ws.company.sources if source.streamed}
    dead_letters = [DEAD_LETTER.empty_table()]
    with event_log(ws) as log:
        log.seal(micros(cutoff(history.last)))
        for entries in pages(log, micros(start_of(min(open_nights)) - TOLERANCE), micros(cutoff(history.last))):
            by_source: dict[str, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_source[entry.source].append(entry)
            for name in by_source.keys() & sources.keys():
                rows[name].append(raw_rows(sources[name], by_source[name]))
            others = [entry for entry in entries if entry.source not in known]
            dead_letters.append(
                as_dead_letters([one for one in others if one.accepted_us >= floor_of(nights, newest)], nights)
            )
    found = {name: pa.concat_tables(tables) for name, tables in rows.items()}
    read, refused = sum(table.num_rows for table in found.values()), sum(table.num_rows for table in dead_letters)
    LOG.info("drained", nights=nights, entries=read, refused=refused)
    return LoggedRows(found, (nights, pa.concat_tables(dead_letters)) if len(nights) else None)


def floor_of(nights: Nights, newest: date | None) -> int:
    """Return the moment from which dead letters belong to some nights; the first of all own what came before."""
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


def rows_per_day(rows: pa.Table) -> dict[str, int]:
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
    for table in (*(f"bronze/{source.name}" for source in sources), DEAD_LETTERS):
        if (newest := ws.lake.newest(table)) is None or newest < published:
            raise Rejected(table, f"a night that holds what the log drops, {published}", str(newest), "Run the night.")
    with event_log(ws) as log:
        return log.trim(micros(cutoff(published) - TOLERANCE))
