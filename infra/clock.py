"""Time: aware UTC, microseconds; a night is one UTC day and is known by its cutoff (rules T1, T4)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from infra.errors import Rejected

MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1)
EPOCH = date(1970, 1, 1)


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


def day_number(day: date) -> int:
    """Return the days since 1970-01-01: the integer form of a day that every engine shares."""
    return (day - EPOCH).days


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
