"""Time as numbers: microseconds and days since 1970, UTC (rule T4)."""

from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
EPOCH_DAY = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Return the days since 1970-01-01: the integer form of a day that every engine shares."""
    return (day - EPOCH_DAY).days


def micros(moment: datetime) -> int:
    """Return a moment as microseconds since 1970.

    Examples
    --------
    >>> micros(datetime(1970, 1, 2, tzinfo=UTC))
    86400000000
    """
    return (moment - EPOCH) // MICROSECOND
