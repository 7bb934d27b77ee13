"""New rows of a source, stamped with the moment at which they became available; closed nights stay as they are."""

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from infra.clock import Nights, cutoff, start_of
from infra.company.source import Source
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.sql import literal, quoted
from rapport_feast.times import EPOCH_DAY
from validation.bronze.plan import Plan
from validation.sources.protocol import BROKEN
from validation.sources.read import availability, read_files


def stamped(ws: Workspace, plan: Plan, logged: Mapping[str, pa.Table]) -> pa.Table:
    """Return the plan's new rows with ``_ingested_at`` and ``known_day``; those of the log were read already.

    Raises
    ------
    Rejected
        A file cannot be read, or the source is empty.
    """
    rows = logged[plan.source.name] if plan.source.streamed else read_files(plan.source, plan.files)
    refuse_empty(ws, plan, rows)
    with ws.lake.connect() as connection:
        connection.register("raw", rows)
        span = [start_of(plan.nights.first), cutoff(plan.nights.last)]
        connection.execute(f"CREATE TEMP TABLE timed AS {timed_sql(plan.source)}", span)
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
    closed = Nights(EPOCH_DAY, plan.closed) if plan.closed else None
    ws.lake.view(connection, plan.table, closed, name="bronze", partition="known_day")
    held = content_sql(ws.lake.schema(plan.table).names)
    connection.execute(
        f"""DELETE FROM timed WHERE (_file, _position) IN (
            SELECT (_file, _position) FROM (
                SELECT _file, _position, {content_sql(columns)} AS said,
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


def timed_sql(source: Source) -> str:
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


def content_sql(columns: list[str]) -> str:
    """Return SQL of the digest of what a file said in a row: missing values and our own columns take no part."""
    given = sorted(name for name in columns if name == BROKEN or (not name.startswith("_") and name != "known_day"))
    return f"md5(concat_ws(chr(31), {', '.join(f'{literal(name)} || chr(30) || {quoted(name)}' for name in given)}))"
