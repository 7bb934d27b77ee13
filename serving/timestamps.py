"""Moments as microseconds since 1970 and back."""

from datetime import datetime, timedelta

from rapport_feast.times import EPOCH

SECOND_US = 1_000_000


def micros(at: datetime) -> int:
    """Return an aware moment as microseconds since the epoch."""
    since = at - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(us: int) -> datetime:
    """Return microseconds since the epoch as an aware moment; one outside the calendar as its end."""
    try:
        return EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return datetime.max.replace(tzinfo=EPOCH.tzinfo) if us > 0 else datetime.min.replace(tzinfo=EPOCH.tzinfo)
