"""What has arrived: the files of every source, the nights that they cover, and what was seen of them before.

Comes before ``ingest.py``, which reads what this module finds.
"""

import glob
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from infra.clock import DAY, Nights, cutoff, parse_night
from infra.company import Source
from infra.errors import Rejected
from infra.event_log import EPOCH, event_log
from infra.lake import Commit, Lake
from infra.workspace import Workspace
from validation.parse import typed
from validation.sources import adapter
from validation.sources.base import find_column

Fingerprints = Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class Arrival:
    """One file of a source; ``night`` is the day on which it was delivered, where the source delivers nightly."""

    name: str
    path: Path
    night: date | None

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of change: what tells cheaply that a file may have changed."""
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def digest(self) -> str:
        """Return the digest of the file's bytes."""
        with self.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()


@dataclass(frozen=True)
class Whole:
    """A source that is one whole history, with the files as they stand: the key under which its span is kept."""

    told: str
    files: tuple[tuple[Arrival, tuple[int, int]], ...]
    source: Source = field(compare=False)


def pattern(ws: Workspace, source: Source) -> str:
    """Return a source's path with the folders filled in; a relative one starts at the company file."""
    folders = {"world": ws.root / "world", "public": ws.settings.public_data.resolve(), "night": "{night}"}
    return str(ws.settings.company.resolve().parent / source.path.format(**folders))


def arrivals(ws: Workspace, source: Source) -> list[Arrival]:
    """Return the files of a source that are there, in the order of their nights and names; a streamed one has none."""
    if source.streamed:
        return []
    path = pattern(ws, source)
    folder = Path(re.split(r"[^/]*[*?\[{]", path)[0] if re.search(r"[*?\[{]", path) else str(Path(path).parent))
    named = (
        re.compile(re.escape(path).replace(re.escape("{night}"), r"(\d{4}-\d{2}-\d{2})")) if source.nightly else None
    )
    found = []
    for text in sorted(glob.glob(path.replace("{night}", "[0-9]*"))):
        match = named.fullmatch(text) if named else None
        if match or not named:
            night = parse_night(match[1]) if match else None
            found.append(Arrival(str(Path(text).relative_to(folder)), Path(text), night))
    return found


def refuse_missing(ws: Workspace) -> None:
    """Refuse a company whose sources have no file at all, in one sentence that names all of them.

    Raises
    ------
    Rejected
        Some sources have no file.
    """
    absent = [source for source in filed(ws) if not arrivals(ws, source)]
    if not absent:
        return
    expected = [
        f"{pattern(ws, source)}" + (f" published by {publisher}" if (publisher := adapter(source).publisher) else "")
        for source in absent
    ]
    remedy = "RAPPORT_PUBLIC_DATA names the folder of public data." if "{public}" in absent[0].path else ""
    raise Rejected(
        f"source {', '.join(source.name for source in absent)}", f"the files {' and '.join(expected)}", "none", remedy
    )


def filed(ws: Workspace) -> list[Source]:
    """Return the sources that come as files."""
    return [source for source in ws.company.sources if not source.streamed]


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
    days = [covered(ws, source).first for source in filed(ws)]
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
    if not (sources := filed(ws)):
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
    whole = Whole(source.model_dump_json(), tuple((file, file.stamp) for file in files), source)
    first, last = _span(ws.lake, whole, ws.clock.now().date())
    return Nights(first, max(last, source.complete_through) if source.complete_through else last)


@lru_cache(maxsize=8)
def _span(lake: Lake, whole: Whole, today: date) -> tuple[date, date]:
    """Return the first day of a whole file and the day before its newest record's, the future left out."""
    source = whole.source
    rows = read(source, [file for file, _ in whole.files])
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


def availability(source: Source) -> str:
    """Return SQL of the moment at which a raw row became available: rule T1, null where its text cannot be read."""
    lag = source.lag // timedelta(microseconds=1)
    return f"{typed('time', adapter(source).available(source), source.shift_weeks)} + INTERVAL '{lag} microseconds'"


def read(source: Source, files: Iterable[Arrival]) -> pa.Table:
    """Return the rows of files as text, with ``_file``, ``_position`` and ``_night`` (null for a whole history).

    Raises
    ------
    Rejected
        A file cannot be read, lacks a column, or holds fewer rows than the source must.
    """
    reader = adapter(source)
    columns = reader.columns(source)
    if unstated := {"event_id", "event_time"} - set(columns):
        raise Rejected(
            f"source {source.name}, columns", "a column of the file for event_id and event_time", f"no {min(unstated)}"
        )
    tables = []
    for file in files:
        rows = reader.read(file.path)
        if source.nightly and rows.num_rows < source.min_rows:
            raise Rejected(f"file {file.name}", f"at least {source.min_rows} row(s)", str(rows.num_rows))
        missing = [name for name in reader.needs(source) if name not in rows.column_names]
        if missing and (rows.num_rows or rows.num_columns > 1):
            raise find_column(file.path, missing, rows.column_names)
        rows = rows.append_column("_file", pa.repeat(pa.scalar(file.name), rows.num_rows))
        rows = rows.append_column("_position", pa.array(range(rows.num_rows), pa.int64()))
        tables.append(rows.append_column("_night", pa.repeat(pa.scalar(file.night, pa.date32()), rows.num_rows)))
    # A night of empty files, or whose records leave a key out, still has the columns that the company file names.
    named = {*source.columns.values(), *([source.available] if source.available else [])}
    tables.append(pa.schema([(name, pa.string()) for name in sorted(named)]).empty_table())
    return reader.derive(pa.concat_tables(tables, promote_options="default"))


def seen(lake: Lake, table: str) -> Fingerprints:
    """Return what the commits of a bronze table noted of files."""
    return noted(lake.commits(table))


def noted(commits: Sequence[Commit]) -> Fingerprints:
    """Return what commits, newest first, noted of files: name = size, time of change, digest; the newest wins."""
    files: dict[str, Sequence[object]] = {}
    for commit in reversed(commits):
        files |= (commit.notes or {}).get("files", {})
    return files


def changed(files: Sequence[Arrival], known: Fingerprints) -> list[Arrival]:
    """Return the files that are new or whose bytes differ from what was seen of them."""
    moved = [file for file in files if tuple(known.get(file.name, ())[:2]) != file.stamp]
    return [file for file in moved if [*known.get(file.name, ())][2:] != [file.digest()]]


def fingerprints(files: Iterable[Arrival]) -> dict[str, list[object]]:
    """Return what is kept of files, to know them again."""
    return {file.name: [*file.stamp, file.digest()] for file in files}
