"""Names, texts, moments and intervals quoted for DuckDB's SQL."""

from datetime import datetime, timedelta

from rapport_feast.times import MICROSECOND


def quoted(column: str) -> str:
    """Return a column's name as SQL.

    Examples
    --------
    >>> quoted("Customer ID")
    '"Customer ID"'
    """
    return '"' + column.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL literal.

    Examples
    --------
    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def moment(at: datetime) -> str:
    """Return a moment as SQL; one without a zone is UTC."""
    return f"TIMESTAMPTZ '{at.isoformat(sep=' ')}{'' if at.tzinfo else '+00:00'}'"


def interval(length: timedelta) -> str:
    """Return a length of time as SQL."""
    return f"to_microseconds({length // MICROSECOND})"
