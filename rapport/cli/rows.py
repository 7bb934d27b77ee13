"""Traceability: which row of the requirements is shown by which test, as the last run of all tests left it.

``tests/rows.py`` collects it during the run and writes it here; ``rapport rows`` prints it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rapport_feast.errors import Rejected

if TYPE_CHECKING:
    from rich.table import Table

FILE = "rows.json"
PASSED = "passed"
Rows = dict[str, dict[str, str]]
"""Outcome per test per row."""


def write_rows(home: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write the outcome of every row's tests; a row passed only if each of its tests did."""
    content = {
        row: {"passed": all(outcome == PASSED for outcome in tests.values()), "tests": dict(sorted(tests.items()))}
        for row, tests in sorted(rows.items(), key=lambda item: natural(item[0]))
    }
    home.mkdir(parents=True, exist_ok=True)
    fresh = home / f"{FILE}.new"
    fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    fresh.replace(home / FILE)


def read_rows(home: Path) -> Rows:
    """Read what the last run of all tests wrote.

    Raises
    ------
    Rejected
        There was no such run.
    """
    try:
        content = json.loads((home / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Rejected("rows", f"a run of all tests that left {home / FILE}", "none", "Run make test first.") from None
    return {row: entry["tests"] for row, entry in content.items()}


def natural(row: str) -> tuple[str, int]:
    """Return the key that sorts R9 before R10.

    Examples
    --------
    >>> sorted(["T1", "R10", "R9"], key=natural)
    ['R9', 'R10', 'T1']
    """
    letters = row.rstrip("0123456789")
    return letters, int(row[len(letters) :] or 0)


def rows_table(rows: Rows) -> "Table":
    """Return a table of row, tests and whether all of them passed."""
    from rich.table import Table

    table = Table("row", "tests", "passed", box=None, pad_edge=False)
    for row in sorted(rows, key=natural):
        tests = rows[row]
        table.add_row(row, "\n".join(tests), "yes" if all(o == PASSED for o in tests.values()) else "no")
    return table
