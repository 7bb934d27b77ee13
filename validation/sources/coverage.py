"""Which nights the files of a source cover: the company's first and last night."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache

from infra.clock import Nights, cutoff
from infra.company.source import Source
from infra.lake.lake import Lake
from infra.log.open import event_log
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY, EPOCH
from validation.sources.arrivals import Arrival, arrivals, file_sources, refuse_missing
from validation.sources.read import availability, read_files


@dataclass(frozen=True)
class HistoryFiles:
    """A source that is one whole history, with the files as they stand: the key under which its span is kept."""

    description: str
    files: tuple[tuple[Arrival, tuple[int, int]], ...]
    source: Source = field(compare=False)


def first_night(ws: Workspace) -> date:
    """Return the company's first night: the first day of any of its files, else of its event log, which all share.

    Raises
    ------
    Rejected
        A source has no file or no row, or all are streamed and nothing was.
    """
    commits = [c for source in ws.company.sources for c in ws.lake.commits(f"bronze/{source.name}")]
    if commits:
        return min(commit.nights.first for commit in commits)
    refuse_missing(ws)
    days = [covered(ws, source).first for source in file_sources(ws)]
    return min(days) if days else first_logged(ws)


def first_logged(ws: Workspace) -> date:
    """Return the day on which the event log accepted its first entry.

    Raises
    ------
    Rejected
        It holds none.
    """
    with event_log(ws) as log:
        entries = log.read(0, 1)
    if not entries:
        raise Rejected("event log", "at least one event", "none", "The company's data begins with its first event.")
    return (EPOCH + timedelta(microseconds=entries[0].accepted_us)).date()


def last_night(ws: Workspace) -> date:
    """Return the company's last whole day: the newest night that every source has delivered or covers.

    The event log covers whatever day is over.

    Raises
    ------
    Rejected
        A source has no file or no row, or no night was delivered by all of them.
    """
    refuse_missing(ws)
    if not (sources := file_sources(ws)):
        return ws.clock.now().date() - DAY
    whole = [covered(ws, source).last for source in sources if not source.nightly]
    nightly = [{a.night for a in arrivals(ws, s) if a.night} for s in sources if s.nightly]
    common = set.intersection(*nightly) if nightly else set()
    if nightly and not common:
        raise Rejected("company", "a night for which every source has a file", "none")
    return min([*whole, *([max(common)] if common else [])])


def covered(ws: Workspace, source: Source) -> Nights:
    """Return the nights that the files of a source cover.

    Raises
    ------
    Rejected
        The files hold no row with an availability.
    """
    files = arrivals(ws, source)
    nights = [file.night for file in files if file.night]
    if source.nightly:
        return Nights(min(nights), max(nights))
    whole = HistoryFiles(source.model_dump_json(), tuple((file, file.stamp) for file in files), source)
    first, last = _span(ws.lake, whole, ws.clock.now().date())
    return Nights(first, max(last, source.complete_through) if source.complete_through else last)


@lru_cache(maxsize=8)
def _span(lake: Lake, whole: HistoryFiles, today: date) -> tuple[date, date]:
    """Return the first day of a whole file and the day before its newest record's, the future left out."""
    source = whole.source
    rows = read_files(source, [file for file, _ in whole.files])
    with lake.connect() as connection:
        connection.register("rows", rows)
        first, last = connection.execute(
            f"""SELECT min(moment), max(moment) FILTER (moment <= ?)
                FROM (SELECT {availability(source)} AS moment FROM rows)""",
            [cutoff(today)],
        ).fetchall()[0]
    if first is None or last is None:
        raise Rejected(
            f"source {source.name}", "rows with a time of availability", "none", "An empty source is refused."
        )
    return first.date(), last.date() - DAY
