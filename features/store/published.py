"""When which night was published: what training may assume to have been served at a moment (rules T7, V1).

``publish`` writes the record, the offline store reads it. Feast is not needed for either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq

from features.compute.tables import features_table
from features.declare.group import Group
from infra.lake.lake import Lake
from infra.workspace import Workspace
from rapport_feast.atomic import write_json
from rapport_feast.errors import Rejected
from rapport_feast.publications import Night, Record

PUBLISHED = "published.json"


def path_of(ws: Workspace) -> Path:
    """Return where the record of a company lies."""
    return ws.folder("feast") / PUBLISHED


def write_record(path: Path, record: Record) -> None:
    """Write the record, whole or not at all."""
    write_json(path, asdict(record))


def nights_of(ws: Workspace, group: Group) -> dict[date, Night]:
    """Return for each night of a group's table the files that hold its rows.

    Raises
    ------
    Rejected
        The table was never built.
    """
    refuse_unbuilt(ws, group)
    names: dict[date, list[str]] = {}
    for file in map(Path, ws.lake.files(features_table(group))):
        names.setdefault(date.fromisoformat(file.parent.name.partition("=")[2]), []).append(file.name)
    return {day: Night(tuple(sorted(files))) for day, files in sorted(names.items())}


def refuse_unbuilt(ws: Workspace, group: Group) -> None:
    """Refuse a group whose table was never built.

    Raises
    ------
    Rejected
        The build step did not come first.
    """
    table = features_table(group)
    if not ws.lake.exists(table):
        raise Rejected(f"table {table}", "a table that the build step wrote", "none", "Run the nightly ring first.")


def compare(lake: Lake, table: str, then: Mapping[date, Night], now: Mapping[date, Night]) -> tuple[date, ...]:
    """Return the nights that hold other rows than when they were published, or none any more."""
    return tuple(day for day in then if day not in now or not _same(lake, table, day, then[day], now[day]))


def _same(lake: Lake, table: str, day: date, then: Night, now: Night) -> bool:
    """Tell whether two sets of files hold the same rows; Delta keeps the files of older versions."""
    if then.files == now.files:
        return True
    folder = Path(lake.path(table)) / f"night={day}"
    old, new = ([folder / name for name in night.files] for night in (then, now))
    return all(file.exists() for file in old) and _digest(lake, old) == _digest(lake, new)


def _digest(lake: Lake, files: Sequence[Path]) -> dict[date, str]:
    return lake.digest_rows(pq.read_table([str(file) for file in files]))


def timed(
    then: Mapping[date, Night], now: Mapping[date, Night], changed: Sequence[date], night: date, at: str
) -> dict[str, Night]:
    """Return the nights as they stand after a publication.

    A night served with the same rows keeps its first time; other rows, and nights that came since, are served from
    now on. What is filled in behind, as the history of a new view is, gets no time: nobody was ever served it.
    """
    newest = max(then, default=None)
    found = {}
    for day, known in sorted(now.items()):
        served = day == night if newest is None else day > newest
        if day in then and day not in changed:
            time = then[day].published_at
        else:
            time = at if day in changed or served else None
        found[str(day)] = Night(known.files, time)
    return found
