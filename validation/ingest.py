"""Sources to bronze: text as it came, stamped once with the moment it became available (rule T1).

Comes after the outside world and ``arrivals.py``; the gate reads what it writes. A closed night is never touched again:
what arrives for it goes to the next one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import duckdb
import pyarrow as pa

from infra.clock import DAY, EPOCH, Nights, cutoff, refuse_open_night, start_of
from infra.company import Source
from infra.errors import Rejected
from infra.lake import Commit
from infra.workspace import Workspace
from validation.arrivals import (
    Arrival,
    arrivals,
    availability,
    changed,
    covered,
    fingerprints,
    first_night,
    noted,
    pattern,
    read,
    refuse_missing,
    seen,
)
from validation.logged import Logged, drain, keep_strays, of_days, refuse_trimmed
from validation.sources.base import BROKEN, literal, quoted


@dataclass(frozen=True)
class Plan:
    """What is to be read of a source: the nights it still has to give and the files that hold them.

    ``lost`` is the one closed night of these that is wanted again, because bronze was damaged there.
    """

    source: Source
    nights: Nights
    closed: date | None
    files: tuple[Arrival, ...]
    late: bool
    lost: date | None = None

    @property
    def table(self) -> str:
        """The source's bronze table."""
        return f"bronze/{self.source.name}"


def ingest(ws: Workspace, night: date, run: str = "") -> dict[str, object]:
    """Bring every source up to a night into bronze.

    A fresh company's first run owns all days up to the night, a later one the nights since the last; a night that is
    closed already stays as it is. Either everything could be read, or nothing is written.

    Parameters
    ----------
    ws
        The company's workspace.
    night
        The night to close.
    run
        The run that asks, for the lineage.

    Returns
    -------
    dict
        The night, and per source the nights and rows that were written.

    Raises
    ------
    Rejected
        The night is not over, a source did not arrive or is empty, or a file cannot be read.
    """
    refuse_open_night(night, ws.clock)
    first = first_night(ws)
    if night < first:
        raise Rejected("night", f"a night from {first} on, where the company's data begins", str(night))
    plans = [made for source in ws.company.sources if (made := plan(ws, source, Nights(first, night)))]
    if plans:
        refuse_missing(ws)
    streamed = [made for made in plans if made.source.streamed]
    logged = drain(ws, streamed, Nights(first, night)) if streamed else Logged({})
    rows = [(made, stamped(ws, made, logged.rows)) for made in plans]
    for made, found in rows:
        if made.source.streamed and made.lost:
            refuse_trimmed(ws, made.source, made.lost, found.num_rows)
    keep_strays(ws, logged.strays, run)
    written = {made.source.name: write(ws, made, found, run) for made, found in rows}
    return {"night": str(night), "skipped": not plans, "sources": written}


def plan(ws: Workspace, source: Source, history: Nights) -> Plan | None:
    """Return what is to be read of a source; None if its night is closed already.

    Raises
    ------
    Rejected
        A night of the span was not delivered.
    """
    closed = ws.lake.newest(f"bronze/{source.name}") or ws.lake.newest(f"silver/{source.fact}")
    if closed is not None and history.last <= closed:
        lost = ws.lake.damaged(f"bronze/{source.name}", history.last)
        return replan(ws, source, history.last) if lost else None
    nights = Nights(closed + DAY if closed else history.first, history.last)
    if source.streamed:
        return Plan(source, nights, closed, (), late=False)
    files = arrivals(ws, source)
    refuse_absent(ws, source, nights, files)
    old = [file for file in files if file.night is None or (closed and file.night <= closed)]
    late = changed(old, seen(ws.lake, f"bronze/{source.name}")) if closed else []
    if source.nightly:
        files = late + [file for file in files if file.night and nights.first <= file.night <= nights.last]
    return Plan(source, nights, closed, tuple(files), bool(late))


def replan(ws: Workspace, source: Source, lost: date) -> Plan:
    """Return what was read of a source when a night was closed, to read it once more: bronze was damaged since.

    Raises
    ------
    Rejected
        A file does not hold any more what it held then.
    """
    commits = ws.lake.commits(f"bronze/{source.name}")
    first = max(at for at, commit in enumerate(commits) if commit.nights.first <= lost <= commit.nights.last)
    nights, then = commits[first].nights, (commits[first].notes or {})["files"]
    closed = nights.first - DAY if nights.first > first_night(ws) else None
    if source.streamed:
        return Plan(source, nights, closed, (), late=False, lost=lost)
    files = [file for file in arrivals(ws, source) if file.name in then]
    if moved := sorted(set(then) - {file.name for file in files if file.digest() == then[file.name][2]}):
        remedy = "Put the file back as it was, or restore the lake from a backup."
        raise Rejected(
            f"source {source.name}", f"the file {moved[0]} as it was read for night {lost}", "another", remedy
        )
    before = noted(commits[first + 1 :])
    old = [file for file in files if closed and (file.night is None or file.night <= closed)]
    late = any([*before.get(file.name, ())][2:] != [then[file.name][2]] for file in old)
    return Plan(source, nights, closed, tuple(files), late, lost)


def refuse_absent(ws: Workspace, source: Source, nights: Nights, files: list[Arrival]) -> None:
    """Refuse nights that a source has not delivered: one that did not arrive is not an empty one.

    Raises
    ------
    Rejected
        A nightly file is not there, or the whole file ends before the night does.
    """
    if source.nightly:
        there = {file.night for file in files}
        absent = [night for night in nights if night not in there]
        if absent:
            path = pattern(ws, source).replace("{night}", str(absent[0]))
            remedy = "The source did not arrive; deliver the file and run the night again."
            raise Rejected(f"source {source.name}", f"the file {path} of night {absent[0]}", "none", remedy)
    elif nights.last > (last := covered(ws, source).last):
        raise Rejected(f"source {source.name}", f"records through {nights.last}", f"records through {last} only")


def stamped(ws: Workspace, plan: Plan, logged: Mapping[str, pa.Table]) -> pa.Table:
    """Return the plan's new rows with ``_ingested_at`` and ``known_day``; those of the log were read already.

    Raises
    ------
    Rejected
        A file cannot be read, or the source is empty.
    """
    rows = logged[plan.source.name] if plan.source.streamed else read(plan.source, plan.files)
    refuse_empty(ws, plan, rows)
    with ws.lake.connect() as connection:
        connection.register("raw", rows)
        span = [start_of(plan.nights.first), cutoff(plan.nights.last)]
        connection.execute(f"CREATE TEMP TABLE timed AS {timed(plan.source)}", span)
        if plan.late:
            forget_known(ws, plan, connection, rows.column_names)
        kept = "_natural >= _floor" if plan.closed and not plan.late else "true"
        wanted = f"known_day = DATE '{plan.lost}'" if plan.lost else "true"
        return connection.sql(
            f"""SELECT * EXCLUDE (_night, _natural, _floor), greatest(_natural, _floor) AS _ingested_at,
                    greatest(_natural, _floor)::DATE AS known_day
                FROM timed WHERE {kept} AND {wanted} ORDER BY known_day, _file, _position"""
        ).to_arrow_table()


def forget_known(ws: Workspace, plan: Plan, connection: duckdb.DuckDBPyConnection, columns: list[str]) -> None:
    """Delete rows of closed nights that bronze holds: as many of each content and file as it holds."""
    if not ws.lake.exists(plan.table):
        return
    closed = Nights(EPOCH, plan.closed) if plan.closed else None
    ws.lake.view(connection, plan.table, closed, name="bronze", partition="known_day")
    held = content(ws.lake.schema(plan.table).names)
    connection.execute(
        f"""DELETE FROM timed WHERE (_file, _position) IN (
            SELECT (_file, _position) FROM (
                SELECT _file, _position, {content(columns)} AS said,
                    row_number() OVER (PARTITION BY _file, said ORDER BY _position) AS ordinal
                FROM timed WHERE _natural < _floor)
            JOIN (SELECT _file, {held} AS said, count(*) AS times FROM bronze GROUP BY ALL) USING (_file, said)
            WHERE ordinal <= times)"""
    )


def refuse_empty(ws: Workspace, plan: Plan, rows: pa.Table) -> None:
    """Refuse a source without any row; how few a nightly file may hold is the source's ``min_rows``.

    Raises
    ------
    Rejected
        The source is empty.
    """
    if plan.source.streamed:
        return
    before = sum((commit.notes or {}).get("rows", 0) for commit in ws.lake.commits(plan.table))
    quiet_night = plan.source.nightly and (before or len(plan.nights) == 1)
    if not rows.num_rows and not quiet_night:
        raise Rejected(f"source {plan.source.name}", "at least one row", "none", "An empty source is refused.")


def timed(source: Source) -> str:
    """Return SQL of the raw rows that were available by the cutoff, with the moment (``_natural``).

    A time that cannot be read is that of the row before it in the file. A nightly file was delivered on its night, so
    no row of it became available on another.
    """
    return f"""
        SELECT * EXCLUDE (_at), least(greatest(_at, coalesce(_night::TIMESTAMPTZ, _at)),
            coalesce(_night::TIMESTAMPTZ + INTERVAL '1 day' - INTERVAL '1 microsecond', _at)) AS _natural, $1 AS _floor
        FROM (SELECT * EXCLUDE (_read), coalesce(_read, last_value(_read IGNORE NULLS) OVER before,
                first_value(_read IGNORE NULLS) OVER after, _night::TIMESTAMPTZ, $1) AS _at
            FROM (SELECT *, {availability(source)} AS _read FROM raw)
            WINDOW before AS (PARTITION BY _file ORDER BY _position ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
                after AS (PARTITION BY _file ORDER BY _position ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING))
        WHERE _natural <= $2"""


def content(columns: list[str]) -> str:
    """Return SQL of the digest of what a file said in a row: missing values and our own columns take no part."""
    told = sorted(name for name in columns if name == BROKEN or (not name.startswith("_") and name != "known_day"))
    return f"md5(concat_ws(chr(31), {', '.join(f'{literal(name)} || chr(30) || {quoted(name)}' for name in told)}))"


def write(ws: Workspace, plan: Plan, rows: pa.Table, run: str) -> dict[str, object]:
    """Commit the rows of a source with the fingerprints of the files that they came from."""
    files = fingerprints(plan.files)
    inputs = hashlib.sha256(
        json.dumps([files, plan.source.model_dump(mode="json")], sort_keys=True).encode()
    ).hexdigest()
    nights = Nights(plan.lost, plan.lost) if plan.lost else plan.nights
    # A night that is read again says nothing new about the files.
    notes = {"files": {} if plan.lost else files, "rows": rows.num_rows}
    commit = Commit(nights, inputs, run, notes | ({"days": of_days(rows)} if plan.source.streamed else {}))
    ws.lake.replace(plan.table, rows, commit, partition="known_day")
    return {"nights": str(nights), "rows": rows.num_rows, "files": len(files)}
