"""Traceability: which row of the requirements is shown by which test, as the last runs of all tests left it.

``tests/rows.py`` collects it during a run and writes it here; ``rapport rows`` prints it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rapport_feast.errors import Rejected

if TYPE_CHECKING:
    from rich.table import Table

PASSED = "passed"
Part = Literal["test", "assure", "all"]
"""The tests of a run: those of ``make test``, those of ``make assure``, or both at once."""
PARTS: tuple[Part, ...] = ("test", "assure")
WHOLE: Part = "all"
Rows = dict[str, dict[str, str]]
"""Outcome per test per row."""


def rows_file(home: Path, part: Part) -> Path:
    """Return the file that a run of some part of the tests leaves."""
    return home / "rows" / f"{part}.json"


def write_rows(home: Path, part: Part, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Write the outcome of every row's tests, in place of what earlier runs of the same tests said."""
    content = {row: dict(sorted(rows[row].items())) for row in sorted(rows, key=natural)}
    path = rows_file(home, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
    for other in PARTS if part == WHOLE else (WHOLE,):
        rows_file(home, other).unlink(missing_ok=True)


def read_rows(home: Path) -> Rows:
    """Read what the last runs wrote, joined.

    Raises
    ------
    Rejected
        There was no such run.
    """
    joined: Rows = {}
    files = [path for part in (*PARTS, WHOLE) if (path := rows_file(home, part)).exists()]
    if not files:
        raise Rejected("rows", f"a run of all tests that left {home / 'rows'}", "none", "Run make test first.")
    for path in files:
        for row, tests in json.loads(path.read_text(encoding="utf-8")).items():
            known = joined.setdefault(row, {})
            # A test that has parts in both runs passed if both did.
            known |= {test: outcome for test, outcome in tests.items() if known.get(test, PASSED) == PASSED}
    return joined


def missing_parts(home: Path) -> list[Part]:
    """Return the parts of the tests that left no outcome."""
    if rows_file(home, WHOLE).exists():
        return []
    return [part for part in PARTS if not rows_file(home, part).exists()]


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
