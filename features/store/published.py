"""When which night was published: what training may assume to have been served at a moment (rules T7, V1).

``publish`` writes the record, the offline store reads it. Feast is not needed for either.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from features.build import features_table
from features.spec import Group
from infra.errors import Rejected
from infra.lake import Lake
from infra.workspace import Workspace

PUBLISH_LAG = timedelta(hours=6)
"""Declared lag between a night's cutoff and the moment at which its values are served, where no record says better."""
PUBLISHED = "published.json"


@dataclass(frozen=True)
class Night:
    """A night of a view as it was published.

    Attributes
    ----------
    files
        Names of the files that held its rows.
    published_at
        Since when these rows are served; none for history that was filled in behind the first published night.
    """

    files: tuple[str, ...]
    published_at: str | None = None


@dataclass
class Record:
    """What was published: ``published.json``.

    Attributes
    ----------
    nights
        Night = when it was last published, and by which run.
    views
        View = night = what its rows were, and since when they are served.
    keys
        How many entities the store held afterwards.
    definitions
        Digest of what Feast had been told.
    """

    nights: dict[str, dict[str, str]] = field(default_factory=dict)
    views: dict[str, dict[str, Night]] = field(default_factory=dict)
    keys: int = 0
    definitions: str = ""

    def of(self, view: str) -> dict[date, Night]:
        """Return the published nights of a view."""
        return {date.fromisoformat(night): known for night, known in self.views.get(view, {}).items()}


def path_of(ws: Workspace) -> Path:
    """Return where the record of a company lies."""
    return ws.folder("feast") / PUBLISHED


def read_record(path: Path) -> Record:
    """Read the record; an empty one where nothing was published yet."""
    if not path.exists():
        return Record()
    content = json.loads(path.read_text(encoding="utf-8"))
    views = {
        view: {night: Night(tuple(known["files"]), known["published_at"]) for night, known in nights.items()}
        for view, nights in content.pop("views").items()
    }
    return Record(views=views, **content)


def write_record(path: Path, record: Record) -> None:
    """Write the record, whole or not at all."""
    write_json(path, asdict(record))


def publication_times(path: Path, view: str) -> dict[date, datetime]:
    """Return since when each night of a view is served, for the nights that the record knows."""
    nights = read_record(path).of(view)
    return {day: datetime.fromisoformat(n.published_at) for day, n in sorted(nights.items()) if n.published_at}


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


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file, whole or not at all; what is in an order stays in it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
    fresh.replace(path)
