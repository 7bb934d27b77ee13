"""What ingest has to read of a source: the nights that it still has to give, and the files that hold them."""

from dataclasses import dataclass
from datetime import date

from infra.clock import Nights
from infra.company.source import Source
from infra.workspace import Workspace
from rapport_feast.errors import Rejected
from rapport_feast.times import DAY
from validation.sources.arrivals import Arrival, arrivals, pattern
from validation.sources.coverage import covered, first_night
from validation.sources.fingerprints import changed, noted, seen


@dataclass(frozen=True)
class Plan:
    """What is to be read of a source: the nights it still has to give and the files that hold them.

    ``lost`` is the one closed night of these that is wanted again, because bronze was damaged there.
    """

    source: Source
    nights: Nights
    closed: date | None
    files: tuple[Arrival, ...]
    late: bool
    lost: date | None = None

    @property
    def table(self) -> str:
        """The source's bronze table."""
        return f"bronze/{self.source.name}"


def plan(ws: Workspace, source: Source, history: Nights) -> Plan | None:
    """Return what is to be read of a source; None if its night is closed already.

    Raises
    ------
    Rejected
        A night of the span was not delivered.
    """
    closed = ws.lake.newest(f"bronze/{source.name}") or ws.lake.newest(f"silver/{source.fact}")
    if closed is not None and history.last <= closed:
        lost = ws.lake.damaged(f"bronze/{source.name}", history.last)
        return replan(ws, source, history.last) if lost else None
    nights = Nights(closed + DAY if closed else history.first, history.last)
    if source.streamed:
        return Plan(source, nights, closed, (), late=False)
    files = arrivals(ws, source)
    refuse_undelivered(ws, source, nights, files)
    old = [file for file in files if file.night is None or (closed and file.night <= closed)]
    late = changed(old, seen(ws.lake, f"bronze/{source.name}")) if closed else []
    if source.nightly:
        files = late + [file for file in files if file.night and nights.first <= file.night <= nights.last]
    return Plan(source, nights, closed, tuple(files), bool(late))


def replan(ws: Workspace, source: Source, lost: date) -> Plan:
    """Return what was read of a source when a night was closed, to read it once more: bronze was damaged since.

    Raises
    ------
    Rejected
        A file does not hold any more what it held then.
    """
    commits = ws.lake.commits(f"bronze/{source.name}")
    first = max(at for at, commit in enumerate(commits) if commit.nights.first <= lost <= commit.nights.last)
    nights, then = commits[first].nights, (commits[first].notes or {})["files"]
    closed = nights.first - DAY if nights.first > first_night(ws) else None
    if source.streamed:
        return Plan(source, nights, closed, (), late=False, lost=lost)
    files = [file for file in arrivals(ws, source) if file.name in then]
    if moved := sorted(set(then) - {file.name for file in files if file.digest() == then[file.name][2]}):
        remedy = "Put the file back as it was, or restore the lake from a backup."
        raise Rejected(
            f"source {source.name}", f"the file {moved[0]} as it was read for night {lost}", "another", remedy
        )
    before = noted(commits[first + 1 :])
    old = [file for file in files if closed and (file.night is None or file.night <= closed)]
    late = any([*before.get(file.name, ())][2:] != [then[file.name][2]] for file in old)
    return Plan(source, nights, closed, tuple(files), late, lost)


def refuse_undelivered(ws: Workspace, source: Source, nights: Nights, files: list[Arrival]) -> None:
    """Refuse nights that a source has not delivered: one that did not arrive is not an empty one.

    Raises
    ------
    Rejected
        A nightly file is not there, or the whole file ends before the night does.
    """
    if source.nightly:
        there = {file.night for file in files}
        absent = [night for night in nights if night not in there]
        if absent:
            path = pattern(ws, source).replace("{night}", str(absent[0]))
            remedy = "The source did not arrive; deliver the file and run the night again."
            raise Rejected(f"source {source.name}", f"the file {path} of night {absent[0]}", "none", remedy)
    elif nights.last > (last := covered(ws, source).last):
        raise Rejected(f"source {source.name}", f"records through {nights.last}", f"records through {last} only")
