"""The point-in-time join as SQL: for each row of a spine the row of a view that was true, and known, at its moment.

Under ``offline.py``. Of the rows with ``event_time <= t`` that were known at t, the newest event time counts, and of
its revisions the newest. A revision wins or loses against what was known before it, whoever asks: so the winners are
marked once, in the order in which they became known, and one as-of join on that time answers every row of the spine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from rapport_feast.files import SourceRows
from rapport_feast.sql import interval, moment, quoted
from rapport_feast.times import DAY, MICROSECOND, day_number

POSITION, MOMENT = "position", "moment"


@dataclass(frozen=True)
class View:
    """A feature view as the join sees it; all columns are those of the source.

    Attributes
    ----------
    rows
        The source.
    keys
        Column of the source = column of the spine.
    time, created
        When a row was true, and when it was made.
    features
        Columns asked for, in order.
    ttl
        How long a row is true; none is forever.
    known
        SQL: since when a row was known. None where only its own time counts.
    known_by
        Rows made later do not exist.
    """

    rows: SourceRows
    keys: Mapping[str, str]
    time: str
    created: str | None
    features: tuple[str, ...]
    ttl: timedelta | None = None
    known: str | None = None
    known_by: datetime | None = None


def join_sql(view: View, spine: str) -> str:
    """Return the query for ``position`` and one column ``f0``, ``f1``, ... per feature, for the rows that meet one.

    Parameters
    ----------
    spine
        Relation with ``position``, ``moment`` and the columns of the keys.

    Notes
    -----
    Only keys, times and row numbers are sorted and joined; the columns of the rows that were met are read afterwards.
    """
    file, number = view.rows.row
    features = "".join(f", x.f{i}" for i in range(len(view.features)))
    columns = "".join(f"{quoted(column)} AS f{i}, " for i, column in enumerate(view.features))
    return f"""
        WITH matched AS ({matched_sql(view, spine)})
        SELECT matched.{POSITION}{features}
        FROM matched JOIN (SELECT {columns}{file} AS file, {number} AS number FROM {view.rows.relation}) AS x
             ON matched.file = x.file AND matched.number = x.number"""


def matched_sql(view: View, spine: str) -> str:
    """Return the query for ``position`` and the row of the source that it meets, as ``file`` and ``number``.

    Notes
    -----
    Keys are numbered first: it leaves out rows nobody asks for, and numbers sort faster than texts.
    """
    keys = ", ".join(map(quoted, view.keys.values()))
    alive = f"WHERE r.true_at >= s.{MOMENT} - {interval(view.ttl)}" if view.ttl else ""
    # Known before, yet newer: what comes later loses against it. Without a second time the order itself is the answer.
    wins = "true_at = max(true_at) OVER known_order AND " if view.known else ""
    return f"""
        WITH entities AS MATERIALIZED (
            SELECT *, row_number() OVER () AS entity FROM (SELECT DISTINCT {keys or "1 AS every_row"} FROM {spine})),
        candidates AS ({_candidates(view)}),
        winners AS (
            SELECT entity, true_at, known_at, file, number FROM candidates
            WINDOW known_order AS (
                PARTITION BY entity ORDER BY known_at, true_at, made_at NULLS FIRST, file, number
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            QUALIFY {wins}lead(known_at) OVER known_order IS DISTINCT FROM known_at
        ),
        requested AS (
            SELECT {POSITION}, {MOMENT}, entity FROM {spine} JOIN entities {f"USING ({keys})" if keys else "ON true"})
        SELECT s.{POSITION}, r.file, r.number
        FROM requested AS s ASOF JOIN winners AS r ON s.entity = r.entity AND s.{MOMENT} >= r.known_at
        {alive}"""


def keys_sql(view: View, start: datetime, end: datetime) -> str:
    """Return the query for the keys of a view that have a row within a span, both ends included."""
    keys = ", ".join(f"{quoted(column)} AS {quoted(theirs)}" for column, theirs in view.keys.items())
    within = f"{_utc(view.time)} BETWEEN {moment(start)} AND {moment(end)}"
    return f"SELECT DISTINCT {keys} FROM {view.rows.relation} WHERE {within}"


def latest_sql(view: View, start: datetime | None, end: datetime | None) -> str:
    """Return the query for the newest row of each key within a span."""
    file, number = view.rows.row
    keys = ", ".join(map(quoted, view.keys))
    made = f", {_utc(view.created)} DESC NULLS LAST" if view.created else ""
    order = f"ORDER BY {_utc(view.time)} DESC{made}, {file} DESC, {number} DESC"
    newest = f"""
        SELECT {file} AS file, {number} AS number FROM {view.rows.relation} WHERE {_within(view, start, end)}
        QUALIFY row_number() OVER ({f"PARTITION BY {keys} " if keys else ""}{order}) = 1"""
    return f"""
        SELECT {_columns(view)}
        FROM (SELECT {_columns(view)}, {file} AS "file of row", {number} AS "number of row"
              FROM {view.rows.relation}) AS x
             SEMI JOIN ({newest}) AS n ON n.file = x."file of row" AND n.number = x."number of row\""""


def all_sql(view: View, start: datetime | None, end: datetime | None) -> str:
    """Return the query for every row within a span."""
    return f"SELECT {_columns(view)} FROM {view.rows.relation} WHERE {_within(view, start, end)}"


def known_sql(created: str, times: Mapping[date, datetime] | None, lag: timedelta) -> str:
    """Return since when a row was known, as SQL: when it was made, or when its night was published.

    Parameters
    ----------
    times
        Night = when it was published; None if the view does not go by nights.
    lag
        How long after the cutoff a night counts as published that ``times`` does not know.
    """
    if times is None:
        return _utc(created)
    late = f"make_timestamptz(epoch_us({_utc(created)}) + {lag // MICROSECOND})"
    if not times:
        return late
    first, last = min(times), max(times)
    nights = (first + n * DAY for n in range((last - first).days + 1))
    stamps = ", ".join(moment(times[night]) if night in times else "NULL" for night in nights)
    place = f"epoch_us({_utc(created)}) // 86400000000 - {day_number(first)} + 1"
    return f"coalesce(CASE WHEN {place} > 0 THEN [{stamps}][{place}] END, {late})"


def _candidates(view: View) -> str:
    """Return entity, times and row numbers of the rows that anybody in the spine could meet."""
    true_at, made_at = _utc(view.time), _utc(view.created) if view.created else "NULL::TIMESTAMPTZ"
    file, number = view.rows.row
    known = view.known or true_at
    where = [f"{true_at} IS NOT NULL", f"{known} IS NOT NULL"]
    if view.known_by:
        where.append(f"{made_at if view.created else true_at} <= {moment(view.known_by)}")
    keys = "".join(f"{quoted(column)} AS k{i}, " for i, column in enumerate(view.keys))
    same = " AND ".join(f"x.k{i} = entities.{quoted(theirs)}" for i, theirs in enumerate(view.keys.values()))
    return f"""
            SELECT entities.entity, x.true_at, x.made_at, x.known_at, x.file, x.number
            FROM (SELECT {keys}{true_at} AS true_at, {made_at} AS made_at, greatest({true_at}, {known}) AS known_at,
                         {file} AS file, {number} AS number
                  FROM {view.rows.relation} WHERE {" AND ".join(where)}) AS x
                 JOIN entities ON {same or "true"}"""


def _columns(view: View) -> str:
    columns = (*view.keys, *view.features, view.time, *([view.created] if view.created else []))
    return ", ".join(map(quoted, dict.fromkeys(columns)))


def _within(view: View, start: datetime | None, end: datetime | None) -> str:
    bounds = [f"{_utc(view.time)} >= {moment(start)}"] if start else []
    bounds += [f"{_utc(view.time)} <= {moment(end)}"] if end else []
    return " AND ".join([f"{quoted(view.time)} IS NOT NULL", *bounds])


def _utc(column: str) -> str:
    """Return a time column in microseconds with its zone; the session's zone is UTC, so one without is UTC."""
    return f"{quoted(column)}::TIMESTAMPTZ"
