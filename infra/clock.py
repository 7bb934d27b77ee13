"""Time: aware UTC, microseconds; a night is one UTC day and is known by its cutoff (rules T1, T4)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from rapport_feast.errors import Rejected
from rapport_feast.times import DAY, MICROSECOND


class Clock(Protocol):
    """Anything that says what time it is."""

    def now(self) -> datetime:
        """Return the current moment, aware UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current moment, aware UTC."""
        return datetime.now(UTC)


@dataclass(frozen=True)
class FixedClock:
    """A clock that stands still, for tests."""

    at: datetime

    def now(self) -> datetime:
        """Return the moment at which this clock stands."""
        return self.at


@dataclass(frozen=True)
class Nights:
    """A run of consecutive nights, both ends included.

    Examples
    --------
    >>> nights = Nights(date(2024, 2, 28), date(2024, 3, 1))
    >>> len(nights), [str(night) for night in nights]
    (3, ['2024-02-28', '2024-02-29', '2024-03-01'])
    """

    first: date
    last: date

    def __iter__(self) -> Iterator[date]:
        return (self.first + timedelta(days=i) for i in range(len(self)))

    def __len__(self) -> int:
        return max((self.last - self.first).days + 1, 0)

    def __str__(self) -> str:
        return str(self.last) if len(self) == 1 else f"{self.first}..{self.last}"


def cutoff(night: date) -> datetime:
    """Return the last microsecond of a night: what is known later, the night does not know.

    Examples
    --------
    >>> cutoff(date(2026, 11, 20)).isoformat()
    '2026-11-20T23:59:59.999999+00:00'
    """
    return start_of(night) + DAY - MICROSECOND


def start_of(night: date) -> datetime:
    """Return the first microsecond of a night."""
    return datetime(night.year, night.month, night.day, tzinfo=UTC)


def parse_night(text: str) -> date:
    """Read a night from ``YYYY-MM-DD``.

    Raises
    ------
    Rejected
        The text is no calendar day.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Rejected("night", "a day as YYYY-MM-DD", repr(text)) from None


def refuse_open_night(night: date, clock: Clock) -> None:
    """Refuse a night that is not over.

    Raises
    ------
    Rejected
        The cutoff of the night still lies ahead.
    """
    if cutoff(night) >= clock.now():
        raise Rejected(
            "night",
            f"a night that is over by {clock.now():%Y-%m-%d %H:%M} UTC",
            str(night),
            "Run it after midnight UTC.",
        )


DURATION = re.compile(r"(\d+)([smhdw])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """Read a length of time such as ``5m``, ``24h``, ``30d`` or ``2w``.

    Raises
    ------
    Rejected
        The text is no whole number of seconds, minutes, hours, days or weeks.

    Examples
    --------
    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    match = DURATION.fullmatch(text)
    if match is None:
        raise Rejected("duration", "a whole number and s, m, h, d or w, such as 30d", repr(text))
    return timedelta(**{UNITS[match[2]]: int(match[1])})
