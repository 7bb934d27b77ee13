"""What was seen of files before: size, time of change and digest."""

from collections.abc import Iterable, Mapping, Sequence

from infra.lake.commit import Commit
from infra.lake.lake import Lake
from validation.sources.arrivals import Arrival

Fingerprints = Mapping[str, Sequence[object]]


def seen(lake: Lake, table: str) -> Fingerprints:
    """Return what the commits of a bronze table noted of files."""
    return noted(lake.commits(table))


def noted(commits: Sequence[Commit]) -> Fingerprints:
    """Return what commits, newest first, noted of files: name = size, time of change, digest; the newest wins."""
    files: dict[str, Sequence[object]] = {}
    for commit in reversed(commits):
        files |= (commit.notes or {}).get("files", {})
    return files


def changed(files: Sequence[Arrival], known: Fingerprints) -> list[Arrival]:
    """Return the files that are new or whose bytes differ from what was seen of them."""
    moved = [file for file in files if tuple(known.get(file.name, ())[:2]) != file.stamp]
    return [file for file in moved if [*known.get(file.name, ())][2:] != [file.digest()]]


def fingerprints(files: Iterable[Arrival]) -> dict[str, list[object]]:
    """Return what is kept of files, to know them again."""
    return {file.name: [*file.stamp, file.digest()] for file in files}
