"""When the nights of a view were published: what training may assume to have been served at a moment (rules T7, V1)."""

import json
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

PUBLISH_LAG = timedelta(hours=6)


"""Declared lag between a night's cutoff and the moment at which its values are served, where no record says better."""


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


def publication_times(path: Path, view: str) -> dict[date, datetime]:
    """Return since when each night of a view is served, for the nights that the record knows."""
    nights = read_record(path).of(view)
    return {day: datetime.fromisoformat(n.published_at) for day, n in sorted(nights.items()) if n.published_at}
