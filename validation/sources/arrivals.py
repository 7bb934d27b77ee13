"""What has arrived: the files of every source."""

import glob
import hashlib
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from infra.clock import parse_night
from infra.company.source import Source
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from validation.sources.catalogue import adapter


@dataclass(frozen=True)
class Arrival:
    """One file of a source; ``night`` is the day on which it was delivered, where the source delivers nightly."""

    name: str
    path: Path
    night: date | None

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time of change: what tells cheaply that a file may have changed."""
        found = self.path.stat()
        return found.st_size, found.st_mtime_ns

    def digest(self) -> str:
        """Return the digest of the file's bytes."""
        with self.path.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()


def pattern(ws: Workspace, source: Source) -> str:
    """Return a source's path with the folders filled in; a relative one starts at the company file."""
    folders = {"world": ws.root / "world", "public": ws.settings.public_data.resolve(), "night": "{night}"}
    return str(ws.settings.company.resolve().parent / source.path.format(**folders))


def arrivals(ws: Workspace, source: Source) -> list[Arrival]:
    """Return the files of a source that are there, in the order of their nights and names; a streamed one has none."""
    if source.streamed:
        return []
    path = pattern(ws, source)
    folder = Path(re.split(r"[^/]*[*?\[{]", path)[0] if re.search(r"[*?\[{]", path) else str(Path(path).parent))
    named = (
        re.compile(re.escape(path).replace(re.escape("{night}"), r"(\d{4}-\d{2}-\d{2})")) if source.nightly else None
    )
    found = []
    for text in sorted(glob.glob(path.replace("{night}", "[0-9]*"))):
        match = named.fullmatch(text) if named else None
        if match or not named:
            night = parse_night(match[1]) if match else None
            found.append(Arrival(str(Path(text).relative_to(folder)), Path(text), night))
    return found


def refuse_missing(ws: Workspace) -> None:
    """Refuse a company whose sources have no file at all, in one sentence that names all of them.

    Raises
    ------
    Rejected
        Some sources have no file.
    """
    absent = [source for source in file_sources(ws) if not arrivals(ws, source)]
    if not absent:
        return
    expected = [
        f"{pattern(ws, source)}" + (f" published by {publisher}" if (publisher := adapter(source).publisher) else "")
        for source in absent
    ]
    remedy = "RAPPORT_PUBLIC_DATA names the folder of public data." if "{public}" in absent[0].path else ""
    raise Rejected(
        f"source {', '.join(source.name for source in absent)}", f"the files {' and '.join(expected)}", "none", remedy
    )


def file_sources(ws: Workspace) -> list[Source]:
    """Return the sources that come as files."""
    return [source for source in ws.company.sources if not source.streamed]
