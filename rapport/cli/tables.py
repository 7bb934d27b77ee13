"""Plain tables for a terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def table(title: str, heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> "Table":
    """Return a plain table; numbers with thousands, nothing as a dash."""
    from rich.markup import escape
    from rich.table import Table

    made = Table(*heads, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for row in rows:
        made.add_row(*(escape(cell_text(value)) for value in row))
    return made


def cell_text(value: object) -> str:
    """Return a value as a cell of a table."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
