"""A customer's online features as a table."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rapport.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from serving.lookup.customer import FeatureRow


def lookup_table(customer: str, rows: Iterable["FeatureRow"]) -> "Table":
    """Return a customer's online features as a table: age and status, the rung each comes from, and why not above."""
    cells = (
        (row.feature, row.value, age(row.age_seconds), row.status, row.rung, row.reason or None, row.view)
        for row in rows
    )
    return table(customer, ("feature", "value", "age", "status", "rung", "reason", "view"), cells)


def age(seconds: float | None) -> str:
    """Return an age in words.

    Examples
    --------
    >>> age(93_784), age(120), age(None)
    ('1 d 2 h', '0 h 2 min', 'not there')
    """
    if seconds is None:
        return "not there"
    minutes = int(seconds) // 60
    days, hours = divmod(minutes // 60, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes % 60} min"
