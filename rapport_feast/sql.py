"""Names, texts, moments and intervals quoted for DuckDB's SQL."""

from datetime import datetime, timedelta

from rapport_feast.times import MICROSECOND


def name(column: str) -> str:
    """Quote a name for SQL."""
    return '"' + column.replace('"', '""') + '"'


def text(value: str) -> str:
    """Quote a text for SQL."""
    return "'" + value.replace("'", "''") + "'"


def moment(at: datetime) -> str:
    """Return a moment as SQL; one without a zone is UTC."""
    return f"TIMESTAMPTZ '{at.isoformat(sep=' ')}{'' if at.tzinfo else '+00:00'}'"


def interval(length: timedelta) -> str:
    """Return a length of time as SQL."""
    return f"to_microseconds({length // MICROSECOND})"
