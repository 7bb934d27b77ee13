"""Windows of drift: whole weeks."""

from datetime import timedelta

from infra.clock import Nights
from rapport_feast.errors import Rejected


def whole_weeks(nights: Nights) -> Nights:
    """Return the newest whole weeks of some nights: a reference of weekdays alone makes every weekend a drift.

    Raises
    ------
    Rejected
        There is no whole week.
    """
    weeks = len(nights) // 7
    if not weeks:
        raise Rejected("drift window", "at least one whole week of nights", str(nights))
    return Nights(nights.last - timedelta(days=weeks * 7 - 1), nights.last)
