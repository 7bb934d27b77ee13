"""Digests of every table of a company, to show that a change of the code changes no value.

``python -m tests.load.digests COMPANY HOME OUT.json [NIGHT]`` builds the company in an empty HOME, the history up to
some days before NIGHT at once and those one by one, and writes one digest of the sorted rows of each table. It imports
only what seldom moves, so that a copy runs in an older checkout too (before ``tests/run_nights.py`` there was
``tests/nights.py``): two equal files are the proof.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from infra.clock import FixedClock, cutoff
from infra.settings import Settings
from infra.workspace import Workspace, open_workspace
from rapport.world import ensure
from tests.run_nights import digests, run

SINGLE_NIGHTS = 3


def build(company: Path, home: Path, night: date | None = None) -> Workspace:
    """Run a company's nights into an empty folder: all but the last few at once, then these one by one.

    Parameters
    ----------
    night
        The last night; by default that of a simulated company's world.

    Raises
    ------
    ValueError
        No night is given and the company has no world that ends with one.
    """
    ws = open_workspace(Settings(company=company, home=home))
    world = ensure(ws)
    last = night or (world.last_night if world else None)
    if last is None:
        raise ValueError(f"{company}: expected a NIGHT, because the company is not simulated")
    ws = replace(ws, clock=FixedClock(cutoff(last) + timedelta(hours=3)))
    run(ws, [last - timedelta(days=ahead) for ahead in range(SINGLE_NIGHTS, -1, -1)])
    return ws


def digest(nights: Mapping[date, str]) -> str:
    """Return one digest of a table from those of its nights.

    Examples
    --------
    >>> digest({date(2026, 6, 1): "ab"})[:8]
    'd832cc97'
    """
    return hashlib.sha256(json.dumps(sorted((str(day), text) for day, text in nights.items())).encode()).hexdigest()


def main(company: str, home: str, out: str, night: str | None = None) -> int:
    """Build a company and write the number of nights and the digest of each table, an entry a table."""
    ws = build(Path(company), Path(home), date.fromisoformat(night) if night else None)
    found = {table: {"nights": len(nights), "digest": digest(nights)} for table, nights in digests(ws).items()}
    Path(out).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(found)} tables of {ws.company.name}: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
